"""The links of simulated bonds: what becomes of datagrams on those that are unlike a plain queue."""

from __future__ import annotations

import random

import pytest

from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondlinks import parse_link
from tests.bondsim import Outcome, Simulation, least_loss


def play(links: list[str], mbps: float, *, seconds: float = 10.0, receiver: str = "belabox") -> Outcome:
    simulation = Simulation(
        [f"{link},down=20" for link in links],
        lambda rnd, now: Sender(rnd, make_carrier("adaptive"), now),
        mbps=mbps,
        seconds=seconds,
        receiver=receiver,
    )
    return simulation.run()


def arrivals(spec: str) -> list[float]:
    up, _ = parse_link(spec)
    rng = random.Random(1)
    came = [up.carry(1000, step / 100, rng) for step in range(100)]
    return [at for at in came if at is not None]


def test_jitter_keeps_the_order_unless_the_link_is_unordered() -> None:
    in_order = arrivals("up=6,delay=20,jitter=50")
    assert in_order == sorted(in_order)
    mixed = arrivals("up=6,delay=20,jitter=50,unordered=1")
    assert mixed != sorted(mixed)
    assert len(mixed) == 100


def test_a_link_swallows_datagrams_above_a_size() -> None:
    up, _ = parse_link("up=6,delay=20,largest=1300")
    rng = random.Random(1)
    assert up.carry(1272, 0.0, rng) is not None
    assert up.carry(1273, 0.0, rng) is None
    assert (up.carried, up.lost) == (1, 1)


def test_a_key_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown key 'swallow' in 'up=6,swallow=3'"):
        parse_link("up=6,swallow=3")


def test_links_behind_one_bottleneck_carry_no_more_than_it() -> None:
    alone, together = ["up=6,delay=20"] * 2, ["up=6,delay=20,shared=6"] * 2
    assert least_loss(alone, 8.0, latency=0.3) == 0
    assert least_loss(together, 8.0, latency=0.3) == pytest.approx(26, abs=2)
    assert least_loss([*together, "up=4,delay=20"], 8.0, latency=0.3) == 0
    assert play(alone, 8.0).lost_pct <= 0.1
    assert play(together, 8.0).lost_pct >= 16
    assert play(together, 5.0).lost_pct <= 0.1


@pytest.mark.parametrize("receiver", ["belabox", "netbond"])
def test_a_rebound_link_costs_nothing(receiver: str) -> None:
    """It must register again. One receiver says so, the other says nothing to strangers."""
    links = ["up=6,delay=20,rebind=10", "up=3,delay=30"]
    assert play(links, 7.0, receiver=receiver).lost_pct <= 0.1


def test_a_swinging_link_counts_with_its_mean() -> None:
    assert least_loss(["up=3,delay=20,worse=0,better=1,again=2,up2=0.1"], 1.49) <= 1.0
    assert least_loss(["up=3,delay=20,worse=0,better=1,again=2,up2=0.1"], 2.0) >= 20.0
