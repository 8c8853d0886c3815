"""Decides which of a sender's receivers is used. Pure: time comes in as an argument.

The one in use is left for the next when no link to it comes up. A way back to the first ends the SRT
connection, as another SRT server is behind it, so a stream that works is never taken from its receiver. While
another than the first is in use, the first is asked each PROBE_INTERVAL_S, beside the links. It is used again
when it has answered RETURN_ANSWERS times in a row and no SRT caller is there, or when the one in use fails.
"""

from __future__ import annotations

PROBE_INTERVAL_S = 10.0
RETURN_ANSWERS = 3  # half a minute: what has just come back may go again
CALLER_GONE_S = 10.0  # an SRT connection is given up after 5 s of silence, and callers try again at once


class Failover:
    """The place in the list of receivers; `at` is the one in use, 0 the first."""

    def __init__(self, count: int, now: float, at: int = 0) -> None:
        """`at`: the one that the engine before used."""
        self.at = at
        self._count = count
        self._answers = 0  # of the first, in a row
        self._awaited = False  # a probe has left and is not answered
        self._probe_at = now + PROBE_INTERVAL_S

    def failed(self, now: float) -> bool:
        """No link to the one in use comes up. Whether `at` is another now."""
        if self._count == 1:
            return False
        self._use(0 if self.at and self._answers else (self.at + 1) % self._count, now)
        return True

    def probe_due(self, now: float) -> bool:
        """Whether to ask the first receiver now; call it each second."""
        if self.at == 0 or now < self._probe_at:
            return False
        if self._awaited:
            self._answers = 0
        self._awaited, self._probe_at = True, now + PROBE_INTERVAL_S
        return True

    def answered(self) -> None:
        """The first has answered a probe."""
        if self._awaited:
            self._awaited = False
            self._answers += 1

    def returns(self, caller_heard: float, now: float) -> bool:
        """Whether to go back to the first, which `at` then is; `caller_heard`: when the SRT caller was."""
        if self.at == 0 or self._answers < RETURN_ANSWERS or now - caller_heard < CALLER_GONE_S:
            return False
        self._use(0, now)
        return True

    def _use(self, at: int, now: float) -> None:
        self.at, self._answers, self._awaited = at, 0, False
        self._probe_at = now + PROBE_INTERVAL_S
