"""Whether a caller holds packets back, and how advice then rises."""

from __future__ import annotations

import pytest

from netbond.srtla.callerpacing import JUMP, RISE, CallerPacing


def stamped(made: float, came: float, start: float = 0.0) -> tuple[bytes, float]:
    """A data packet that its encoder made at `made`; the connection began at `start`."""
    stamp = int((made - start) * 1e6) & 0xFFFFFFFF
    return bytes(8) + stamp.to_bytes(4, "big") + bytes(4), came


def paced() -> CallerPacing:
    pacing = CallerPacing()
    pacing.look([stamped(10.0, 10.01), stamped(11.0, 11.3)])
    assert pacing.paces
    return pacing


def test_a_caller_that_sends_at_once_does_not_pace() -> None:
    pacing = CallerPacing()
    pacing.look(stamped(now / 10, now / 10 + (0.2 if now % 7 == 0 else 0.01)) for now in range(600))
    assert not pacing.paces
    assert [pacing.held(rate, now) for now, rate in enumerate((9e6, 1e6, 9e6))] == [9e6, 1e6, 9e6]


def test_one_whose_packets_wait_paces_for_good() -> None:
    pacing = paced()
    pacing.look([stamped(50.0, 50.01)])
    assert pacing.paces


def test_stamps_begin_anew_after_71_minutes() -> None:
    pacing = CallerPacing()
    wrap = 2**32 / 1e6
    pacing.look([stamped(wrap - 0.1, wrap - 0.09), stamped(wrap + 0.1, wrap + 0.11)])
    assert not pacing.paces
    pacing.look([stamped(wrap + 0.2, wrap + 0.6)])
    assert pacing.paces


def test_another_connection_has_another_clock() -> None:
    pacing = paced()
    pacing.look([stamped(60.0, 60.01, start=59.0)])
    assert not pacing.paces


def test_clocks_that_drift_are_no_queue() -> None:
    pacing = CallerPacing()
    pacing.look(stamped(now * 0.999, now) for now in range(3600))
    assert not pacing.paces


def test_the_start_of_a_stream_is_free() -> None:
    pacing = paced()
    assert [pacing.held(rate, now) for now, rate in enumerate((1e6, 4e6, 16e6, 14e6))] == [
        1e6,
        4e6,
        16e6,
        14e6,
    ]


def test_after_a_dip_it_comes_back_to_half_at_once_and_then_by_a_fifth_a_second() -> None:
    pacing = paced()
    for step in range(26):
        pacing.held(8e6, step / 5)
    assert pacing.held(1e6, 5.2) == 1e6
    back = pacing.held(8e6, 5.4)
    assert back == pytest.approx(JUMP * 8e6, rel=0.05)
    assert pacing.held(8e6, 6.4) == pytest.approx(RISE * back)
    for step in range(40):
        last = pacing.held(8e6, 6.6 + step / 5)
    assert last == 8e6
    assert pacing.held(7e6, 15.0) == 7e6
