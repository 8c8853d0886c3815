"""An encoder that follows our advice, over simulated links: what it brings, and what it must not cost."""

from __future__ import annotations

import pytest

from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondsim import BONDS, Outcome, Simulation


def stream(
    links: list[str], *, latency: float = 1.0, most: float = 30.0, seconds: float = 30.0
) -> Simulation:
    return Simulation(
        links,
        lambda rnd, now: Sender(rnd, make_carrier("adaptive"), now),
        mbps=most,
        seconds=seconds,
        latency=latency,
        hiccup=0.002,
        follows=True,
    )


def follow(links: list[str], *, latency: float = 1.0) -> Outcome:
    return stream(links, latency=latency).run()


@pytest.mark.parametrize(
    ("name", "least"),
    [("clean3", 11.0), ("skew4", 12.5), ("die3", 12.0), ("fading2", 6.0), ("lossy3", 13.0)],
)
def test_it_gets_most_of_what_the_links_carry_and_loses_next_to_nothing(name: str, least: float) -> None:
    """In 30 s, of which some pass until the links are known."""
    outcome = follow(BONDS[name])
    assert outcome.lost_pct <= 0.1
    assert outcome.mbps >= least


def test_it_does_not_fill_links_whose_latency_is_short() -> None:
    outcome = follow(BONDS["clean3"], latency=0.3)
    assert outcome.lost_pct <= 0.1
    assert outcome.mbps >= 8.0


def test_an_encoder_that_wants_less_gets_what_it_wants() -> None:
    simulation = stream(BONDS["clean3"], most=4.0)
    outcome = simulation.run()
    assert outcome.lost_pct == 0.0
    assert outcome.mbps >= 3.6
    _, advised, _ = simulation.advised[-1]
    assert advised is not None
    assert advised >= 4.0
    assert outcome.stats["advised_bits_per_second"] is None  # the stream is over


def test_what_the_links_carry_is_told() -> None:
    stats = follow(BONDS["clean3"]).stats
    told = [link["capacity_bits_per_second"] / 1e6 for link in stats["links"]]
    true = [mbps * 1316 / 1360 for mbps in (6, 4, 3)]
    assert told == pytest.approx(true, rel=0.15)
    assert {link["capacity_is"] for link in stats["links"]} <= {"measured", "remembered"}


def test_classic_gives_no_advice() -> None:
    simulation = Simulation(
        BONDS["clean3"],
        lambda rnd, now: Sender(rnd, make_carrier("classic"), now),
        mbps=4.0,
        seconds=3.0,
        follows=True,
    )
    outcome = simulation.run()
    assert outcome.stats["advised_bits_per_second"] is None
    assert outcome.mbps == pytest.approx(1.0, rel=0.1)
