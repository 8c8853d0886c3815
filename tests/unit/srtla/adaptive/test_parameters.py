"""The numbers of the adaptive mode: few, in use, and consistent with each other."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from netbond import srtla
from netbond.srtla.adaptive.bonding import Bonding
from netbond.srtla.adaptive.parameters import Parameters

P = Parameters()


def test_they_are_values_and_never_change() -> None:
    assert hash(Parameters()) == hash(P)
    assert Parameters() == P
    assert replace(P, target=0.2) != P


def test_each_is_used() -> None:
    source = "".join(
        path.read_text()
        for path in Path(srtla.__path__[0], "adaptive").glob("*.py")  # not where compiled ones lie
        if path.name != "parameters.py"
    )
    names = {each.name for each in fields(Parameters)}
    used = set(re.findall(r"\b(?:p|self\._p|parameters|self\.parameters)\.(\w+)", source))
    assert names - used == set(), "a number without a user: remove it"


@pytest.mark.parametrize(
    "rising",
    [
        ("shortest_latency_s", "latency_s", "longest_latency_s"),
        ("target_least_s", "target_most_s"),
        ("margin", "margin_most"),
        ("probe_every_s", "probe_seldom_s"),
        ("pace", "free_pace", "startup_pace"),
        ("tick_busy_s", "tick_idle_s"),
        ("tick_idle_s", "held_up_s"),
    ],
)
def test_bounds_are_in_order(rising: tuple[str, ...]) -> None:
    values = [getattr(P, name) for name in rising]
    assert values == sorted(values)


def test_start_up_doubles_the_rate_each_round_trip() -> None:
    """BBR's gain of 2/ln(2), above the 1 that keeps the rate (draft-cardwell-iccrg-bbr)."""
    assert P.startup_gain == pytest.approx(2.885, abs=0.05)


@pytest.mark.parametrize(("latency", "target"), [(0.12, 0.04), (1.0, 0.1), (8.0, 0.15)])
def test_the_queue_that_a_link_may_have_is_a_share_of_the_latency_within_bounds(
    latency: float, target: float
) -> None:
    p = replace(P, target=0.1, target_least_s=0.04, target_most_s=0.15)
    assert Bonding(latency, p)._dealer.target == pytest.approx(target)


def test_a_changed_number_reaches_the_mode() -> None:
    assert Bonding(None, replace(P, latency_s=0.5)).latency == 0.5
    assert Bonding(100.0, replace(P, longest_latency_s=4.0)).latency == 4.0
