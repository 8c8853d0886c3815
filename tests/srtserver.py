"""An SRT server that waits for each packet for ever, as a server with `tlpktdrop=0` does.

libsrt 1.5.1's own stops for good once a packet is late, also without netbond in between: it then sends
neither ACKs nor NAKs. This one does what a test needs of draft-sharabayko-srt: it answers the handshake,
acknowledges each 10 ms, reports what is missing at once and then each 20 ms, and never gives up.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Final

from netbond.srtla import wire

ACK_EVERY_S: Final = 0.01
NAK_EVERY_S: Final = 0.02
LATENCY_MS: Final = 120
OWN_ID: Final = 0x14141414
COOKIE: Final = 0x5EC0_0014
VERSION: Final = 0x010501  # of SRT
FLAGS: Final = wire.TSBPDSND | wire.TSBPDRCV | 0x04 | wire.PERIODICNAK | wire.REXMITFLG
CONCLUSION: Final = 0xFFFFFFFF
WINDOW: Final = 8192  # packets
HANDSHAKE = struct.Struct("!IHHIIIIII16s")


class SrtServer:
    """Has one caller. `payloads` are what arrived, without gaps, in order."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.payloads: list[bytes] = []
        self._peer: tuple[tuple[str, int], int] | None = None  # the caller's address, and its socket's id
        self._waiting: dict[int, bytes] = {}  # behind a gap
        self._next = 0  # the first sequence number that is missing
        self._acks = 0
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def numbers(self) -> list[int]:
        """The first word of each payload."""
        return [int.from_bytes(payload[:4], "big") for payload in self.payloads]

    def close(self) -> None:
        """Stop, and close the socket."""
        self._stop.set()
        self._thread.join(5)
        self._socket.close()

    def _run(self) -> None:
        ack_at = nak_at = 0.0
        while not self._stop.is_set():
            if select.select([self._socket], [], [], ACK_EVERY_S)[0]:
                data, address = self._socket.recvfrom(2048)
                if wire.is_handshake(data):
                    self._answer(data, address)
                elif wire.data_sequence(data) is not None:
                    self._take(wire.sequence_of(data), data[wire.SRT_HEADER :])
            now = time.monotonic()
            if self._peer is None:
                continue
            if now >= ack_at:
                ack_at = now + ACK_EVERY_S
                self._acks += 1
                body = struct.pack("!7I", self._next, 20_000, 5_000, WINDOW, 1000, 1000, 1_000_000)
                self._send(wire.SRT_ACK, self._acks, body, self._peer)
            if now >= nak_at and self._waiting:
                nak_at = now + NAK_EVERY_S
                self._send(wire.SRT_NAK, 0, self._missing(), self._peer)

    def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        _, _, _, first, mtu, window, kind, peer, _, ip = HANDSHAKE.unpack_from(data, wire.SRT_HEADER)
        if kind != CONCLUSION:
            body = HANDSHAKE.pack(5, 0, 0x4A17, first, mtu, window, kind, peer, COOKIE, ip)
            self._send(wire.SRT_HANDSHAKE, 0, body, (address, peer))
            return
        if self._peer is None:
            self._peer, self._next = (address, peer), first
        body = HANDSHAKE.pack(5, 0, 1, first, mtu, window, kind, OWN_ID, COOKIE, ip)
        body += struct.pack("!HHIIHH", 2, 3, VERSION, FLAGS, LATENCY_MS, LATENCY_MS)
        self._send(wire.SRT_HANDSHAKE, 0, body, self._peer)

    def _take(self, sequence: int, payload: bytes) -> None:
        if wire.distance(self._next, sequence) < 0:
            return
        self._waiting[sequence] = payload
        while self._next in self._waiting:
            self.payloads.append(self._waiting.pop(self._next))
            self._next = wire.advance(self._next, 1)

    def _missing(self) -> bytes:
        """A loss list with the gaps, as far as one packet has room for them."""
        body = b""
        first = self._next
        for sequence in sorted(self._waiting, key=lambda each: wire.distance(self._next, each)):
            last = wire.advance(sequence, -1)
            if first == last:
                body += struct.pack("!I", first)
            elif first != sequence:
                body += struct.pack("!II", first | 0x80000000, last)
            first = wire.advance(sequence, 1)
            if len(body) > 1400:
                break
        return body

    def _send(self, kind: int, number: int, body: bytes, to: tuple[tuple[str, int], int]) -> None:
        address, peer = to
        stamp = int((time.monotonic() - self._began) * 1e6) & 0xFFFFFFFF
        self._socket.sendto(struct.pack("!HHIII", kind, 0, number, stamp, peer) + body, address)


@contextlib.contextmanager
def srt_server() -> Iterator[SrtServer]:
    """Make an SrtServer, and close it in the end."""
    made = SrtServer()
    try:
        yield made
    finally:
        made.close()
