"""Decides which of a sender's receivers is used. Pure: time comes in as an argument.

The one in use is left for the next when no link to it comes up. A way back to the first ends the SRT
connection, as another SRT server is behind it, so a stream that works is never taken from its receiver. While
another than the first is in use, the first is asked each PROBE_INTERVAL_S, beside the links. It is used again
when it has answered RETURN_ANSWERS times in a row and no SRT caller is there, or when the one in use fails.

Silence may also be that of all links, as in a tunnel. The next receiver is then as silent, and both answer at
the same time. So a first receiver that was silent is asked more often, and one answer is enough, until the
next has been up for SETTLED_S.
"""

from __future__ import annotations

PROBE_INTERVAL_S = 10.0
QUICK_PROBE_S = 2.0  # the longest round trip that such a probe can have
SETTLED_S = 5.0
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
        self._settled = True  # the one in use is there, and the first was not
        self._up_at: float | None = None  # since when it is there
        self._probe_at = now + PROBE_INTERVAL_S

    def failed(self, now: float, *, silent: bool = True) -> bool:
        """No link to the one in use comes up; `silent`: nor was there an answer. Whether `at` is another
        now."""
        if self._count == 1:
            return False
        settled = self._settled
        if self.at == 0:
            settled = not silent  # one that answers and lets no link in would be tried again and again
        self._use(0 if self.at and self._answers else (self.at + 1) % self._count, now, settled=settled)
        return True

    def second(self, now: float, *, up: bool) -> None:
        """A second has passed; `up`: a link to the one in use is."""
        if not up:
            self._up_at = None
        elif self._up_at is None:
            self._up_at = now
        elif now - self._up_at >= SETTLED_S:
            self._settled = True

    def probe_due(self, now: float) -> bool:
        """Whether to ask the first receiver now; call it each second."""
        if self.at == 0 or now < self._probe_at:
            return False
        if self._awaited:
            self._answers = 0
        self._awaited, self._probe_at = True, now + self._interval_s
        return True

    def answered(self) -> None:
        """The first has answered a probe."""
        if self._awaited:
            self._awaited = False
            self._answers += 1

    def returns(self, caller_heard: float, now: float) -> bool:
        """Whether to go back to the first, which `at` then is; `caller_heard`: when the SRT caller was."""
        if self.at == 0:
            return False
        if self._settled and (self._answers < RETURN_ANSWERS or now - caller_heard < CALLER_GONE_S):
            return False
        if not self._answers:
            return False
        self._use(0, now, settled=True)
        return True

    @property
    def _interval_s(self) -> float:
        return PROBE_INTERVAL_S if self._settled else QUICK_PROBE_S

    def _use(self, at: int, now: float, *, settled: bool) -> None:
        self.at, self._answers, self._awaited = at, 0, False
        self._settled, self._up_at = settled or at == 0, None
        self._probe_at = now + self._interval_s
