"""Finds the address at which the SRT server answers: its name may have several, and it may listen on one.

All are asked at once, by the handshake with which an SRT caller begins; the server keeps nothing of it. The
first to answer is used. While none answers they are asked again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

from netbond.config.values import HostPort
from netbond.srtla import wire
from netbond.srtla.process.linksocket import Endpoint, open_towards

ANSWER_WITHIN_S: Final = 1.0  # then the first that has not refused is used
ASK_INTERVAL_S: Final = 5.0  # between two rounds while the one in use has not answered

log = logging.getLogger(__name__)


class SrtServer:
    """The SRT server's address in use, and the search for a better one."""

    def __init__(self, name: HostPort, on_change: Callable[[], None]) -> None:
        """Use it inside a running loop. `on_change` is called soon after `endpoint` has changed."""
        self.endpoint: Endpoint | None = None
        self._name = name
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._found: list[Endpoint] = []
        self._works = False
        self._asked: dict[Endpoint, socket.socket] = {}  # that have neither answered nor refused
        self._asked_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, found: list[Endpoint]) -> None:
        """These are all its addresses, in the order of preference."""
        if set(found) == set(self._found):
            return  # name servers like to change the order
        self._found = found
        self._stop()
        if len(found) == 1:
            self._use(found[0])
        elif not self._works or self.endpoint not in found:
            self._ask()

    def works(self) -> None:
        """Something has come from the address in use."""
        self._works = True

    def refuses(self) -> None:
        """The address in use has refused a packet."""
        self._works = False
        if len(self._found) > 1 and self._loop.time() - self._asked_at >= ANSWER_WITHIN_S:
            self._ask()

    def close(self) -> None:
        """Ask no more."""
        self._stop()

    def _ask(self) -> None:
        self._stop()
        self._asked_at = self._loop.time()
        number = int.from_bytes(os.urandom(4), "big") >> 2 | 1
        for endpoint in self._found:
            try:
                sock = open_towards(endpoint)
            except OSError:
                continue  # without IPv6, say
            self._asked[endpoint] = sock
            self._loop.add_reader(sock.fileno(), self._read, endpoint, sock, number)
            try:
                sock.send(wire.build_induction(number))
            except OSError:
                self._drop(endpoint)
        self._timer = self._loop.call_later(ANSWER_WITHIN_S, self._late)
        self._judge()

    def _read(self, endpoint: Endpoint, sock: socket.socket, number: int) -> None:
        try:
            data = sock.recv(wire.MTU)
        except BlockingIOError:
            return
        except OSError:
            self._drop(endpoint)
            self._judge()
            return
        if wire.is_handshake(data) and wire.destination_of(data) == number:
            self._stop()
            self._works = True
            self._use(endpoint)

    def _judge(self) -> None:
        """If only one is left, do not wait for its answer: a busy server may give none."""
        if len(self._asked) == 1:
            self._use(next(iter(self._asked)))
        elif not self._asked and self.endpoint not in self._found:
            self._use(self._found[0])

    def _late(self) -> None:
        if not self._works:
            if self._asked and self.endpoint not in self._asked:
                self._use(next(iter(self._asked)))
            self._timer = self._loop.call_later(ASK_INTERVAL_S - ANSWER_WITHIN_S, self._again)
        for endpoint in list(self._asked):
            self._drop(endpoint)

    def _again(self) -> None:
        if not self._works:
            self._ask()

    def _use(self, endpoint: Endpoint) -> None:
        if endpoint == self.endpoint:
            return
        self.endpoint = endpoint
        if len(self._found) > 1:
            log.info("SRT server %s: using the address %s", self._name, endpoint[1])
        self._loop.call_soon(self._on_change)

    def _drop(self, endpoint: Endpoint) -> None:
        sock = self._asked.pop(endpoint)
        self._loop.remove_reader(sock.fileno())
        sock.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for endpoint in list(self._asked):
            self._drop(endpoint)
