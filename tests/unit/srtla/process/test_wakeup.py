"""The figures of coalescing fit together."""

from __future__ import annotations

from netbond.srtla.process.batch import PER_WAKE_UP
from netbond.srtla.process.wakeup import CALM_S, ENOUGH_PACKETS, PAUSE_S, WORTH_PACKETS
from netbond.srtla.receiver.receiver import FLUSH_AFTER_S


def test_a_pause_is_short_beside_the_time_that_an_ack_may_take() -> None:
    assert PAUSE_S < CALM_S
    assert CALM_S * 3 <= FLUSH_AFTER_S


def test_what_a_pause_waits_for_can_be_read_at_once() -> None:
    assert 1 < WORTH_PACKETS < ENOUGH_PACKETS < PER_WAKE_UP
