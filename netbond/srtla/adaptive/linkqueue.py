"""The queue in a link, as it is if the link is as fast as believed.

How much is in flight says how long the last packet takes if all of it is spread over the path. Behind a gap
it is not: then the same bytes lie close together, and wait in the link though its path is half empty. So what
enters is counted, and what a link at its rate has let out since. If the rate is believed too low, that queue
would grow for ever: a packet that waited less than was expected of it takes the difference out again.

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
