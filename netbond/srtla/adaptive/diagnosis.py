"""Tells why a link delivers less than it did.

Its queue overflows, the air is bad, its path has become longer, or it was given less. `linkmodel.py` measures
and does what follows; here is only what the signs mean.

Times are s, rates bytes/s, `now` monotonic s.
"""

from __future__ import annotations

import math
from typing import Final

# loss
BORNE: Final = 0
OVERFLOW: Final = 1
AIR: Final = 2
LOSS_BORNE: Final = 0.03  # share that is not worth a shorter queue
CHANCE: Final = 1.0  # standard deviations above what is borne that may be chance
CUTS: Final = 3  # of the queue until loss that stays is taken for the link's own

# round trips
ALIKE_RTT: Final = 0.08  # share by which round trips differ that count as the same
LONGER_SHARE = (1.8, 3.0)  # times the round trip that a queue with so much in flight would take, ...
LONGER_STEADY = (6, 2)  # ... so often in a row alike: while a link fades hardly two are
STARVED: Final = 0.1  # share by which the rate falls until it is asked whether the link is to blame
STARVED_EVERY: Final = 1.0  # s at least between tries to give a rate back, ...
STARVED_SELDOM: Final = 30.0  # ... and at most
STEADY_SAMPLES: Final = 6  # round trips that make an average
STEADY_CHECKS: Final = 2  # averages that must be alike


class LossCause:
    """Tells a queue that overflows from a bad radio path.

    Loss of 3 %, plus one and a half times what the link lost recently with short queues, plus one standard
    deviation for chance, is accepted. More than that makes the queue 40 % shorter. If the loss then goes
    away, the modem's queue overflowed. If it stays through three such cuts, the radio path loses packets, and
    the queue is given back.

    Packets that were on their way when the queue was cut are not counted, because they say nothing about the
    shorter queue. Of losses in a row only the first three count: a full queue takes one packet for each that
    leaves, while a bad radio path swallows many together.
    """

    def __init__(self) -> None:
        self.usual = 0.0  # share that is lost with short queues, too
        self.cuts = 0  # of the queue, one after the other
        self.first = 0.0  # share lost when it was first cut
        self.left = 0.0  # of the rate, when it was last cut: what the loss left

    def judge(self, share: float, done: int, rate: float) -> int:
        """Of `done` packets `share` were lost, at `rate`: BORNE, OVERFLOW (make the queue shorter) or AIR
        (give it back)."""
        borne = 1.5 * self.usual + LOSS_BORNE
        if share <= borne + CHANCE * math.sqrt(borne / done):
            self.usual += (share - self.usual) / 8
            self.cuts = 0
            return BORNE
        if not self.cuts:
            self.first = share
        if self.cuts == CUTS and share > 0.6 * self.first:
            self.usual = share
            self.cuts = 0
            return AIR
        self.cuts = min(self.cuts + 1, CUTS)
        self.left = rate * (1.0 - share)
        return OVERFLOW

    def least_rate(self, rate: float, share: float) -> float:
        """What the link delivers at least, by the share that is lost. A queue that overflows keeps round
        trips short; then that share is what the link cannot carry. What else is missing was not sent."""
        return self.left if self.cuts and share > self.usual + 0.02 else rate


class LongerPath:
    """Tells a path that became longer (another cell, another satellite) from a link that became slower.

    Both look the same at first: round trips grow beyond any queue that the link was given, and less is
    delivered. They differ when less is in flight: then the queue of a slower link becomes shorter, and a
    longer path stays as long.

    So the longest round trip is kept, together with what was in flight then. Later, with at least ten packets
    less in flight, a round trip is compared with what a queue of that many bytes would take. It is the path
    if round trips take 1.8 times that, seven in a row alike, or three times that, three in a row alike.
    (While a link fades, hardly two are alike.) The link then gets back the rate of that moment, and may have
    twice as much in flight for two round trips after each that brought growth. The path may become shorter
    again, and a queue would hide that, so the queue is allowed to run empty after 2 s, then after 4 s and 8
    s.
    """

    def __init__(self) -> None:
        self.flight = 0.0  # bytes in flight when ...
        self.rtt = 0.0  # ... a round trip took the longest; the two say what the link carries
        self._last = 0.0
        self._steady = 0  # round trips in a row that were like the one before

    def forget(self) -> None:
        """A round trip was not too long."""
        self.flight, self._steady = 0.0, 0

    def shows(self, rtt: float, flight: float, less: float) -> bool:
        """A round trip was too long, with `flight` bytes in flight before its packet; `less`: so many fewer
        count as less. Whether it is the path."""
        steady = abs(rtt - self._last) <= ALIKE_RTT * rtt
        self._steady = self._steady + 1 if steady else 0
        self._last = rtt
        if not self.flight or flight > self.flight or rtt > (1.0 + ALIKE_RTT) * self.rtt:
            self.flight, self.rtt = flight, rtt
            return False
        if flight >= self.flight - less:
            return False
        queued = self.rtt * flight / self.flight  # s that it would take if it were all a queue
        return (rtt > LONGER_SHARE[0] * queued and self._steady >= LONGER_STEADY[0]) or (
            rtt > LONGER_SHARE[1] * queued and self._steady >= LONGER_STEADY[1]
        )


class Starvation:
    """Finds a link that delivers less because it was given less, and did not become slower.

    On a busy link, less in flight makes the queue shorter and changes nothing in what is delivered. So a link
    is starved if its rate has fallen by a tenth, and by more than 2.5 times its loss, while round trips
    stayed the same (within 8 %, over 12 of them or more). The rate is then given back, and what its round
    trips need is added to what may be in flight. If round trips become longer after that, the link was slower
    after all: the change is undone, and the next try waits twice as long (1 s at first, 30 s at most).
    """

    def __init__(self, now: float) -> None:
        self.rate = 0.0  # at the last average that was not like those before, ...
        self.rtt = 1.0  # ... which was this one
        self.average = 1.0  # the latest
        self.wait = STARVED_EVERY
        self.wrong = False  # what was given back last only filled a queue: the link did become slower
        self._rtts, self._samples = 0.0, 0
        self._checks = 0
        self._at = now - STARVED_EVERY
        self._given = False

    def shows(self, rtts: float, samples: int, rate: float, loss: float, new: bool, now: float) -> bool:
        """A round's `samples` round trips took `rtts` in sum, and it ended with this rate and share lost.
        Whether `self.rate` is to be given back to the link, which must not be `new`. Sets `wrong`, too."""
        self.wrong = False
        self._rtts += rtts
        self._samples += samples
        if self._samples < STEADY_SAMPLES:
            return False
        self.average = self._rtts / self._samples
        self._rtts, self._samples = 0.0, 0
        longer = self.average / self.rtt
        if self._given:
            self._given = False
            if longer < 1.0 + ALIKE_RTT:
                self.wait = STARVED_EVERY
            else:
                self.wrong = True
                self.wait = min(2 * self.wait, STARVED_SELDOM)
        fallen = 1.0 - rate / self.rate if self.rate else 0.0
        if new or fallen <= 0.0 or not 1.0 - ALIKE_RTT < longer < 1.0 + ALIKE_RTT:
            self.rate, self.rtt, self._checks = rate, self.average, 0
            return False
        self._checks += 1
        if now < self._at + self.wait or self._checks < STEADY_CHECKS or fallen <= max(STARVED, 2.5 * loss):
            return False
        self._given = True
        self._at = now
        return True
