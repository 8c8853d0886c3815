"""Resolves host names in a thread, so that packets do not wait, and tries again until it works."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable

from netbond.config.values import HostPort
from netbond.srtla.process.linksocket import Endpoint

BACKOFF_S = (1.0, 30.0)  # between attempts, first and longest

log = logging.getLogger(__name__)


class Resolver:
    """Resolves one name whenever asked. `on_result` gets every address, in the resolver's order."""

    def __init__(self, name: HostPort, on_result: Callable[[list[Endpoint]], None]) -> None:
        """Use it inside a running loop."""
        self._name = name
        self._on_result = on_result
        self._loop = asyncio.get_running_loop()
        self._running = False
        self._failing = False
        self.why = ""  # the last attempt found no address
        self._backoff = BACKOFF_S[0]

    @property
    def literal(self) -> bool:
        """Whether the name is an address, which never changes."""
        try:
            ipaddress.ip_address(self._name.host)
        except ValueError:
            return False
        return True

    @property
    def failing(self) -> bool:
        """Whether the last attempt found no address."""
        return self._failing

    def start(self) -> None:
        """Look the name up, unless that is under way already."""
        if self._running:
            return
        self._running = True
        if self.literal:  # nobody is asked: known before the first packet is read
            self._loop.call_soon(self._done, *self._found())
            return
        # A daemon thread rather than the loop's pool: ending the program must not wait for a name server.
        threading.Thread(target=self._look_up, name="resolver", daemon=True).start()

    def _look_up(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._done, *self._found())

    def _found(self) -> tuple[list[Endpoint], str]:
        """The addresses, and if there are none the reason."""
        found: list[Endpoint] = []
        trouble = "it has no address"
        try:
            for family, _, _, _, address in socket.getaddrinfo(
                self._name.host, self._name.port, type=socket.SOCK_DGRAM
            ):
                if family in (socket.AF_INET, socket.AF_INET6):
                    found.append((family, str(address[0]), int(address[1])))
        except OSError as error:
            trouble = error.strerror or str(error)
        except UnicodeError:
            trouble = "not a valid host name"
        return list(dict.fromkeys(found)), trouble

    def _done(self, found: list[Endpoint], trouble: str) -> None:
        self._running = False
        if found:
            if self._failing:
                log.info("%s resolves again: %s", self._name.host, ", ".join(host for _, host, _ in found))
            self._failing, self.why = False, ""
            self._backoff = BACKOFF_S[0]
            self._on_result(found)
            return
        if not self._failing:
            log.warning("cannot resolve %s: %s; trying again until it works", self._name.host, trouble)
        self._failing, self.why = True, trouble
        self._loop.call_later(self._backoff, self.start)
        self._backoff = min(self._backoff * 2, BACKOFF_S[1])
