"""Estimates the queue in a link from the packets that have entered it and the estimated rate.

The bytes in flight say how long the last packet takes only if they are spread evenly over the path. After a
gap they are not: the same bytes are close together, and queue in the link although its path is half empty. So
this class adds what enters the link since it was last empty, and subtracts what its rate has let out since.
If the estimated rate is too low, this queue would grow for ever. So a packet that waited less than expected
corrects it. Jitter does not.

Times are in s, `now` is in monotonic s.
"""

from __future__ import annotations


class LinkQueue:
    """The queue of one link."""

    def __init__(self, now: float) -> None:
        self._until = now  # when the queue will be empty
        self._corrected = 0.0  # sum of all corrections, s

    def waits(self, now: float) -> float:
        """Return the s that a packet waits that enters now."""
        return max(0.0, self._until - now)

    def enter(self, waits: float, takes: float, now: float) -> float:
        """Add a packet that waits `waits` s and takes `takes` s; return a mark for `waited`."""
        self._until = now + waits + takes
        return waits + self._corrected

    def waited(self, mark: float, wait: float) -> None:
        """Correct the queue: the packet with this mark has waited about `wait` s."""
        over = mark - self._corrected - wait
        if over > 0.0:
            self._corrected += over
            self._until -= over
