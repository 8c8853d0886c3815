"""Advises an encoder: the rate that a bond carries now, so that next to nothing is lost (docs/advice.md).

A function of what the links' models say, looked at each EVERY_S, and of what was advised before:

    advice = caution x sum of the links' capacities - what waits too long, per DRAIN_S

It is taken back at once, and rises by at most a tenth of the capacity a look. While nothing waits and the
encoder follows, it rises though no more is known to be there: what is offered then shows what the links
carry.

Rates are bytes/s of SRT packets, times s, `now` is monotonic s.
"""

from __future__ import annotations

from collections import deque
from typing import Final

EVERY_S: Final = 0.05
SMOOTHED_S: Final = 0.2  # over which a link's rate is averaged
RISE: Final = 0.1  # a look, of the rate or the capacity
FOLLOWED: Final = 0.7  # of the advice that is offered, then the encoder follows it
EXCEEDED: Final = 1.4  # of the advice that is offered, then it goes its own way
FOLLOWING_S: Final = 2.0  # for which it must do neither, to be trusted to follow
FOLLOW_S: Final = 0.5  # in which it may do so
OFFERED_S: Final = 0.3  # over which that is counted; frames differ
DRAIN_S: Final = 0.5  # in which what waits too long shall be gone
ALLOWED: Final = 0.1  # of the latency, that packets may wait
FEW: Final = 8 * 1332  # bytes that may wait at any rate
NEAR: Final = 0.5  # of the latency; packets that wait longer have nearly been lost
MOST: Final = 1.05  # caution, the largest: above 1, because only links that are full show what they carry
BOLD: Final = 1.0  # least caution with which the advice rises beyond what is known
BEYOND: Final = 1.25  # times what is known or offered, the most that it then rises to after the start-up
LEAST: Final = 0.4  # the smallest, ...
LEAST_IF_LOST: Final = 0.7  # ... and if packets are lost though few wait, as on links with loss
LESS: Final = 0.93  # times the caution, when packets have nearly been lost, once in ...
CALM_S: Final = 0.5
MORE: Final = 0.01  # a second while they are not
FIRST: Final = 62_500.0  # bytes/s a link, in start-up
LEAST_RATE: Final = 12_500.0  # bytes/s, the least advice


class BondLook:
    """What the models say at a moment."""

    __slots__ = ("given_up", "latency", "offered", "rates", "waiting")

    def __init__(
        self, latency: float, rates: dict[int, float], waiting: float, offered: int, given_up: int
    ) -> None:
        self.latency = latency  # s, SRT's
        self.rates = rates  # of each link that carries: its number -> bytes/s that it delivers if it is full
        self.waiting = waiting  # bytes that wait, before the links and in them
        self.offered = offered  # bytes that the caller has sent so far
        self.given_up = given_up  # packets so far


class Advisor:
    """The advice for one SRT stream."""

    def __init__(self) -> None:
        self.rate = 0.0  # bytes/s; 0.0: none yet
        self.capacity = 0.0  # bytes/s, of all links that carry
        self.of_link: dict[int, float] = {}  # link's number -> bytes/s
        self.queued = 0.0  # s that the links take for all that waits
        self.caution = MOST
        self._starting = True
        self._less_at = float("-inf")
        self._rose_at = float("-inf")
        self._strayed_at = float("inf")
        self._given_up = 0
        self._offered: deque[tuple[float, int]] = deque()

    def look(self, bond: BondLook, now: float) -> None:
        """Take a look at the bond."""
        self._average(bond.rates)
        allowed = max(ALLOWED * bond.latency * self.capacity, FEW)
        lost = bond.given_up > self._given_up
        self._given_up = bond.given_up
        self.queued = bond.waiting / max(self.capacity, LEAST_RATE)
        offered = self._offered_rate(bond.offered, now)
        if self._strayed_at > now or not FOLLOWED * self.rate < offered < EXCEEDED * self.rate:
            self._strayed_at = now
        if self._starting and (lost or (bond.waiting > allowed and offered > FOLLOWED * self.rate)):
            self._starting = False
        self._learn(self.queued > NEAR * bond.latency, lost, now)
        excess = max(0.0, bond.waiting - ALLOWED * bond.latency * self.capacity)
        rate = self.caution * self.capacity - excess / DRAIN_S
        beyond = float("inf") if self._starting else BEYOND * max(offered, self.capacity)
        if bond.waiting <= allowed and (self._starting or self.caution >= BOLD):
            if offered > FOLLOWED * self.rate:
                rate = max(rate, min((1 + RISE) * self.rate, beyond))
                self._rose_at = now
            elif now - self._rose_at <= FOLLOW_S:
                rate = max(rate, min(self.rate, beyond))
        if self._starting:
            rate = max(rate, FIRST * len(bond.rates))
        most = self.rate + RISE * max(self.rate, self.capacity)
        self.rate = max(min(rate, most) if self.rate else rate, LEAST_RATE)

    def followed(self, now: float) -> bool:
        """Return whether the stream has offered about what was advised for FOLLOWING_S."""
        return now - self._strayed_at >= FOLLOWING_S

    def _average(self, rates: dict[int, float]) -> None:
        """Average the links' rates; one that has just come back counts half until it has shown more."""
        before = self.of_link
        self.of_link = {
            number: average + (rate - average) * EVERY_S / SMOOTHED_S
            for number, rate in rates.items()
            for average in (before.get(number, rate / 2 if before else rate),)
        }
        self.capacity = sum(self.of_link.values())

    def _offered_rate(self, offered: int, now: float) -> float:
        past = self._offered
        past.append((now, offered))
        while len(past) > 2 and past[0][0] < now - OFFERED_S - EVERY_S / 2:
            past.popleft()
        since, before = past[0]
        return (offered - before) / (now - since) if now > since else 0.0

    def _learn(self, near: bool, lost: bool, now: float) -> None:
        """Be more cautious when packets were lost or nearly so, and less with time."""
        if not (near or lost) or self._starting:
            self.caution = min(MOST, self.caution + MORE * EVERY_S)
        elif now - self._less_at > CALM_S:
            least = LEAST if near else min(self.caution, LEAST_IF_LOST)
            self.caution = max(least, LESS * self.caution)
            self._less_at = now
