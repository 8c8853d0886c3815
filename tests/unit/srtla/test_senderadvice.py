"""When advice is given out, and what it says."""

from __future__ import annotations

import math

import pytest

from netbond.srtla.adaptive.capacity import payload
from netbond.srtla.adaptive.linkmodel import TYPICAL
from netbond.srtla.advice import Advice
from netbond.srtla.senderevents import Advised
from tests.unit.srtla.adaptive.driven import Driven as AdaptiveDriven


class Advising(AdaptiveDriven):
    """A sender in adaptive mode with advice of our choice, and a stream that has just begun."""

    def __init__(self) -> None:
        super().__init__()
        self.carrier._advise_at = math.inf  # it learns nothing
        self.advisor = self.carrier._advisor

    def tell(self, advised: float, capacity: float, queued: float) -> None:
        """Set the advice, in bit/s of payload."""
        advisor, one = self.advisor, payload(1.0, TYPICAL)
        advisor.rate, advisor.capacity, advisor.queued = advised / one, capacity / one, queued

    def advised(self) -> list[Advice]:
        return [event.advice for event in self.sender.events() if isinstance(event, Advised)]

    def streams(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):
            self.carrier._offered_at = self.now
            self.now += 0.01
            self.sender.handle_timer(self.now)


def test_advice_is_given_out_five_times_a_second_and_at_once_when_it_falls() -> None:
    driven = Advising()
    driven.streams(0.5)
    assert driven.advised() == []
    assert driven.sender.advice is None
    driven.tell(2.5e6, 3e6, 0.1)
    driven.streams(1.0)
    told = driven.advised()
    assert len(told) == pytest.approx(5, abs=1)
    assert told[0].advised_bits_per_second == pytest.approx(2.5e6, abs=1)
    assert told[0].capacity_bits_per_second == pytest.approx(3e6, abs=1)
    assert (told[0].queued_ms, told[0].latency_ms, len(told[0].links)) == (100, 1000, 2)
    while not driven.advised():
        driven.streams(0.01)
    driven.tell(2.3e6, 3e6, 0.1)  # 8 % less
    driven.streams(0.01)
    assert driven.advised() == []
    driven.tell(2.2e6, 3e6, 0.1)
    driven.streams(0.01)
    assert len(driven.advised()) == 1


def test_there_is_no_advice_without_a_stream() -> None:
    driven = Advising()
    driven.tell(2.5e6, 3e6, 0.1)
    driven.streams(0.5)
    assert driven.sender.stats(driven.now)["advised_bits_per_second"] is not None
    driven.now += 3.0
    driven.sender.handle_timer(driven.now)
    assert driven.sender.stats(driven.now)["advised_bits_per_second"] is None


def test_statistics_have_what_was_advised_last() -> None:
    driven = Advising()
    driven.tell(2.5e6, 3e6, 0.1)
    driven.advisor.of_link = {1: 250_000.0}
    driven.streams(0.5)
    stats = driven.sender.stats(driven.now)
    assert stats["advised_bits_per_second"] == pytest.approx(2.5e6, abs=1)
    assert stats["capacity_bits_per_second"] == pytest.approx(3e6, abs=1)
    told = [(link["capacity_bits_per_second"], link["capacity_is"]) for link in stats["links"]]
    assert told == [(round(payload(250_000.0, TYPICAL)), "at_least"), (None, "unknown")]
