"""The bench of bonds: its oracle."""

from __future__ import annotations

import pytest

from tests.bondsim import BONDS, least_loss

FULL = 6.0 * 1316 / 1360  # Mbit/s of payload that a link of 6 Mbit/s carries


@pytest.mark.parametrize(
    ("links", "mbps", "latency", "lost"),
    [
        (["up=6,delay=30"], FULL * 0.99, 1.0, 0.0),
        (["up=6,delay=30"], FULL * 1.25, 0.12, 20.0),
        (["up=6,delay=30", "up=3,delay=30"], FULL * 1.5 * 1.25, 0.12, 20.0),
        (["up=6,delay=30,loss=5,jitter=50,gep=1,ger=20"], FULL * 0.99, 0.12, 0.0),  # not counted
        (["up=6,delay=30,worse=0,up2=3"], FULL, 0.12, 50.0),
        (["up=6,delay=30,off=9,on=11,queue=2"], FULL * 0.9, 0.12, 10.0),  # of 20 s
        (["up=6,delay=30,stall=9,unstall=11"], FULL * 0.9, 0.12, 10.0),
        (["up=6,delay=30,off=9,on=10,every=5,queue=2"], FULL * 0.9, 0.12, 17.7),
        (["up=6,delay=30", "up=6,delay=200"], FULL * 2, 0.1, 50.0),  # the second one is always late
        (["up=6,delay=30", "up=6,delay=130"], FULL * 1.98, 0.12, 0.0),  # ... and just in time
        (["delay=5", "up=1,delay=30"], 100.0, 1.0, 0.0),
    ],
)
def test_no_scheduler_can_lose_less(links: list[str], mbps: float, latency: float, lost: float) -> None:
    assert least_loss(links, mbps, latency=latency) == pytest.approx(lost, abs=1.0)


def test_the_oracle_sends_a_late_link_what_has_time() -> None:
    """One queue for all links would give each chance to the oldest packet, and lose it on the slow link."""
    assert least_loss(["up=3,delay=20", "up=3,delay=130"], FULL * 0.98, latency=0.12) == 0


def test_the_oracle_counts_fading_and_the_streams_shape() -> None:
    assert least_loss(BONDS["fading2"], 4.0) == 0
    assert 11 < least_loss(BONDS["fading2"], 10.0) < 13
    assert least_loss(BONDS["clean3"], 8.8, latency=0.12, shape="keyframes") > 5
