"""What a link carries, and how sure that is."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.capacity import FRESH_S, capacity_of, payload, queue_of, rate_of
from tests.unit.srtla.adaptive.test_linkmodel import SIZE, Link


def test_headers_of_srt_are_no_payload() -> None:
    assert payload(1332.0, 1332) == 8 * 1316


def test_a_link_of_which_nothing_is_known() -> None:
    link = Link()
    found = capacity_of(link.model, rate_of(link.model, link.now), link.now)
    assert (found.certainty, found.bits_per_second, found.age_s) == ("unknown", 0.0, None)


def test_a_link_that_is_full_is_measured_and_then_remembered() -> None:
    link = Link(250_000.0)
    link.run(3.0)
    found = capacity_of(link.model, rate_of(link.model, link.now), link.now)
    assert found.certainty == "measured"
    assert found.bits_per_second == pytest.approx(payload(250_000.0, SIZE), rel=0.1)
    assert found.queued_s > 0.01
    link.run(FRESH_S + 1.0, demand=False)
    link.model.flight.empty(link.now)  # an ACK names ten: an echo proves the last ones
    later = capacity_of(link.model, rate_of(link.model, link.now), link.now)
    assert later.certainty == "remembered"
    assert later.age_s is not None
    assert later.age_s > FRESH_S
    assert later.bits_per_second == pytest.approx(found.bits_per_second, rel=0.1)
    assert later.queued_s == 0.0


def test_a_link_that_was_never_full_carries_at_least_what_it_carried() -> None:
    link = Link(1_250_000.0)
    for _ in range(200):
        link.send()
        link.run(0.02, demand=False)
    found = capacity_of(link.model, rate_of(link.model, link.now), link.now)
    assert found.certainty == "at_least"
    assert payload(50_000.0, SIZE) < found.bits_per_second


def test_a_link_that_stops_carries_less_from_moment_to_moment() -> None:
    """Its proof does not come any more, so the model's rate would stay as it is."""
    link = Link(250_000.0, known=True)
    link.run(2.0)
    rate = link.model.rate.rate
    link.free_at += 60.0
    link.on_the_way.clear()
    assert rate_of(link.model, link.now + 0.3) < 0.7 * rate
    assert rate_of(link.model, link.now + 1.0) < 0.25 * rate


def test_what_the_path_holds_does_not_wait() -> None:
    link = Link(250_000.0, known=True)
    for _ in range(8):
        link.send()
    assert queue_of(link.model, 250_000.0, link.now) == 0.0  # 12.5 kB are on their way
    for _ in range(12):
        link.send()
    assert queue_of(link.model, 250_000.0, link.now) == pytest.approx(20 * SIZE - 12_500, abs=SIZE)


def test_what_is_in_flight_on_a_new_link_does_not_wait() -> None:
    """Its rate is what it was given so far, so its queue would seem long."""
    link = Link(1_250_000.0)
    for _ in range(10):
        link.send()
    assert queue_of(link.model, 10_000.0, link.now) == 0.0
