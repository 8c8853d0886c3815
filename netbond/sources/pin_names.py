"""The host names of pins, looked up in the background; the last good answer holds.

A name server that is slow or gone must never hold up routing, so the answers are facts like any other: they
come when they come. An answer that is empty or fails changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from netbond import pins
from netbond.config.schema import Config
from netbond.contracts import Look, Source
from netbond.model import Facts, IPAddress, Link

AGAIN = 300.0  # seconds until a name is looked up again
RETRY = 10.0  # seconds after a failure
LONGEST = 64  # addresses of one name that count

Resolve = Callable[[str], Awaitable[Iterable[IPAddress]]]


async def resolve(name: str) -> list[IPAddress]:
    """Its addresses of both families. OSError if there are none.

    In a thread of its own that nobody waits for in the end: a name server that does not answer keeps the
    system's resolver for half a minute, the event loop's few threads with it, and the end of the program.
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
    """`changed` is called when an answer differs from the one before, and when each name was tried once."""

    def __init__(self, changed: Callable[[], None], resolver: Resolve = resolve) -> None:
        self._changed = changed
        self._resolve = resolver
        self._answers: dict[str, tuple[IPAddress, ...]] = {}
        self._tried: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.failures: dict[str, str] = {}

    def want(self, names: Iterable[str]) -> None:
        """These are the names from now on."""
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
        """What is known, as netbond.model.Facts has it."""
        return tuple(sorted(self._answers.items()))

    async def stop(self) -> None:
        """Look up nothing more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def once(self, names: Iterable[str]) -> None:
        """Look up each of these names, one time."""
        await asyncio.gather(*(self._try(name) for name in sorted(set(names))))

    async def _try(self, name: str) -> None:
        try:
            found = tuple(sorted(set(await self._resolve(name)), key=lambda ip: (ip.version, int(ip))))
        except OSError as error:
            self.failures[name] = error.strerror or str(error)
        except UnicodeError:  # what the codec for host names makes of some
            self.failures[name] = "not a host name"
        else:
            if found:
                self._answers[name] = found[:LONGEST]
                self.failures.pop(name, None)
        self._tried.add(name)

    async def _follow(self, name: str) -> None:
        while True:
            first, before = name not in self._tried, self._answers.get(name)
            await self._try(name)
            if first or self._answers.get(name) != before:
                self._changed()
            await asyncio.sleep(RETRY if name in self.failures else AGAIN)


class PinNames(Source):
    """The host names of the pins in the configuration."""

    name = "pins"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._look: Look = lambda: None
        self._lookups = Lookups(self._news)

    def _news(self) -> None:
        self._look()

    async def start(self, look: Look, links: Sequence[Link]) -> None:
        """Look up the names, again and again."""
        self._look = look
        self._lookups.want(pins.names(self._config))

    async def once(self) -> None:
        """Look up each name now."""
        await self._lookups.once(pins.names(self._config))

    async def stop(self) -> None:
        """Look up nothing more."""
        await self._lookups.stop()

    @property
    def problems(self) -> Sequence[str]:  # type: ignore[override]
        """The names that do not resolve."""
        return [f"pin: {name}: {why}; trying again" for name, why in sorted(self._lookups.failures.items())]

    def configure(self, config: Config) -> None:
        """Take another configuration: other names."""
        self._config = config
        self._lookups.want(pins.names(config))

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """What the names mean."""
        return replace(facts, resolved=self._lookups.answers)

    def complete(self) -> bool:
        """Whether each name was tried at least once."""
        return self._lookups.complete
