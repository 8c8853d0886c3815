"""Keeps a fault that repeats from filling the log: one line a minute for each cause.

Without descriptors, say, each pass, each scrape and each engine fails as often as it is tried. What is left
out is counted, and the next line of that cause says how often it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL_S = 60.0
MOST_CAUSES = 256  # that are remembered
# Its lines are not faults but what has happened: each link that goes down is told, as those that come up are.
EVENTS = "netbond.status.event_log"


@dataclass(slots=True)
class _Said:
    at: float
    left_out: int = 0


class OncePerMinute(logging.Filter):
    """For a handler: lets the first warning or error of a cause pass, and one a minute after it.

    A cause is the logger, the text without its numbers, and the kind of the exception. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[object, _Said] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written; it may get a number of those before it."""
        if record.levelno < logging.WARNING or record.name == EVENTS:
            return True
        now = self._clock()
        cause = _cause(record)
        said = self._said.get(cause)
        if said is not None and now - said.at < INTERVAL_S:
            said.left_out += 1
            return False
        if said is not None and said.left_out:
            record.msg = f"{record.getMessage()} (and {said.left_out} times more since the last line)"
            record.args = ()
        self._said.pop(cause, None)
        if len(self._said) >= MOST_CAUSES:
            del self._said[next(iter(self._said))]  # the one that was written longest ago
        self._said[cause] = _Said(now)
        return True


def _cause(record: logging.LogRecord) -> object:
    args = record.args if isinstance(record.args, tuple) else ()
    words = tuple(str(arg) for arg in args if not isinstance(arg, int | float))
    kind = record.exc_info[0] if record.exc_info else None
    return record.name, record.msg, words, kind
