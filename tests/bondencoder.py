"""Models encoders that adapt their bitrate: one to what SRT tells, as belacoder does, one to our advice."""

from __future__ import annotations

from collections import deque

LOOK = 0.02  # s between two looks at SRT's figures
LEAST = 0.3  # Mbit/s
UP_EVERY = 0.5  # s
DOWN_EVERY = 0.2  # s
MEMORY = 100  # looks over which the usual figures are taken
GATHERING = 1.0  # s at the beginning in which nothing is usual yet
RISING = 0.00001  # s per look: a round trip that grows by less does not grow


class Usual:
    """What a figure usually is, and by how much it was above that lately."""

    def __init__(self, first: float) -> None:
        self.mean, self.jitter, self.low, self.trend = first, 0.0, first, 0.0
        self._last = first

    def add(self, value: float) -> None:
        self.jitter = max(self.jitter * (1 - 1 / MEMORY), value - self._last)
        self.trend += (value - self._last - self.trend) / (MEMORY / 5)
        self.mean += (value - self.mean) / MEMORY
        self.low = min(self.low * 1.001, value)
        self._last = value


class Encoder:
    """Knows SRT's round trip and how many packets SRT has not acknowledged."""

    def __init__(self, most: float, latency: float, rtt: float) -> None:
        """`most`: Mbit/s; `latency`, `rtt`: s, SRT's."""
        self.most, self.latency = most, latency
        self.mbps = most / 2
        self._rtt, self._waiting = Usual(rtt), Usual(0.0)
        self._up_at = self._down_at = 0.0

    def look(self, now: float, rtt: float, waiting: int) -> float:
        """Return the bitrate in Mbit/s from now on.

        It falls to the least when the round trip passes a third of the latency, by a tenth when it passes a
        fifth, and by 0.1 Mbit/s when a figure is unusual; it rises by a thirtieth each half second while the
        round trip is near its least and does not grow.
        """
        usual, queue = self._rtt, self._waiting
        usual.add(rtt)
        queue.add(waiting)
        if now < GATHERING:
            return self.mbps
        unusual = rtt > usual.mean + max(4 * usual.jitter, 0.15 * usual.mean)
        unusual = unusual or waiting > max(50, queue.mean + 2.5 * queue.jitter)
        if rtt >= self.latency / 3 or waiting > max(100, 4 * (queue.mean + queue.jitter)):
            self.mbps = LEAST
        elif rtt > self.latency / 5 or unusual:
            if now >= self._down_at:
                self.mbps -= 0.1 + (self.mbps / 10 if rtt > self.latency / 5 else 0.0)
                self._down_at = now + DOWN_EVERY
        elif rtt < usual.low + max(0.001, 2 * usual.jitter) and usual.trend < RISING and now >= self._up_at:
            self.mbps += self.mbps / 30 + 0.03
            self._up_at = now + UP_EVERY
        self.mbps = min(max(self.mbps, LEAST), self.most)
        return self.mbps


FRAME = 1 / 30  # s
KEY_EVERY = 60  # frames
KEY_SIZE = 5.0  # times the mean of all frames
FIRST_RATE = 1.0  # Mbit/s, until there is advice
FOLLOWS_AFTER = 0.2  # s


class Follower:
    """An encoder that follows advice, late: 30 frames a second, each 60th of them five times as large.

    The packets of a frame leave within half of its time.
    """

    def __init__(self, most: float, size: int) -> None:
        """`most`: Mbit/s; `size`: bytes of a packet's payload."""
        self.most, self.mbps = most, min(FIRST_RATE, most)
        self._size = size
        self._news: deque[tuple[float, float]] = deque()
        self._frames = 0
        self._owed = 0.0  # bytes
        self._left: deque[float] = deque()  # when the packets of the frames begun leave

    def packets(self, now: float, advised: float | None) -> int:
        """Return how many packets leave at `now`, s since the stream began; `advised` in Mbit/s."""
        while now >= self._frames * FRAME:
            if advised is not None and (not self._news or self._news[-1][1] != advised):
                self._news.append((now + FOLLOWS_AFTER, advised))
            while self._news and self._news[0][0] <= now:
                self.mbps = min(max(self._news.popleft()[1], LEAST), self.most)
            key = self._frames % KEY_EVERY == 0
            share = KEY_SIZE if key else (KEY_EVERY - KEY_SIZE) / (KEY_EVERY - 1)
            self._owed += self.mbps * 1e6 / 8 * FRAME * share
            count = int(self._owed / self._size)
            self._owed -= count * self._size
            begin = self._frames * FRAME
            self._left.extend(begin + number / count * FRAME / 2 for number in range(count))
            self._frames += 1
        count = 0
        while self._left and self._left[0] <= now:
            self._left.popleft()
            count += 1
        return count
