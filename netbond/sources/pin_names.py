"""Looks up the addresses of the host names in pins and policies, in the background. Source.

A slow or unreachable name server must never delay routing. So answers are facts like any other. The last good
answer stays valid: a lookup that fails or finds nothing changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Look, Source
from netbond.model import Facts, Interface, IPAddress
from netbond.policies import destinations

REFRESH_S = 300.0  # until a name is looked up again
RETRY_S = 10.0  # after a failure
MOST_ADDRESSES = 64  # of one name; the others are ignored

Resolve = Callable[[str], Awaitable[Iterable[IPAddress]]]


async def resolve(name: str) -> list[IPAddress]:
    """Return the addresses of a host name, of both families. OSError if it has none.

    This runs in a thread of its own, and the program does not wait for that thread when it exits. A name
    server that does not answer blocks the system's resolver for half a minute. In the event loop's pool, it
    would block the few threads there.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[IPAddress]] = loop.create_future()

    def settle(found: list[IPAddress] | OSError | UnicodeError) -> None:
        if answer.done():
            return
        if isinstance(found, list):
            answer.set_result(found)
        else:
            answer.set_exception(found)

    def ask() -> None:
        found: list[IPAddress] | OSError | UnicodeError
        try:
            infos = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
            found = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in infos]
        except (OSError, UnicodeError) as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=ask, name=f"look up {name}", daemon=True).start()
    return await answer


class Lookups:
    """Looks names up repeatedly.

    It calls `changed` when an answer differs from the one before, and when a name was tried for the first
    time.
    """

    def __init__(self, changed: Callable[[], None], resolver: Resolve = resolve) -> None:
        self._changed = changed
        self._resolve = resolver
        self._answers: dict[str, tuple[IPAddress, ...]] = {}
        self._tried: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.failures: dict[str, str] = {}

    def want(self, names: Iterable[str]) -> None:
        """Look up only these names from now on."""
        wanted = set(names)
        for name in self._tasks.keys() - wanted:
            self._tasks.pop(name).cancel()
            self._answers.pop(name, None)
            self.failures.pop(name, None)
            self._tried.discard(name)
        for name in sorted(wanted - self._tasks.keys()):
            self._tasks[name] = asyncio.create_task(self._follow(name))

    @property
    def complete(self) -> bool:
        """Whether each name was tried at least once."""
        return self._tasks.keys() <= self._tried

    @property
    def answers(self) -> tuple[tuple[str, tuple[IPAddress, ...]], ...]:
        """The addresses by name, in the form of `netbond.model.Facts.resolved`."""
        return tuple(sorted(self._answers.items()))

    async def stop(self) -> None:
        """Stop looking up."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def once(self, names: Iterable[str]) -> None:
        """Look up each of these names once."""
        await asyncio.gather(*(self._try(name) for name in sorted(set(names))))

    async def _try(self, name: str) -> None:
        try:
            found = tuple(sorted(set(await self._resolve(name)), key=lambda ip: (ip.version, int(ip))))
        except OSError as error:
            self.failures[name] = error.strerror or str(error)
        except UnicodeError:  # from the codec for host names
            self.failures[name] = "not a host name"
        else:
            if found:
                self._answers[name] = found[:MOST_ADDRESSES]
                self.failures.pop(name, None)
        self._tried.add(name)

    async def _follow(self, name: str) -> None:
        while True:
            first, before = name not in self._tried, self._answers.get(name)
            await self._try(name)
            if first or self._answers.get(name) != before:
                self._changed()
            await asyncio.sleep(RETRY_S if name in self.failures else REFRESH_S)


class PinNames(Source):
    """The host names of the pins and policies in the configuration."""

    name = "pins"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._look: Look = lambda: None
        self._lookups = Lookups(self._news)

    def _news(self) -> None:
        self._look()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Begin to look up the names, repeatedly."""
        self._look = look
        self._lookups.want(destinations.names(self._config))

    async def once(self) -> None:
        """Look up each name now."""
        await self._lookups.once(destinations.names(self._config))

    async def stop(self) -> None:
        """Stop looking up."""
        await self._lookups.stop()

    @property
    def problems(self) -> Sequence[str]:
        """The names that cannot be resolved."""
        owners = destinations.names(self._config)
        return [
            f"{owners.get(name, 'pin')}: {name}: {why}; trying again"
            for name, why in sorted(self._lookups.failures.items())
        ]

    def configure(self, config: Config) -> None:
        """Look up the names of another configuration from now on."""
        self._config = config
        self._lookups.want(destinations.names(config))

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the addresses of the names."""
        return replace(facts, resolved=self._lookups.answers)

    def complete(self) -> bool:
        """Whether each name was tried at least once."""
        return self._lookups.complete
