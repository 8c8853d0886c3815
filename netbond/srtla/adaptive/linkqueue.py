"""Estimates the queue in a link from what has entered it and the believed rate.

The bytes in flight say how long the last packet takes if they are spread evenly over the path. Behind a gap
they are not: the same bytes lie close together, and wait in the link although its path is half empty. So this
class counts what enters the link since it was last empty, less what its rate has let out since. If the
believed rate is too low, the counted queue would grow for ever; so a packet that waited less than expected
corrects it. Jitter does not.

Times are s, `now` monotonic s.
"""

from __future__ import annotations


class LinkQueue:
    """One link's."""

    def __init__(self, now: float) -> None:
        self._until = now  # when what is in it has left
        self._corrected = 0.0  # sum of what was taken out

    def waits(self, now: float) -> float:
        """s that a packet waits that enters now."""
        return max(0.0, self._until - now)

    def enter(self, waits: float, takes: float, now: float) -> float:
        """A packet enters behind `waits` s of others; the link takes `takes` s for it. Returns a mark for
        `waited`."""
        self._until = now + waits + takes
        return waits + self._corrected

    def waited(self, mark: float, wait: float) -> None:
        """The packet with this mark has waited `wait` s, more or less."""
        over = mark - self._corrected - wait
        if over > 0.0:
            self._corrected += over
            self._until -= over
