"""Runs a rehearsal (netbond/srtla/rehearsal.py) over real sockets, one for each link."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.srtla.process import batch
from netbond.srtla.process.linksocket import FAILURES, Endpoint, open_link, reason
from netbond.srtla.rehearsal import LinkResult, Rehearsal

LONGEST_WAIT_S: Final = 0.1


def resolve(receiver: HostPort) -> dict[int, Endpoint]:
    """The receiver's first address of each family; waits for the name server. UnavailableError: none."""
    found: dict[int, Endpoint] = {}
    try:
        answers = socket.getaddrinfo(receiver.host, receiver.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a valid host name"
        raise UnavailableError(f"{receiver}: {why}", "check the name and the resolver") from None
    for family, _, _, _, address in answers:
        if family in (socket.AF_INET, socket.AF_INET6):
            number = 6 if family == socket.AF_INET6 else 4
            found.setdefault(number, (family, str(address[0]), int(address[1])))
    return found


def run(
    rehearsal: Rehearsal,
    receiver: Mapping[int, Endpoint],
    confine: Callable[[], None],
    told: Callable[[LinkResult], None],
) -> None:
    """Run it to its end. `confine` gives up privileges, once all sockets are open; `told` gets the result of
    each link that was measured, as soon as it is known."""
    sockets = _Sockets(rehearsal)
    try:
        for number, spec in rehearsal.links.items():
            endpoint = receiver.get(spec.family)
            if endpoint is None:
                why = f"the receiver has IPv{10 - spec.family} only"
                rehearsal.failed(number, why, time.monotonic())
                continue
            try:
                sock = open_link(spec, endpoint)
            except OSError as error:
                rehearsal.failed(number, reason(error), time.monotonic())
            else:
                sockets.add(number, sock)
        confine()
        while not rehearsal.done:
            sockets.send()
            sockets.receive(rehearsal.next_timer())
            now = time.monotonic()
            if now >= rehearsal.next_timer():
                rehearsal.handle_timer(now)
            for result in rehearsal.news():
                told(result)
    finally:
        sockets.close()


class _Sockets:
    """The sockets of the links that have one."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self._inbox = batch.Inbox()
        self._poll = select.poll()
        self._sockets: dict[int, socket.socket] = {}
        self._numbers: dict[int, int] = {}  # of the links, by descriptor

    def add(self, number: int, sock: socket.socket) -> None:
        """The link has this one."""
        self._sockets[number] = sock
        self._numbers[sock.fileno()] = number
        self._poll.register(sock, select.POLLIN)
        self._rehearsal.opened(number, time.monotonic())

    def send(self) -> None:
        """Send what is to be sent."""
        now = time.monotonic()
        batches: dict[int, list[bytes]] = {}
        for number, data in self._rehearsal.to_send(now):
            batches.setdefault(number, []).append(data)
        for number, datagrams in batches.items():
            sock = self._sockets.get(number)
            if sock is None:
                continue
            sent, error = batch.send(sock, datagrams)
            if error is not None and not self._trouble(number, error, now):
                self._rehearsal.not_sent(number, datagrams[sent:], now)

    def receive(self, until: float) -> None:
        """Wait for datagrams until this time, and take those that there are."""
        wait_s = min(max(until - time.monotonic(), 0.0), LONGEST_WAIT_S)
        for descriptor, _ in self._poll.poll(wait_s * 1000):
            number = self._numbers[descriptor]
            datagrams, error = self._inbox.read(self._sockets[number])
            now = time.monotonic()
            for data in datagrams:
                self._rehearsal.received(number, data, now)
            if error is not None:
                self._trouble(number, error, now)

    def _trouble(self, number: int, error: OSError, now: float) -> bool:
        """Handle a socket's error; whether the link has no socket any more."""
        if error.errno in FAILURES:
            sock = self._sockets.pop(number)
            self._poll.unregister(sock)
            sock.close()
            self._rehearsal.failed(number, reason(error), now)
            return True
        if error.errno == errno.ECONNREFUSED:
            self._rehearsal.port_closed(number, now)
        return False

    def close(self) -> None:
        """Close all."""
        for sock in self._sockets.values():
            sock.close()
