"""Passes the advice of the agent's senders on: at once to those who follow it, and on request to others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

from netbond.errors import UnavailableError, UsageError
from netbond.srtla.advice import Advice
from netbond.srtla.statistics import SenderStatistics
from netbond.srtla.watch import FRESH_S, HEARTBEAT_S, VERSION, WatchLine, name_of
from netbond.status.schema import EngineStatus

SPACING_S = 0.05  # between two looks for one who follows: an engine that advises without end is not passed on


class AdviceBoard:
    """The latest advice of each sender. All but `lines` is for the event loop's thread."""

    def __init__(self, engines: Callable[[], Iterable[EngineStatus]]) -> None:
        """`engines`: the engines as last published, which nobody changes any more."""
        self._engines = engines
        self._latest: Mapping[str, tuple[Advice, float]] = {}  # replaced as a whole: `lines` reads it
        self._news = asyncio.Event()

    def post(self, engine: str, advice: Advice, now: float) -> None:
        """A sender has given this advice at `now`, monotonic seconds; `engine` is its name in status."""
        kept = {name: found for name, found in self._latest.items() if now - found[1] < FRESH_S}
        self._latest = {**kept, engine: (advice, now)}
        news, self._news = self._news, asyncio.Event()
        news.set()

    def lines(self, now: float) -> dict[str, WatchLine]:
        """What is to be told of each sender, by the name that `WatchLine.sender` has. From any thread."""
        latest = self._latest
        found = {}
        for engine in self._engines():
            if engine.role == "sender":
                name = name_of(engine.name)
                state = engine.stats.state if isinstance(engine.stats, SenderStatistics) else engine.state
                advice, at = latest.get(engine.name, (None, 0.0))
                found[name] = WatchLine(VERSION, name, state, advice if now - at < FRESH_S else None)
        return found

    async def follow(self, sender: str) -> AsyncGenerator[WatchLine, None]:
        """A line of this sender ("": of each) whenever it has given advice, and each HEARTBEAT_S.

        One who takes a line late gets the newest next. UsageError: there is no such sender.
        """
        told: dict[str, tuple[float, Advice | None]] = {}
        while True:
            news, now = self._news, time.monotonic()
            for name, line in self._chosen(name_of(sender), now).items():
                at, before = told.get(name, (float("-inf"), None))
                if line.advice is not before or now - at >= HEARTBEAT_S:
                    told[name] = (now, line.advice)
                    yield line
            await asyncio.sleep(SPACING_S)
            due = min(at for at, _ in told.values()) + HEARTBEAT_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due - time.monotonic(), 0.01)):
                    await news.wait()

    def _chosen(self, sender: str, now: float) -> dict[str, WatchLine]:
        lines = self.lines(now)
        if not lines:
            raise UnavailableError("the agent has no sender", "add a [[sender]] to its configuration")
        if not sender:
            return lines
        if sender not in lines:
            raise UsageError(f"there is no sender {sender[:64]!r}", f"there is {', '.join(lines)}")
        return {sender: lines[sender]}
