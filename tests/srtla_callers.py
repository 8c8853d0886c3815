"""Many streams to an SRTLA receiver, each of one SRT caller over two links, and the SRT server behind it.

    python -m tests.srtla_callers HOST PORT SERVER_PORT COUNT

Streams are called cam01, cam02, ... It prints "ready" when the server has accepted all. At SIGUSR1 the
encoder of cam01 stops; its links stay.
"""

from __future__ import annotations

import random
import signal
import socket
import struct
import sys
import threading
import time
from typing import Final

from netbond.srtla import wire
from tests.srtla_flood import group
from tests.srtla_util import CONCLUSION, INDUCTION, data_packet, handshake

EVERY_S: Final = 0.2  # between two packets of a stream
SERVER: Final = 9000  # ids of the server's sockets from here on


def serve(server: socket.socket) -> None:
    """Accept every caller, and acknowledge what it has sent; never returns."""
    while True:
        data, whence = server.recvfrom(2048)
        if wire.is_handshake(data):
            caller = wire.handshake_socket(data)
            kind = CONCLUSION if wire.is_conclusion(data) else INDUCTION
            server.sendto(handshake(kind, SERVER + caller, to=caller), whence)
        elif wire.data_sequence(data) is not None:
            upto = wire.advance(wire.sequence_of(data), 1)
            body = struct.pack("!7I", upto, 20_000, 5_000, 8192, 1000, 1000, 1_000_000)
            server.sendto(struct.pack("!HHIII", wire.SRT_ACK, 0, 1, 0, 0) + body, whence)


def connect(links: list[socket.socket], number: int) -> None:
    """Have the server accept the caller of a stream."""
    name = f"cam{number:02d}"
    for packet in (handshake(INDUCTION, number), handshake(CONCLUSION, number, stream_id=name)):
        links[0].send(packet)
        while not wire.is_handshake(links[0].recv(2048)):
            pass


def main() -> None:
    host, port, server_port, count = sys.argv[1], *map(int, sys.argv[2:5])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", server_port))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    streams = [group(host, port, 2) for _ in range(count)]
    for number, links in enumerate(streams, 1):
        connect(links, number)
    quiet: list[int] = []  # streams whose encoder has stopped
    signal.signal(signal.SIGUSR1, lambda *_: quiet.append(0))
    print("ready", flush=True)
    sequence = 0
    while True:
        for number, links in enumerate(streams):
            for place, link in enumerate(links):
                link.send(struct.pack("!H", wire.KEEPALIVE))
                if number not in quiet and place == sequence % len(links):
                    link.send(data_packet(sequence))
        sequence += 1
        time.sleep(EVERY_S + random.random() * 0.01)


if __name__ == "__main__":
    main()
