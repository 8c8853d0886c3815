"""The streams of simulated bonds: SRT's FEC, a server that reports no loss, and an encoder that adapts."""

from __future__ import annotations

from statistics import fmean

import pytest

from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondencoder import GATHERING, LEAST, LOOK, Encoder
from tests.bondsim import Outcome, Simulation

LOSSY = ["up=10,down=20,delay=20,loss=1"]


def play(links: list[str], mbps: float, **stream: bool | int) -> Outcome:
    """Over a receiver without SRTLA ACKs, and classic: the sender repeats nothing by itself."""
    simulation = Simulation(
        links,
        lambda rnd, now: Sender(rnd, make_carrier("classic"), now),
        mbps=mbps,
        seconds=10.0,
        receiver="go-srtla",
        **stream,  # type: ignore[arg-type]  # by name
    )
    return simulation.run()


def test_a_server_that_reports_no_loss_lacks_what_was_lost() -> None:
    assert 0.6 < play(LOSSY, 4.0, arq=False).lost_pct < 1.4
    assert play(LOSSY, 4.0).lost_pct == 0


def test_fec_restores_a_packet_of_each_row_and_costs_one() -> None:
    """Of a row of ten and its FEC packet two are lost in some 0.5 % of the rows."""
    outcomes = [play(LOSSY, 4.0, fec=10, arq=False, seed=seed) for seed in (1, 2, 3)]
    assert fmean(outcome.lost_pct for outcome in outcomes) < 0.25
    assert 1.09 < fmean(outcome.overhead for outcome in outcomes) < 1.13


def test_fec_repairs_nothing_where_nothing_is_lost() -> None:
    outcome = play(["up=10,down=20,delay=20"], 4.0, fec=10, arq=False)
    assert outcome.delivered == outcome.offered


def test_an_encoder_that_adapts_finds_most_of_what_the_links_carry() -> None:
    outcome = play(["up=10,down=20,delay=20"], 12.0, adapts=True)
    assert outcome.lost_pct <= 0.1
    assert 5.0 < outcome.mbps < 10.0


def looks(encoder: Encoder, seconds: float, rtt: float, waiting: int = 5, start: float = GATHERING) -> float:
    for step in range(round(seconds / LOOK)):
        encoder.look(start + step * LOOK, rtt, waiting)
    return encoder.mbps


def test_the_encoder_rises_by_a_thirtieth_each_half_second() -> None:
    encoder = Encoder(12.0, 1.0, 0.05)
    assert encoder.mbps == 6.0
    assert looks(encoder, 0.98, 0.05) == pytest.approx(6.23 + 0.03 + 6.23 / 30)
    assert looks(encoder, 100.0, 0.05) == 12.0


def test_the_encoder_falls_by_a_tenth_if_the_round_trip_passes_a_fifth_of_the_latency() -> None:
    encoder = Encoder(12.0, 1.0, 0.21)
    assert looks(encoder, 0.2, 0.21) == pytest.approx(6.0 - 0.6 - 0.1)


def test_the_encoder_falls_to_the_least_if_srt_waits_for_too_much() -> None:
    assert looks(Encoder(12.0, 1.0, 0.05), LOOK, 0.34) == LEAST
    encoder = Encoder(12.0, 1.0, 0.05)
    before = looks(encoder, 5.0, 0.05)
    for waiting in range(5, 505, 5):
        looks(encoder, LOOK, 0.05, waiting, start=6.0 + waiting / 250)
    assert encoder.mbps == LEAST < before
