"""Floods a receiver with packets for its tests, as a process of its own, with a limited rate and time.

usage: python -m tests.srtla_flood junk|group HOST PORT PACKETS_PER_SECOND SECONDS; prints how many it sent.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import sys
import time

from netbond.srtla import wire

TICK = 0.005  # s


def junk(rng: random.Random) -> list[bytes]:
    """Return packets of every kind, as strangers may send them: none of them belongs to a link."""
    return [
        b"\x90\x00",
        bytes(2),
        rng.randbytes(40),
        rng.randbytes(1332),
        b"\x00\x00\x00\x07" + rng.randbytes(1328),
        b"\x80\x02" + rng.randbytes(42),
        wire.build_registration(wire.REG1, rng.randbytes(256)),
        wire.build_registration(wire.REG2, rng.randbytes(256)),
    ]


def group(host: str, port: int, count: int = 4) -> list[socket.socket]:
    """Register a group with so many links."""
    links = []
    answer = b""
    for _ in range(count):
        link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.connect((host, port))
        link.settimeout(5)
        if not answer:
            link.send(wire.build_registration(wire.REG1, random.randbytes(256)))
            answer = link.recv(2048)
        link.send(answer)
        assert wire.packet_type(link.recv(2048)) == wire.REG3
        links.append(link)
    return links


def main() -> None:
    kind, host, port, rate, seconds = (
        sys.argv[1],
        sys.argv[2],
        int(sys.argv[3]),
        int(sys.argv[4]),
        float(sys.argv[5]),
    )
    rng = random.Random(4)
    samples = junk(rng)
    if kind == "group":
        sockets = group(host, port)
    else:
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
        for sock in sockets:
            sock.connect((host, port))
    start = time.monotonic()
    sent = 0
    while (elapsed := time.monotonic() - start) < seconds:
        for _ in range(min(int(elapsed * rate) - sent, rate // 20)):
            if kind == "group":
                data = struct.pack("!IIII", sent, 0xE0000001, 0, 7) + bytes(1316)
            else:
                data = samples[sent % len(samples)]
            with contextlib.suppress(ConnectionRefusedError):
                sockets[sent % len(sockets)].send(data)
            sent += 1
        time.sleep(TICK)
    print(sent)


if __name__ == "__main__":
    main()
