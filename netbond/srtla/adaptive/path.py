"""Measures a link's path by its round trips: the shortest one, jitter, and how late packets are."""

from __future__ import annotations

from typing import Final

from netbond.srtla.adaptive.parameters import Parameters

RTT_DEFAULT: Final = 0.1  # s, before there is one
LONGER_WINDOW: Final = 2.0  # s; a path that became longer may become shorter again soon

USUAL_WINDOW: Final = 4.0  # s


class Path:
    """The path of one link. Times are in s, `now` is monotonic s."""

    def __init__(self, parameters: Parameters) -> None:
        self._window_most = parameters.shortest_window_s
        self.shortest = RTT_DEFAULT  # the shortest round trip lately
        self.shortest_ever = 1e3
        self.known = False
        self._seen_at = 0.0  # when `shortest` was last seen
        self.window = self._window_most
        self.drain_until = 0.0
        self._drain_least = 0.0
        self.smoothed = RTT_DEFAULT
        # The least of the last three: what is above `shortest` is a standing queue.
        self.standing = RTT_DEFAULT
        self._last = self._before = 1e3
        # The lowest smoothed round trip of the window before, and of the present one.
        self._usual = [1e3, 1e3]
        self._usual_until = 0.0
        self.spread = 0.0  # mean excess of round trips over the shortest while the link was idle
        self.late = 0.0  # mean time by which packets are later than expected

    def back(self) -> float:
        """Return the s that proof takes to come back: half of the shortest round trip."""
        return min(self.shortest_ever, self.shortest) / 2

    def usual(self) -> float:
        """Return the lowest smoothed round trip of the last seconds."""
        return min(self._usual)

    def seen(self, sample: float, target: float, now: float, *, idle: bool) -> None:
        """Take a round trip. `target`: s of queue that the link may have; `idle`: nothing is in flight."""
        if idle:
            most = 0.5 * self.shortest + 0.03
            self.spread += (min(max(sample - self.shortest, 0.0), most) - self.spread) / 4
        self.standing = min(sample, self._last, self._before) if self.known else sample
        self._before, self._last = self._last, sample
        if sample < self.shortest_ever:
            self.shortest_ever = sample
        self.smoothed += (sample - self.smoothed) / 8 if self.known else sample - self.smoothed
        if now >= self._usual_until:
            self._usual = [self._usual[1], 1e3]
            self._usual_until = now + USUAL_WINDOW
        self._usual[1] = min(self._usual[1], self.smoothed)
        if sample <= self.shortest or not self.known:
            if sample < 0.9 * self.shortest and self.window < self._window_most:
                self.window = LONGER_WINDOW
            self.shortest = sample
            self._seen_at = now
            self.known = True
            self.drain_until = 0.0
        elif sample < self.shortest * 1.05 + 0.002:
            self._seen_at = now
            self.drain_until = 0.0
        elif now - self._seen_at > self.window:
            self._drain(sample, target, now)

    def _drain(self, sample: float, target: float, now: float) -> None:
        """Let the queue run empty once, to measure the path anew."""
        if self.drain_until < self._seen_at:
            self.drain_until = now + self.shortest + target
            self._drain_least = sample
        elif sample < self._drain_least:
            self._drain_least = sample
        if now >= self.drain_until + self.shortest:
            # A fading link is not a longer path, so limit the growth.
            self.shortest = min(self._drain_least, 1.5 * self.shortest + 0.01)
            self._seen_at = now
            self.drain_until = 0.0
            self.window = min(2 * self.window, self._window_most)

    def became_longer(self, rtt: float, now: float) -> None:
        """Take a longer path."""
        self.shortest = self.shortest_ever = rtt
        self._seen_at = now
        self.window = LONGER_WINDOW
        self.drain_until = 0.0

    def was_late(self, late: float, most: float) -> None:
        """Take by how many s a packet was later than expected.

        `most` limits it: a packet that was seconds late after an outage would make the link unusable.
        """
        self.late += (min(max(0.0, late), most) - self.late) / 8
