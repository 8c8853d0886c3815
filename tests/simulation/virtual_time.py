"""An event loop whose time is simulated: it jumps to the next timer, and nothing waits.

Inside `running` time.monotonic(), time.time() and CLOCK_BOOTTIME are the simulated ones, so that code which
reads the clock by itself can be driven, too. Work takes no processor time: the agent waits as long after an
event as reading the kernel took, and would do other things on a busy machine. There is no I/O: descriptors
are never ready. Threads' work is done at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

INSTANT_S = 1e-5  # that a round of the loop takes: who polls the clock gets on


class Clock:
    """Seconds since boot, and the wall clock, which may jump."""

    def __init__(self, wall_s: float) -> None:
        self.now_s = 1000.0
        self.offset_s = wall_s - self.now_s
        self.synchronised = True

    def wall_s(self) -> float:
        """Unix time, as the box believes."""
        return self.now_s + self.offset_s


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and for nothing that has a time")
        self._clock.now_s += max(timeout, INSTANT_S)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop of one simulation."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._virtual = clock

    def time(self) -> float:
        """Return the simulated time."""
        return self._virtual.now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Do it here and now."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            done.set_exception(error)
        return done


@contextlib.contextmanager
def running(clock: Clock) -> Iterator[VirtualLoop]:
    """A loop, and all clocks as it has them."""
    real = time.clock_gettime

    def clock_gettime(which: int) -> float:
        return clock.now_s if which == time.CLOCK_BOOTTIME else real(which)

    loop = VirtualLoop(clock)
    asyncio.set_event_loop(loop)

    def now_s() -> float:
        return clock.now_s

    def no_work_s() -> float:
        return 0.0

    def synchronised() -> bool:
        return clock.synchronised

    with (
        mock.patch("time.monotonic", now_s),
        mock.patch("time.time", clock.wall_s),
        mock.patch("time.clock_gettime", clock_gettime),
        mock.patch("time.thread_time", no_work_s),
        mock.patch("netbond.sources.data_plans.synchronised", synchronised),
        mock.patch("netbond.sources.overrides.synchronised", synchronised),
    ):
        try:
            yield loop
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            asyncio.set_event_loop(None)
            loop.close()
