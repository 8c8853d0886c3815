"""Gives the agent real-time priority, so that routing does not wait for a processor.

A box that encodes video keeps all its processors busy. A program that wakes up then waits tens of
milliseconds for its turn, with `nice` as well. Measured with two busy loops on two processors: an address was
routed after 20 ms (median; 72 ms at worst), and after 3.4 ms (5.5 ms) with real-time priority.

Such a priority is for short work. While passes take long (a full table of the internet's routes), the agent
runs without it. Child processes, engines above all, never inherit it.

A bug that loops must not take the processor from everybody else. The kernel counts what a real-time program
uses without ever waiting (RLIMIT_RTTIME, sched(7)); its SIGXCPU ends the priority, for BACK_AFTER_S: a burst
of work must not cost the priority for good, and a bug that loops gets one second of each minute.
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

LONGEST_PASS_S = 0.05  # processor time of a pass, above which the agent runs without the priority
STUCK_US = 1_000_000  # processor time without a pause, after which the priority ends
BACK_AFTER_S = 60.0  # from that end until the priority comes back
PRIORITY = 1  # the lowest real-time priority: ahead of all normal programs, behind all other real-time ones


class RealtimePriority:
    """The scheduling of the calling thread. `schedule` is os.sched_setscheduler or a stand-in for it."""

    def __init__(self, schedule: Callable[[int, int, os.sched_param], None] = os.sched_setscheduler) -> None:
        self._schedule = schedule
        self._on = False
        self._refused = False
        self._ended = False  # by the signal, and not noticed yet by update()
        self._back_at = float("-inf")
        _limit()
        signal.signal(signal.SIGXCPU, self._stuck)

    def _stuck(self, _signal: int, _frame: FrameType | None) -> None:
        """Runs between two instructions of the loop that does not end."""
        self._schedule(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        self._on, self._ended = False, True
        logger.warning(
            "real-time priority ended for %d s: %d s of processor time without a pause",
            BACK_AFTER_S,
            STUCK_US // 1_000_000,
        )

    def update(self, pass_s: float, now: float, *, wanted: bool) -> None:
        """Switch the priority on or off after a pass that took `pass_s` seconds of processor time.

        `now` is monotonic seconds.
        """
        if self._ended:
            self._ended, self._back_at = False, now + BACK_AFTER_S
            _limit()  # at the signal the kernel has raised it by a second
        on = wanted and pass_s < LONGEST_PASS_S and now >= self._back_at
        if on == self._on or (on and self._refused):
            return
        policy = os.SCHED_RR if on else os.SCHED_OTHER
        try:
            self._schedule(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY if on else 0))
        except OSError as error:
            # In a container, or a unit with RestrictRealtime=. The agent works without it.
            self._refused = True
            logger.info("no real-time priority: %s", why(error))
        else:
            self._on = on


def _limit() -> None:
    with contextlib.suppress(OSError, ValueError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_RTTIME, (STUCK_US, resource.RLIM_INFINITY))
