"""How a link's packets are spread over time. A step, the time for one packet, is 1/1024 s here."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.pacer import PACE_LEAST, Pacer
from netbond.srtla.adaptive.parameters import Parameters

SIZE = 1024
PACE = 1024.0 * SIZE
STEP = 1 / 1024


def at_once(pacer: Pacer, now: float) -> int:
    """Send all packets that may leave now, and return how many these are."""
    count = 0
    while pacer.next_at <= now:
        pacer.sent(SIZE, PACE, now)
        count += 1
    return count


def test_packets_leave_at_the_pace() -> None:
    pacer = Pacer(Parameters(), 100.0)
    for number in range(1, 4):
        pacer.sent(SIZE, PACE, 100.0)
        assert pacer.next_at == 100.0 + number * STEP


def test_a_larger_packet_takes_longer() -> None:
    pacer = Pacer(Parameters(), 100.0)
    pacer.sent(2 * SIZE, PACE, 100.0)
    assert pacer.next_at == 100.0 + 2 * STEP


def test_after_a_pause_a_few_packets_leave_at_once_and_not_all_that_would_have_fitted() -> None:
    pacer = Pacer(Parameters(burst_packets=8), 100.0)
    pacer.sent(SIZE, PACE, 100.0)
    assert at_once(pacer, 101.0) == 9, "the one that is due, and a burst"
    assert pacer.next_at == 101.0 + STEP
    assert at_once(pacer, 101.0 + 2 * STEP) == 2


def test_a_busy_machine_catches_up_with_what_waited_only_for_it() -> None:
    pacer = Pacer(Parameters(burst_packets=8), 100.0)
    pacer.slack = 32 * STEP
    assert at_once(pacer, 101.0) == 33


def test_a_link_whose_rate_is_unknown_or_tiny_still_sends() -> None:
    pacer = Pacer(Parameters(), 100.0)
    pacer.sent(SIZE, 0.0, 100.0)
    assert pacer.next_at == pytest.approx(100.0 + SIZE / PACE_LEAST)
