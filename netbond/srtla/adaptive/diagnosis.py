"""Finds out why a link delivers less than before.

Its queue overflows, its radio path loses packets, its path has become longer, or it was given less. This
module only interprets the measurements; `linkmodel.py` measures and reacts.

Times are in s, rates in bytes/s, `now` is in monotonic s.
"""

from __future__ import annotations

import math
from typing import Final

# loss
BORNE: Final = 0
OVERFLOW: Final = 1
AIR: Final = 2
LOSS_BORNE: Final = 0.03  # share of lost packets that is accepted without a shorter queue
CHANCE: Final = 1.0  # standard deviations above the accepted loss that may be chance
CUTS: Final = 3  # cuts of the queue after which remaining loss is attributed to the radio path

# round trips
ALIKE_RTT: Final = 0.08  # round trips that differ by less than this share count as equal
LONGER_SHARE = (1.8, 3.0)  # times the round trip that a queue with the bytes in flight would cause, ...
LONGER_STEADY = (6, 2)  # ... and how many equal ones in a row: while a link fades, hardly two are equal
STARVED: Final = 0.1  # share by which the rate must fall before starvation is considered
STARVED_EVERY: Final = 1.0  # shortest time between tries to restore a rate, s, ...
STARVED_SELDOM: Final = 30.0  # ... and longest, s
STEADY_SAMPLES: Final = 6  # round trips per average
STEADY_CHECKS: Final = 2  # averages that must be equal


class LossCause:
    """Distinguishes a queue that overflows from a bad radio path.

    Loss of 3 %, plus one and a half times what the link lost recently with short queues, plus one standard
    deviation for chance, is accepted. More than that makes the queue 40 % shorter. If the loss then goes
    away, the modem's queue overflowed. If it stays through three such cuts, the radio path loses packets, and
    the queue gets its old length back.

    Packets that were in flight when the queue was cut are not counted, because they say nothing about the
    shorter queue. Of losses in a row only the first three count: a full queue accepts one packet for each
    that leaves, but a bad radio path loses many together.
    """

    def __init__(self) -> None:
        self.usual = 0.0  # share that is lost even with short queues
        self.cuts = 0  # number of cuts of the queue in a row
        self.first = 0.0  # share lost at the first cut
        self.left = 0.0  # rate without the lost packets, at the last cut

    def judge(self, share: float, done: int, rate: float) -> int:
        """Judge the loss of `share` of `done` packets at `rate`.

        Returns BORNE (accepted), OVERFLOW (make the queue shorter) or AIR (restore its length).
        """
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
        """Return the lowest rate that the lost share allows.

        A queue that overflows keeps round trips short, so the lost share is what the link cannot carry. If
        less was delivered than that explains, less was sent.
        """
        return self.left if self.cuts and share > self.usual + 0.02 else rate


class LongerPath:
    """Distinguishes a path that became longer (another cell or satellite) from a link that became slower.

    Both look the same at first: round trips grow beyond any queue that the link was allowed, and less is
    delivered. They differ when less is in flight: then the queue of a slower link becomes shorter, but a
    longer path keeps its length.

    So the longest round trip is kept, with the bytes in flight at that time. Later, with at least ten packets
    less in flight, a round trip is compared with the time that a queue of so many bytes would take. The path
    is longer if round trips take 1.8 times that time, seven equal ones in a row, or three times that time,
    three equal ones in a row. (While a link fades, hardly two are equal.) The link then gets the rate of that
    time back, and may have twice as much in flight for two round trips after each that brought growth. The
    path may become shorter again, and a queue would hide that. So the queue is allowed to run empty after
    2 s, then after 4 s and 8 s.
    """

    def __init__(self) -> None:
        self.flight = 0.0  # bytes in flight at ...
        self.rtt = 0.0  # ... the longest round trip; flight / rtt is the rate of that time
        self._last = 0.0
        self._steady = 0  # round trips in a row that were equal to the one before

    def forget(self) -> None:
        """Forget the longest round trip: the latest one was not too long."""
        self.flight, self._steady = 0.0, 0

    def shows(self, rtt: float, flight: float, less: float) -> bool:
        """Take a round trip that was too long; return whether the path has become longer.

        `flight` bytes were in flight before its packet. `less` is the difference in bytes from which on less
        is in flight.
        """
        steady = abs(rtt - self._last) <= ALIKE_RTT * rtt
        self._steady = self._steady + 1 if steady else 0
        self._last = rtt
        if not self.flight or flight > self.flight or rtt > (1.0 + ALIKE_RTT) * self.rtt:
            self.flight, self.rtt = flight, rtt
            return False
        if flight >= self.flight - less:
            return False
        queued = self.rtt * flight / self.flight  # s that it would take if all of it were queue
        return (rtt > LONGER_SHARE[0] * queued and self._steady >= LONGER_STEADY[0]) or (
            rtt > LONGER_SHARE[1] * queued and self._steady >= LONGER_STEADY[1]
        )


class Starvation:
    """Finds a link that delivers less because it was given less, and not because it became slower.

    On a busy link, less in flight makes the queue shorter, but does not change the rate. So a link is starved
    if its rate has fallen by a tenth, and by more than 2.5 times its loss, while round trips stayed equal
    (within 8 %, over 12 of them or more). Then the rate is restored, and the limit of bytes in flight is
    raised by what the round trips need. If round trips become longer after that, the link did become slower:
    the change is undone, and the next try waits twice as long (1 s at first, 30 s at most).
    """

    def __init__(self, now: float) -> None:
        self.rate = 0.0  # at the last average that differed from those before, ...
        self.rtt = 1.0  # ... and that average
        self.average = 1.0  # the latest average
        self.wait = STARVED_EVERY
        self.wrong = False  # the last restored rate only filled a queue: the link did become slower
        self._rtts, self._samples = 0.0, 0
        self._checks = 0
        self._at = now - STARVED_EVERY
        self._given = False

    def shows(self, rtts: float, samples: int, rate: float, loss: float, new: bool, now: float) -> bool:
        """Take a round; return whether to restore `self.rate`. Sets `wrong`, too.

        The round's `samples` round trips took `rtts` in sum; it ended with this rate and this share of loss.
        A `new` link is never starved.
        """
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
