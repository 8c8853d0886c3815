"""Links are filled for a moment with copies, so that it is known what they carry: within bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from netbond.srtla.adaptive.linkmodel import LinkModel
from netbond.srtla.adaptive.parameters import Parameters
from netbond.srtla.adaptive.probing import FOLLOWED_LEAST_S, LATENCY_LEAST_S, SHARE, STALE_S, Prober
from netbond.srtla.modes import make_carrier
from netbond.srtla.schedule import LinkState
from netbond.srtla.sender import Sender
from tests.bondsim import BONDS, Outcome, Simulation

SIZE = 1332
LATENCY = 1.0


class Links:
    """Two links that carry, and a stream of one packet in 10 ms."""

    def __init__(self) -> None:
        self.now = 100.0
        self.prober = Prober()
        self.spent = 0  # bytes of copies
        self.links = [LinkState(number, usable=True) for number in (1, 2)]
        for link in self.links:
            model = link.model = LinkModel(link, Parameters(), 0.07, self.now)
            model.path.seen(0.05, 0.07, self.now, idle=False)
            model.rate.rate = 50_000.0

    def run(
        self, seconds: float, *, waits: bool = False, follows: bool = False, latency: float = LATENCY
    ) -> list[tuple[int, float]]:
        """Time passes; return (link, begin) of each probe."""
        probes: list[tuple[int, float]] = []
        for _ in range(round(seconds / 0.01)):
            self.now += 0.01
            self.prober.earn(SIZE)
            before = self.prober.model
            self.prober.choose(self.links, latency, self.now, waits=waits, follows=follows)
            if self.prober.model is not None:
                if self.prober.model is not before:
                    probes.append((self.prober.model.owner.number, self.now))
                self.prober.spend(SIZE)
                self.spent += SIZE
        return probes


def test_links_take_turns_and_rest_between() -> None:
    probes = Links().run(30.0)
    assert {number for number, _ in probes} == {1, 2}
    for number in (1, 2):
        begins = [at for each, at in probes if each == number]
        assert all(later - at >= STALE_S for at, later in pairwise(begins))


def test_copies_are_a_small_share_of_the_stream() -> None:
    links = Links()
    links.run(60.0)
    assert 0 < links.spent <= SHARE * 6000 * SIZE + SIZE


@pytest.mark.parametrize("why", ["metered", "stalled", "not enabled", "down", "was full a moment ago"])
def test_a_link_is_left_alone(why: str) -> None:
    links = Links()
    link = links.links[0]
    link.metered = why == "metered"
    link.stalled = why == "stalled"
    link.enabled = why != "not enabled"
    link.usable = why != "down"
    link.model.control.queued_at = links.now + 60.0 if why == "was full a moment ago" else -1.0
    assert {number for number, _ in links.run(30.0)} == {2}


def test_nothing_is_probed_while_packets_wait_or_for_a_short_latency() -> None:
    assert Links().run(30.0, waits=True) == []
    assert Links().run(30.0, latency=0.9 * LATENCY_LEAST_S) == []
    assert Links().run(30.0, latency=0.9 * LATENCY_LEAST_S, follows=True)
    assert Links().run(30.0, latency=0.9 * FOLLOWED_LEAST_S, follows=True) == []


def test_a_probe_ends_when_packets_wait() -> None:
    links = Links()
    while links.prober.model is None:
        links.run(0.01)
    links.run(0.01, waits=True)
    assert links.prober.model is None


# --- in a stream --------------------------------------------------------------------------------------------


def stream(*, metered: bool) -> Outcome:
    """A steady stream at half of what the links carry."""
    simulation = Simulation(
        BONDS["clean3"],
        lambda rnd, now: Sender(rnd, make_carrier("adaptive"), now),
        mbps=6.0,
        seconds=40.0,
        hiccup=0.002,
    )
    simulation.specs = [replace(spec, metered=metered) for spec in simulation.specs]
    return simulation.run()


def test_what_links_carry_is_known_at_half_load_and_costs_little() -> None:
    """Without probes no link of a steady stream is ever full, and each would seem to carry what it has."""
    outcome = stream(metered=False)
    assert outcome.lost_pct == 0.0
    assert 0 < outcome.stats["probed"] <= 0.03 * outcome.offered
    told = sum(link["capacity_bits_per_second"] for link in outcome.stats["links"])
    assert told / 1e6 == pytest.approx(13 * 1316 / 1360, rel=0.15)


def test_metered_links_carry_nothing_only_to_be_measured() -> None:
    assert stream(metered=True).stats["probed"] == 0
