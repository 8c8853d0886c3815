"""Real-time priority for the agent, so that routing does not wait for a processor.

A box that encodes video keeps all its processors busy, and the kernel lets a program that wakes up wait
tens of milliseconds for its turn, with `nice` as well; measured with two busy loops on two processors, an
address was routed after 20 ms (median; 72 ms at worst), and after 3.4 ms (5.5 ms) with real-time priority.
Such a priority is for work that is short: while passes take long (a full table of the internet's routes), the
agent does without. What it starts, engines above all, never inherits it.

A mistake of ours that runs in circles must not take the processor from everybody else: the kernel counts what
a real-time program uses without ever waiting (RLIMIT_RTTIME, sched(7)), and its SIGXCPU ends the priority.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
from collections.abc import Callable
from types import FrameType

from netbond.system.files import why

logger = logging.getLogger(__name__)

LONG = 0.05  # seconds of a processor's time in one pass
STUCK = 1_000_000  # microseconds of a processor's time without a pause
PRIORITY = 1  # the lowest of the real-time ones: ahead of all that has none, behind all else that has one


class Haste:
    """The scheduling of the calling thread. `schedule` is os.sched_setscheduler or stands for it."""

    def __init__(self, schedule: Callable[[int, int, os.sched_param], None] = os.sched_setscheduler) -> None:
        self._schedule = schedule
        self._on = False
        self._refused = False
        with contextlib.suppress(OSError, ValueError):  # a lower limit is in force already
            resource.setrlimit(resource.RLIMIT_RTTIME, (STUCK, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXCPU, self._stuck)

    def _stuck(self, _signal: int, _frame: FrameType | None) -> None:
        """Between two instructions of whatever does not end."""
        self._schedule(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        self._on, self._refused = False, True
        logger.warning(
            "no real-time priority any more: %d s of a processor's time without a pause", STUCK // 1_000_000
        )

    def judge(self, cost: float, *, wanted: bool) -> None:
        """To be called after each pass; `cost` is what it took, in seconds of a processor's time."""
        on = wanted and cost < LONG
        if on == self._on or (on and self._refused):
            return
        policy = os.SCHED_RR if on else os.SCHED_OTHER
        try:
            self._schedule(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY if on else 0))
        except OSError as error:
            # A container, or a unit with RestrictRealtime=: it works without.
            self._refused = True
            logger.info("no real-time priority: %s", why(error))
        else:
            self._on = on
