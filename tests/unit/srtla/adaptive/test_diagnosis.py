"""Why a link delivers less than it did."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.diagnosis import AIR, BORNE, CUTS, OVERFLOW, LongerPath, LossCause, Starvation


def test_a_little_loss_is_borne() -> None:
    cause = LossCause()
    assert cause.judge(0.02, 100, 1e6) == BORNE
    assert cause.usual == pytest.approx(0.0025)
    assert cause.least_rate(1e6, 0.02) == 1e6


def test_loss_that_goes_with_a_shorter_queue_was_an_overflow() -> None:
    cause = LossCause()
    assert cause.judge(0.2, 100, 1e6) == OVERFLOW
    assert cause.least_rate(1.2e6, 0.2) == pytest.approx(0.8e6), "what the loss left"
    assert cause.least_rate(1.2e6, 0.0) == 1.2e6
    assert cause.judge(0.0, 100, 1e6) == BORNE
    assert cause.cuts == 0


def test_loss_that_stays_through_all_cuts_is_the_airs() -> None:
    cause = LossCause()
    assert [cause.judge(0.2, 100, 1e6) for _ in range(CUTS + 1)] == [*[OVERFLOW] * CUTS, AIR]
    assert cause.judge(0.2, 100, 1e6) == BORNE, "from now on it is the link's own"


def test_round_trips_that_stay_long_with_less_in_flight_show_a_longer_path() -> None:
    path = LongerPath()
    assert not path.shows(0.5, 100_000.0, 10_000.0)
    found = [path.shows(0.5, 40_000.0, 10_000.0) for _ in range(12)]
    assert found[0] is False
    assert found[-1] is True


def test_round_trips_that_become_shorter_with_less_in_flight_show_a_slower_link() -> None:
    path = LongerPath()
    path.shows(0.5, 100_000.0, 10_000.0)
    for flight in (80_000.0, 60_000.0, 40_000.0, 20_000.0):
        for _ in range(8):
            assert not path.shows(0.5 * flight / 100_000.0, flight, 10_000.0)


def test_hardly_less_in_flight_shows_nothing() -> None:
    path = LongerPath()
    path.shows(0.5, 100_000.0, 10_000.0)
    assert not any(path.shows(0.5, 95_000.0, 10_000.0) for _ in range(20))
    path.forget()
    assert path.flight == 0.0


def rounds(starvation: Starvation, count: int, rtt: float, rate: float, now: float) -> list[bool]:
    return [starvation.shows(12 * rtt, 12, rate, 0.0, False, now + 0.3 * number) for number in range(count)]


def test_a_rate_that_falls_while_round_trips_stay_is_starvation() -> None:
    starvation = Starvation(0.0)
    assert not any(rounds(starvation, 10, 0.1, 1e6, 0.0))
    assert any(rounds(starvation, 10, 0.1, 0.7e6, 3.0))
    assert starvation.rate == pytest.approx(1e6)


def test_a_rate_that_falls_while_round_trips_grow_is_a_slower_link() -> None:
    starvation = Starvation(0.0)
    rounds(starvation, 10, 0.1, 1e6, 0.0)
    assert not any(rounds(starvation, 10, 0.2, 0.7e6, 3.0))
