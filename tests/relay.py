"""A UDP relay between an SRTLA sender and receiver that impairs each link, told apart by its source address.

It runs in a thread of the test, on loopback: a sender with links 127.0.0.2, 127.0.0.3, ... sends to `port`,
and the receiver sees one port for each of them.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from netbond.srtla import wire

BUFFER: Final = 4 << 20  # bytes: a burst of a file transfer must not be lost before the relay has seen it


@dataclass
class Path:
    """What one link does to datagrams. Times in s, each way; shares from 0 to 1."""

    delay: float = 0.01
    jitter: float = 0.0  # added to `delay` at random, so that datagrams overtake each other
    loss: float = 0.0  # of what the sender sends
    largest: int = 65535  # bytes; larger datagrams of the sender are swallowed
    mbps: float = 1000.0  # of what the sender sends
    queue: float = 0.3  # s of it that wait at most; what finds the queue full is lost
    acks: bool = True  # whether the receiver's SRTLA ACKs pass
    dead: bool = False  # both ways


@dataclass
class _Link:
    path: Path
    client: tuple[str, int]
    socket: socket.socket
    free: float = 0.0  # when it has sent all that waits


@dataclass(order=True)
class _Delivery:
    at: float
    number: int
    send: Callable[[], object] = field(compare=False)


class Relay:
    """See the module; `relay` makes one."""

    def __init__(self, receiver: int, paths: dict[str, Path]) -> None:
        self.paths = paths
        self.handshakes: list[bytes] = []  # SRT handshakes from the caller that were passed on
        self.carried: Counter[str] = Counter()  # data packets passed on, by the link's address
        self.filter_packets = 0  # of these
        self.random = random.Random(14)
        self._receiver = receiver
        self._links: dict[tuple[str, int], _Link] = {}
        self._front = _socket()
        self._front.bind(("127.0.0.1", 0))
        self.port = int(self._front.getsockname()[1])
        self._queue: list[_Delivery] = []
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and close all sockets."""
        self._stop.set()
        self._thread.join(5)
        for each in (self._front, *(link.socket for link in self._links.values())):
            each.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            wait = min(self._queue[0].at - time.monotonic(), 0.1) if self._queue else 0.1
            sockets = [self._front, *(link.socket for link in self._links.values())]
            readable, _, _ = select.select(sockets, [], [], max(wait, 0))
            for each in readable:
                for _ in range(64):
                    with contextlib.suppress(ConnectionRefusedError):  # the receiver is starting
                        if not self._read(each):
                            break
            while self._queue and self._queue[0].at <= time.monotonic():
                with contextlib.suppress(OSError):
                    heapq.heappop(self._queue).send()

    def _read(self, source: socket.socket) -> bool:
        try:
            data, peer = source.recvfrom(65536)
        except BlockingIOError:
            return False
        if source is self._front:
            self._up(data, peer)
        else:
            self._down(data, next(link for link in self._links.values() if link.socket is source))
        return True

    def _up(self, data: bytes, client: tuple[str, int]) -> None:
        link = self._links.get(client)
        if link is None:
            link = self._links[client] = _Link(self.paths[client[0]], client, _socket())
            link.socket.connect(("127.0.0.1", self._receiver))
        path = link.path
        now = time.monotonic()
        begins = max(link.free, now)
        if path.dead or len(data) > path.largest or self.random.random() < path.loss:
            return
        if begins - now > path.queue:
            return
        link.free = begins + len(data) * 8 / (path.mbps * 1e6)
        if wire.data_sequence(data) is not None:
            self.carried[client[0]] += 1
            self.filter_packets += wire.is_filter_packet(data)
        elif wire.is_handshake(data):
            self.handshakes.append(data)
        self._later(path, lambda: link.socket.send(data), link.free - now)

    def _down(self, data: bytes, link: _Link) -> None:
        path = link.path
        if path.dead or (not path.acks and wire.packet_type(data) == wire.SRTLA_ACK):
            return
        self._later(path, lambda: self._front.sendto(data, link.client))

    def _later(self, path: Path, send: Callable[[], object], waits: float = 0.0) -> None:
        at = time.monotonic() + waits + path.delay + path.jitter * self.random.random()
        self._number += 1
        heapq.heappush(self._queue, _Delivery(at, self._number, send))


@contextlib.contextmanager
def relay(receiver: int, paths: dict[str, Path]) -> Iterator[Relay]:
    """A relay to the receiver at this port of 127.0.0.1, with a path for the links of each source address."""
    made = Relay(receiver, paths)
    try:
        yield made
    finally:
        made.close()


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.setblocking(False)
    return made
