"""What round trips tell of a path. Values by hand."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.adaptive.path import LONGER_WINDOW, RTT_DEFAULT, USUAL_WINDOW, Path

TARGET = 0.1
WINDOW = 10.0


def measured(*samples: float, at: float = 100.0, idle: bool = False) -> Path:
    """A path with these round trips, all at the same time."""
    path = Path(Parameters(shortest_window_s=WINDOW))
    for sample in samples:
        path.seen(sample, TARGET, at, idle=idle)
    return path


def test_a_path_that_was_never_measured_has_a_guess() -> None:
    path = measured()
    assert (path.shortest, path.smoothed, path.usual(), path.known) == (RTT_DEFAULT, RTT_DEFAULT, 1e3, False)
    assert path.back() == RTT_DEFAULT / 2


def test_the_first_round_trip_replaces_the_guess_also_if_it_is_longer() -> None:
    path = measured(0.3)
    assert (path.shortest, path.smoothed, path.standing, path.usual()) == (0.3, 0.3, 0.3, 0.3)
    assert path.known
    assert path.back() == 0.15


def test_round_trips_are_smoothed() -> None:
    path = measured(0.1, 0.18)
    assert path.smoothed == pytest.approx(0.11)
    path.seen(0.11, TARGET, 100.0, idle=False)
    assert path.smoothed == pytest.approx(0.11)


def test_a_standing_queue_is_in_all_of_three_round_trips() -> None:
    path = measured(0.1)
    standing = []
    for sample in (0.3, 0.2, 0.25, 0.3, 0.1):
        path.seen(sample, TARGET, 100.0, idle=False)
        standing.append(path.standing)
    assert standing == [0.1, 0.1, 0.2, 0.2, 0.1]


def test_a_shorter_round_trip_counts_at_once_and_a_longer_one_does_not() -> None:
    path = measured(0.1, 0.08, 0.5)
    assert path.shortest == path.shortest_ever == 0.08
    assert path.back() == 0.04


def test_the_way_back_is_never_longer_than_the_shortest_round_trip_ever_showed() -> None:
    path = measured(0.1)
    path.shortest = 0.2  # a queue that was there all the time
    assert path.back() == 0.05


@pytest.mark.parametrize(("sample", "spread"), [(0.14, 0.01), (10.0, 0.02), (0.1, 0.0)])
def test_the_paths_own_jitter_is_learnt_while_the_link_is_idle(sample: float, spread: float) -> None:
    """A quarter of the excess, which is limited to half of the shortest round trip and 30 ms."""
    path = measured(0.1)
    path.seen(sample, TARGET, 100.0, idle=False)
    assert path.spread == 0.0
    path.seen(sample, TARGET, 100.0, idle=True)
    assert path.spread == pytest.approx(spread)


def test_jitter_that_went_is_forgotten() -> None:
    path = measured(0.1, *[0.14, 0.1] * 20, *[0.1] * 20, idle=True)
    assert path.spread < 0.001


def test_the_usual_round_trip_is_the_lowest_smoothed_one_of_some_seconds() -> None:
    path = measured(0.1)
    for _ in range(50):
        path.seen(0.3, TARGET, 101.0, idle=False)
    assert path.usual() == pytest.approx(0.1)
    path.seen(0.3, TARGET, 100.0 + USUAL_WINDOW, idle=False)
    assert path.usual() == pytest.approx(0.1), "the window before"
    path.seen(0.3, TARGET, 100.0 + 2 * USUAL_WINDOW, idle=False)
    assert path.usual() == pytest.approx(0.3, abs=0.001)


def test_a_shortest_round_trip_that_was_not_seen_for_long_is_measured_anew_with_an_empty_queue() -> None:
    path = measured(0.1)
    path.seen(0.2, TARGET, 100.0 + WINDOW, idle=False)
    assert path.drain_until == 0.0
    path.seen(0.2, TARGET, 110.5, idle=False)
    assert path.drain_until == pytest.approx(110.7)
    path.seen(0.14, TARGET, 110.65, idle=False)
    path.seen(0.15, TARGET, 110.79, idle=False)
    assert path.shortest == 0.1, "packets that left before the queue was empty are still on the way"
    path.seen(0.16, TARGET, 110.85, idle=False)
    assert (path.shortest, path.drain_until) == (0.14, 0.0)
    path.seen(0.2, TARGET, 110.85 + WINDOW, idle=False)
    assert path.drain_until == 0.0, "it was just measured"


@pytest.mark.parametrize("short", [0.101, 0.1, 0.08])
def test_each_drain_is_a_drain(short: float) -> None:
    """A short round trip ends one early. The next one begins anew, and does not end when the first would."""
    path = measured(0.1)
    path.seen(0.2, TARGET, 110.5, idle=False)
    assert path.drain_until > 110.5
    path.seen(short, TARGET, 110.65, idle=False)
    for number in range(1, 103):
        path.seen(0.2, TARGET, 110.65 + number * 0.1, idle=False)
    assert path.shortest == min(0.1, short)
    assert path.drain_until > 120.0


def test_a_fading_link_is_not_taken_for_a_much_longer_path() -> None:
    path = measured(0.1)
    path.seen(0.9, TARGET, 111.0, idle=False)
    path.seen(0.9, TARGET, 112.0, idle=False)
    assert path.shortest == pytest.approx(0.16)


@pytest.mark.parametrize(("sample", "drains"), [(0.106, False), (0.108, True)])
def test_a_round_trip_that_is_nearly_as_short_confirms_the_shortest(sample: float, drains: bool) -> None:
    path = measured(0.1)
    path.seen(sample, TARGET, 105.0, idle=False)
    path.seen(0.2, TARGET, 112.0, idle=False)
    assert (path.drain_until > 0.0) is drains
    assert path.shortest == 0.1


def test_a_path_that_became_longer_is_measured_again_soon_and_then_less_and_less_often() -> None:
    path = measured(0.1)
    path.seen(0.4, TARGET, 111.0, idle=False)
    assert path.drain_until > 0.0
    path.became_longer(0.4, 111.0)
    assert (path.shortest, path.back(), path.drain_until) == (0.4, 0.2, 0.0)
    now, windows = 111.0, [path.window]
    for _ in range(4):
        now += path.window + 0.1
        path.seen(0.5, TARGET, now, idle=False)
        assert path.drain_until > now
        now += 1.0
        path.seen(0.44, TARGET, now, idle=False)
        path.shortest = 0.4
        windows.append(path.window)
    assert windows == [LONGER_WINDOW, 4.0, 8.0, WINDOW, WINDOW]


def test_a_path_that_became_shorter_again_may_do_so_once_more() -> None:
    path = measured(0.1)
    path.became_longer(0.4, 100.0)
    path.window = 8.0
    path.seen(0.37, TARGET, 100.1, idle=False)
    assert (path.window, path.shortest) == (8.0, 0.37)
    path.seen(0.3, TARGET, 100.2, idle=False)
    assert (path.window, path.shortest) == (LONGER_WINDOW, 0.3)


def test_a_path_that_only_became_shorter_keeps_its_window() -> None:
    assert measured(0.1, 0.05).window == WINDOW


def test_lateness_is_a_mean_of_what_is_limited() -> None:
    path = measured(0.1)
    path.was_late(0.08, most=0.3)
    assert path.late == pytest.approx(0.01)
    path.was_late(30.0, most=0.25)
    assert path.late == pytest.approx(0.04)
    path.was_late(-5.0, most=0.25)
    assert path.late == pytest.approx(0.035)
