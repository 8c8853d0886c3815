"""When an uplink loses or delays too much: enter above one threshold, leave at another, and do not flap."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from netbond.config.schema import HealthConfig, UplinkConfig
from netbond.health.quality import FIRST_FIGURES, FRESH_S, STREAM, LinkFigures, Measured, Quality

POLICY = HealthConfig(
    degraded_loss=20,
    degraded_rtt=1.0,
    recovery_loss=10,
    recovery_rtt=0.4,
    hold_down=10,
    hold_down_max=60,
    flap_memory=600,
)


def told(of: Quality, values: list[float], start: float = 0.0, *, loss: bool = True) -> str:
    """Figures of one check, a second apart: "D" where it is degraded, "-" where not."""
    seen = ""
    for second, value in enumerate(values):
        measured = Measured("icmp", loss=value) if loss else Measured("icmp", rtt_s=value)
        seen += "D" if of.judge([measured], POLICY, start + second) else "-"
    return seen


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        ([0, 20, 21, 20, 11, 10, 15, 20], "--DDD---"),
        ([10, 20, 10, 20], "----"),
        ([100, 0, 0], "D--"),
    ],
)
def test_loss(percent: list[float], expected: str) -> None:
    assert told(Quality(), [value / 100 for value in percent]) == expected


def test_delay() -> None:
    assert told(Quality(), [0.9, 1.0, 1.1, 0.5, 0.41, 0.4, 1.0], loss=False) == "--DDD--"


def test_it_is_said_what_is_bad() -> None:
    of = Quality()
    bad = Measured("icmp", loss=0.31, rtt_s=2.0)
    assert of.judge([bad, Measured(STREAM)], POLICY, 0) == "icmp: 31% of the last answers missing"
    assert of.judge([replace(bad, loss=0.1)], POLICY, 1) == "icmp: answers take 2 s"
    late = Measured(STREAM, loss=0.25, rtt_s=0.1)
    assert of.judge([Measured("icmp"), late], POLICY, 2) == "stream: 25% of the last packets missing"
    assert of.judge([], POLICY, 3) == ""


def test_what_is_not_known_does_not_count() -> None:
    of = Quality()
    assert of.judge([Measured("icmp", loss=0.5)], POLICY, 0)
    assert of.judge([Measured("icmp")], POLICY, 1) == ""


def test_the_thresholds_of_each_figure_are_its_own() -> None:
    """One that is between both thresholds keeps nobody degraded but who was so by the same figure."""
    of = Quality()
    assert of.judge([Measured("icmp", loss=0.5, rtt_s=0.7)], POLICY, 0)
    assert of.judge([Measured("icmp", loss=0.05, rtt_s=0.7)], POLICY, 1) == ""
    assert of.judge([Measured("tcp", loss=0.15), Measured("icmp", loss=0.15)], POLICY, 2) == ""


def test_never() -> None:
    never = replace(POLICY, degraded_loss=100.0, degraded_rtt=0.0)
    assert Quality().judge([Measured("icmp", loss=1.0, rtt_s=99.0)], never, 0) == ""


def test_half_is_where_it_recovers_if_nothing_is_said() -> None:
    half = replace(POLICY, recovery_loss=None, recovery_rtt=None)
    assert (half.leave_loss, half.leave_rtt) == (10.0, 0.5)
    own = half.of(UplinkConfig("usb*", degraded_loss=4.0, check_quality=True))
    assert (own.leave_loss, own.degraded_loss, own.degraded_rtt, own.check_quality) == (2.0, 4.0, 1.0, True)
    assert half.of(UplinkConfig("usb*")) is half


def test_one_that_comes_and_goes_is_held() -> None:
    of = Quality()
    assert told(of, [0.3, 0.0, 0.0], 0) == "D--"  # the first time has no further effect
    assert told(of, [0.3, *[0.0] * 12], 100) == "D" + "D" * 10 + "--"
    assert told(of, [0.3, *[0.0] * 5, 0.3, *[0.0] * 42], 200) == "D" * 6 + "D" * 41 + "--"  # also meanwhile
    assert of.judge([Measured("icmp", loss=0.3)], POLICY, 300)
    assert of.judge([], POLICY, 301) == "better again, but was degraded 5 times: held for 60 s"
    assert of.held_until == 361
    assert of.judge([], POLICY, 361) == ""
    assert told(of, [0.3, 0.0, 0.0], 1000) == "D--"  # a clean record


def test_flapping_around_a_threshold_changes_nothing_often() -> None:
    """An hour of loss that swings around 20 %, and then one that swings across both thresholds."""
    around, across = Quality(), Quality()
    narrow = told(around, [0.20 + 0.05 * math.sin(second / 3) for second in range(3600)])
    wide = told(across, [0.15 + 0.15 * math.sin(second / 3) for second in range(3600)])
    assert (narrow.count("-D"), narrow.count("D-")) == (1, 0)
    # Held for ever longer, so until an hour's end it is out nearly all the time.
    assert wide.count("D-") <= 3
    assert wide[300:].count("-") == 0


def figures(of: LinkFigures, values: list[float], start: float = 0.0) -> float:
    now = start
    for value in values:
        of.add(value, value, now)
        now += 1
    return now - 1


def test_figures_of_links() -> None:
    of = LinkFigures()
    assert of.measured(0.0) == Measured(STREAM)
    now = figures(of, [0.4] * FIRST_FIGURES)
    assert of.measured(now) == Measured(STREAM)  # the beginning of a stream does not count
    now = figures(of, [0.4], now + 1)
    assert of.measured(now) == Measured(STREAM, 0.4, 0.4)
    now = figures(of, [0.0], now + 1)
    assert of.measured(now).loss == pytest.approx(0.35)  # smoothed
    assert of.measured(now + FRESH_S + 0.1) == Measured(STREAM)
    now = figures(of, [0.9], now + FRESH_S + 1)
    assert of.measured(now) == Measured(STREAM)  # it begins anew
    of.add(None, 0.1, now + 1)
    assert of.loss is None
