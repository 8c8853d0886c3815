"""What wakes the agent's loop: news, SIGHUP to reload, SIGTERM and SIGINT to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import Any


class Wake:
    """Made in the event loop that is to be woken."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._reload = False
        self._stopping = asyncio.Event()

    def look(self) -> None:
        """There is news."""
        self._event.set()

    def reload(self) -> None:
        """The configuration is to be read again."""
        self._reload = True
        self._event.set()

    def stop(self) -> None:
        """It is to end."""
        self._stopping.set()
        self._event.set()

    def stopping(self) -> bool:
        """Whether it is to end."""
        return self._stopping.is_set()

    async def finish(self, task: asyncio.Task[Any], grace_s: float) -> bool:
        """Wait for the task, and for `grace_s` at most once the agent is to end; whether the task has ended.

        One that has not is cancelled. So what hangs does not keep the agent from ending.
        """
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=grace_s)
            return task.done()
        finally:
            stop.cancel()
            task.cancel()

    def heed_signals(self, stack: contextlib.ExitStack | contextlib.AsyncExitStack) -> None:
        """From now until `stack` is closed. SIGHUP may be blocked so far, and pending."""
        loop = asyncio.get_running_loop()
        for number, heed in (
            (signal.SIGTERM, self.stop),
            (signal.SIGINT, self.stop),
            (signal.SIGHUP, self.reload),
        ):
            loop.add_signal_handler(number, heed)
            stack.callback(loop.remove_signal_handler, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def wait(self, until: float) -> bool:
        """Wait for any of these, or until the time (monotonic seconds); whether something woke it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                await self._event.wait()
        return self._event.is_set()

    def answered(self) -> bool:
        """Whatever came so far is attended to now; whether a reload was among it."""
        self._event.clear()
        reload, self._reload = self._reload, False
        return reload


async def pause(seconds: float) -> None:
    """Sleep, also for less than a millisecond, which the event loop's own clock does not count."""
    if seconds >= 0.001:
        await asyncio.sleep(seconds)
        return
    until = time.monotonic() + seconds
    while time.monotonic() < until:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0)
