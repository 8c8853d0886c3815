"""The adaptive mode judged by whole streams in virtual time: what arrives in time, and at what cost."""

from __future__ import annotations

from typing import Any

import pytest

from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondsim import BONDS, Outcome, Simulation, least_loss


def play(bond: str | list[str], mbps: float, *, mode: str = "adaptive", **options: Any) -> Outcome:
    links = BONDS[bond] if isinstance(bond, str) else bond
    simulation = Simulation(
        links, lambda rnd, now: Sender(rnd, make_carrier(mode), now), mbps=mbps, **options
    )
    return simulation.run()


@pytest.mark.parametrize(
    ("bond", "mbps", "latency"),
    [
        ("clean3", 12.4, 1.0),  # of 12.6 that the links carry
        ("skew4", 14.0, 1.0),  # of 14.5
        ("die3", 8.8, 1.0),  # of 9.7 while one link is gone
        ("lossy3", 15.0, 1.0),  # of 17
        ("tiny3", 9.0, 1.0),
        ("clean3", 9.92, 0.3),
        ("skew4", 11.2, 0.3),
        ("die3", 7.04, 0.3),
    ],
)
def test_nearly_the_whole_capacity_arrives_in_time(bond: str, mbps: float, latency: float) -> None:
    assert play(bond, mbps, latency=latency).lost_pct <= 0.1


@pytest.mark.parametrize(("bond", "mbps"), [("clean3", 12.0), ("lossy3", 14.0)])
@pytest.mark.parametrize("receiver", [{"flush": True}, {"nak_everywhere": True}, {"hiccup": 0.005}])
def test_any_receiver_will_do(bond: str, mbps: float, receiver: dict[str, Any]) -> None:
    outcome = play(bond, mbps, seconds=10.0, **receiver)
    assert outcome.lost_pct <= 0.1
    assert outcome.overhead < 1.05


@pytest.mark.parametrize(("bond", "mbps"), [("clean3", 6.0), ("skew4", 7.0), ("die3", 4.8), ("fading2", 4.0)])
def test_at_half_load_hardly_anything_is_sent_twice(bond: str, mbps: float) -> None:
    outcome = play(bond, mbps)
    assert outcome.lost_pct <= 0.1
    assert outcome.overhead <= 1.05


def test_the_caller_repeats_nothing_that_is_only_late() -> None:
    assert play("skew4", 12.0, mode="classic", seconds=10.0).caller_again > 1000
    assert play("skew4", 12.0, seconds=10.0).caller_again == 0


@pytest.mark.parametrize(("bond", "mbps"), [("fading2", 10.0), ("clean3", 14.0), ("die3", 11.0)])
def test_too_much_is_offered_and_what_the_links_carry_arrives(bond: str, mbps: float) -> None:
    adaptive, classic = play(bond, mbps), play(bond, mbps, mode="classic")
    assert adaptive.lost_pct < classic.lost_pct
    assert adaptive.overhead < 1.1


@pytest.mark.parametrize(("mbps", "points"), [(4.0, 0.1), (6.0, 1.5), (8.0, 3.0), (10.0, 3.0)])
def test_fading_links_bring_nearly_what_can_be_brought(mbps: float, points: float) -> None:
    assert play("fading2", mbps).lost_pct <= least_loss(BONDS["fading2"], mbps) + points


def test_acks_that_are_lost_on_their_way_back_harm_little() -> None:
    links = [link + ",downloss=5" for link in BONDS["clean3"]]
    outcome = play(links, 11.0)
    assert outcome.lost_pct <= 0.1
    assert outcome.overhead < 1.05


def test_a_small_latency_is_kept_to_without_being_told() -> None:
    outcome = play("clean3", 6.0, latency=0.3, tell_latency=False)
    assert outcome.lost_pct <= 0.1


def test_the_same_run_gives_the_same_result() -> None:
    assert play("skew4", 13.0, seconds=3.0) == play("skew4", 13.0, seconds=3.0)
