"""The advice for an encoder: what the bond carries, taken back at once, and never much more."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.advising import (
    CALM_S,
    EVERY_S,
    FIRST,
    LEAST_IF_LOST,
    LEAST_RATE,
    MOST,
    RISE,
    Advisor,
    BondLook,
)

LATENCY = 1.0
MEGABYTE = 1e6


class Bond:
    """Links of fixed rates, before which packets wait that they do not take; an encoder that follows at once.

    The links show what they carry only while they are full.
    """

    def __init__(self, *rates: float, latency: float = LATENCY) -> None:
        self.advisor = Advisor()
        self.rates = dict(enumerate(rates, 1))
        self.known = dict.fromkeys(self.rates, 0.0)
        self.latency = latency
        self.now = 50.0
        self.waiting = 0.0
        self.offered = 0.0
        self.given_up = 0
        self.follows = True
        self.rate = 0.0

    def run(self, seconds: float) -> float:
        """Time passes; return the advice."""
        for _ in range(round(seconds / EVERY_S)):
            if self.follows:
                self.rate = self.advisor.rate
            self.offered += self.rate * EVERY_S
            carried = sum(self.rates.values())
            self.waiting = max(0.0, self.waiting + (self.rate - carried) * EVERY_S)
            full = self.waiting > 0 or self.rate >= carried
            for number, rate in self.rates.items():
                passed = rate if full else min(rate, self.rate * rate / carried)
                self.known[number] = rate if full else max(self.known.get(number, 0.0), passed)
            known = {number: self.known[number] for number in self.rates}
            self.look(known)
            self.now += EVERY_S
        return self.advisor.rate

    def look(self, known: dict[int, float]) -> None:
        bond = BondLook(self.latency, known, self.waiting, int(self.offered), self.given_up)
        self.advisor.look(bond, self.now)


def test_an_encoder_that_follows_soon_gets_what_the_links_carry() -> None:
    bond = Bond(MEGABYTE, 0.5 * MEGABYTE)
    assert bond.run(EVERY_S) == 2 * FIRST  # nothing is known yet
    assert bond.run(8.0) == pytest.approx(1.5 * MEGABYTE, rel=0.1)
    assert bond.advisor.capacity == pytest.approx(1.5 * MEGABYTE, rel=0.02)
    assert bond.advisor.queued < 0.3 * LATENCY


def test_a_link_that_goes_is_taken_off_at_once() -> None:
    bond = Bond(MEGABYTE, MEGABYTE)
    bond.run(8.0)
    del bond.rates[2]
    assert bond.run(EVERY_S) <= MOST * MEGABYTE


def test_a_link_that_is_back_is_soon_counted_again() -> None:
    bond = Bond(MEGABYTE, MEGABYTE)
    bond.run(8.0)
    del bond.rates[2]
    bond.run(3.0)
    bond.rates[2] = MEGABYTE
    assert bond.run(1.0) > 1.6 * MEGABYTE


def test_what_waits_too_long_is_taken_off() -> None:
    bond = Bond(MEGABYTE)
    bond.run(8.0)
    bond.waiting = 0.4 * MEGABYTE  # 0.3 s more than may wait
    bond.look(bond.known)
    assert bond.advisor.rate <= MOST * MEGABYTE - 0.3 * MEGABYTE / 0.5 + 1


def test_it_is_back_half_a_second_after_a_dip() -> None:
    bond = Bond(MEGABYTE)
    bond.run(8.0)
    bond.waiting = 0.6 * MEGABYTE
    bond.look(bond.known)
    low = bond.advisor.rate
    assert low < 0.3 * MEGABYTE
    bond.waiting = 0.0
    bond.look(bond.known)
    assert bond.advisor.rate == pytest.approx(low + RISE * bond.advisor.capacity)
    bond.waiting = 0.0
    assert bond.run(0.5) > 0.9 * MEGABYTE


def test_a_stream_that_does_not_follow_raises_nothing() -> None:
    """What is not offered shows nothing, so the advice stays at what is known."""
    bond = Bond(MEGABYTE)
    bond.run(8.0)
    bond.follows = False
    bond.rate = 0.2 * MEGABYTE
    bond.rates[1] = 5 * MEGABYTE
    bond.waiting = 0.0
    bond.run(10.0)
    assert bond.advisor.rate <= MOST * MEGABYTE * 1.01


def test_near_losses_make_it_cautious_and_calm_seconds_bold_again() -> None:
    bond = Bond(MEGABYTE)
    bond.run(8.0)
    for _ in range(20):
        bond.waiting = 0.6 * MEGABYTE
        bond.run(CALM_S + 2 * EVERY_S)
    cautious = bond.advisor.caution
    assert cautious < 0.7
    bond.waiting = 0.0
    bond.run(20.0)
    assert bond.advisor.caution == pytest.approx(min(MOST, cautious + 0.2), abs=0.06)


def test_loss_that_no_queue_explains_costs_a_bounded_part() -> None:
    """On links with random loss at a short latency, a lower rate does not help."""
    bond = Bond(MEGABYTE, latency=0.1)
    bond.run(8.0)
    for _ in range(100):
        bond.given_up += 1
        bond.waiting = 0.0
        bond.run(CALM_S + 2 * EVERY_S)
    assert bond.advisor.caution == pytest.approx(LEAST_IF_LOST, abs=0.02)


def test_without_links_it_is_the_least() -> None:
    bond = Bond(MEGABYTE)
    bond.run(8.0)
    bond.rates.clear()
    assert bond.run(1.0) == LEAST_RATE
    assert bond.advisor.capacity == 0.0
