"""Links of unlike priority, and links that are only to be kept ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from netbond.config.schema import MODES
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondsim import Outcome, Simulation
from tests.srtla_util import FakeLink, Network

PAIR = ["up=10,delay=20,queue=200", "up=10,delay=20,queue=200"]


def play(
    links: list[str], mbps: float, *, mode: str, ranks: Sequence[int], enabled: Sequence[bool] = ()
) -> Outcome:
    """A stream of 10 s over links of these priorities."""

    simulation = Simulation(
        links, lambda rnd, now: Sender(rnd, make_carrier(mode), now), mbps=mbps, seconds=10.0
    )
    simulation.specs = [
        replace(spec, priority=rank, enabled=on)
        for spec, rank, on in zip(simulation.specs, ranks, enabled or [True] * len(links), strict=True)
    ]
    return simulation.run()


def shares(outcome: Outcome) -> list[int]:
    return [carried for carried, _, _ in outcome.links]


@pytest.mark.parametrize("mode", MODES)
def test_the_higher_priority_carries_what_it_has_room_for(mode: str) -> None:
    equal = shares(play(PAIR, 5.0, mode=mode, ranks=[0, 0]))
    assert min(equal) > 0.3 * sum(equal)
    for ranks in ([1, 0], [0, 1], [50, 3]):
        outcome = play(PAIR, 5.0, mode=mode, ranks=ranks)
        share = shares(outcome)
        lower = share[ranks.index(min(ranks))]
        assert lower < 0.1 * sum(share), share  # its keepalives, and little else
        assert outcome.lost_pct <= 0.1


def test_the_lower_priority_carries_the_rest() -> None:
    outcome = play(PAIR, 14.0, mode="adaptive", ranks=[0, 5])
    low, high = shares(outcome)
    assert outcome.lost_pct <= 0.1
    assert 1.5 * low < high
    assert low > 0.2 * (low + high)


def test_the_lower_priority_takes_over_when_the_higher_one_dies() -> None:
    outcome = play(["up=10,delay=20,queue=200,off=6,on=12", PAIR[1]], 5.0, mode="adaptive", ranks=[5, 0])
    high, low = shares(outcome)
    assert outcome.lost_pct <= 0.1
    assert low > 0.3 * (low + high)


@pytest.mark.parametrize("mode", MODES)
def test_an_idle_link_is_up_and_carries_nothing(mode: str) -> None:
    network = Network([FakeLink(0.01), FakeLink(0.01)], mode=mode)
    specs = [LinkSpec("usb1", "10.0.1.10"), LinkSpec("usb2", "10.0.2.10", enabled=False)]
    network.sender.set_links(specs, network.now)
    network.run(2.0)
    network.stream(1, 500)
    network.run(1.0)
    carried = [link.carried for link in network.links.values()]
    assert carried == [500, 0]
    idle = network.sender.stats(network.now)["links"][1]
    assert (idle["state"], idle["enabled"], idle["reason"]) == ("up", False, "idle: carries no stream")
    assert idle["silent_ms"] < 1500, "it is asked like the others"
    assert idle["rtt_ms"] == 20
    network.sender.set_links(
        [specs[0], replace(specs[1], enabled=True)], network.now
    )  # no registration needed
    network.stream(501, 1000)
    assert network.links[2].carried > 20


@pytest.mark.parametrize("mode", MODES)
def test_only_idle_links_carry_nothing_and_nothing_breaks(mode: str) -> None:
    network = Network([FakeLink(0.01)], mode=mode)
    network.sender.set_links([LinkSpec("usb1", "10.0.1.10", enabled=False)], network.now)
    network.run(2.0)
    network.stream(1, 100)
    network.run(3.0)
    assert network.links[1].carried == 0
    assert network.sender.state() == "connected"
