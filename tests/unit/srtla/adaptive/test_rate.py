"""What one sample shows of a link's rate, and how samples become the estimate. Packets are of 1,000 bytes."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.packets import Transmission
from netbond.srtla.adaptive.rate import DeliveryRate

SIZE = 1000
TAU = 0.08


def sent(rate: DeliveryRate, at: float) -> Transmission:
    """Send a packet."""
    transmission = Transmission(SIZE)
    transmission.sent_at = at
    transmission.base = rate.base
    return transmission


def test_a_sample_is_what_passed_since_the_proof_before_the_packet_left() -> None:
    rate = DeliveryRate(100.0)
    last = [sent(rate, 100.0 + 0.01 * number) for number in range(10)][-1]
    rate.delivered += 10 * SIZE
    assert rate.sample(last, 100.2) == pytest.approx((50_000.0, 50_000.0, 0.2))
    rate.proved(100.2)
    last = sent(rate, 100.21)
    rate.delivered += 5 * SIZE
    assert rate.sample(last, 100.3) == pytest.approx((5_000 / 0.12, 5_000 / 0.12, 0.12))


def test_acks_that_come_close_together_show_no_higher_rate_than_the_packets_had() -> None:
    rate = DeliveryRate(100.0)
    rate.proved(100.5)  # the proof of the packet that left at 100.0 was held up
    last = sent(rate, 100.4)
    rate.delivered += 10 * SIZE
    assert rate.sample(last, 100.51) == pytest.approx((25_000.0, 25_000.0, 0.4))


def test_packets_that_arrived_or_were_lost_make_bounds() -> None:
    rate = DeliveryRate(100.0)
    last = sent(rate, 100.0)
    rate.delivered += 10 * SIZE
    rate.doubtful += 20 * SIZE
    assert rate.sample(last, 100.1) == pytest.approx((100_000.0, 300_000.0, 0.1))


def test_packets_that_an_echo_had_proved_do_not_pass_twice() -> None:
    rate = DeliveryRate(100.0)
    rate.doubtful = 5 * SIZE
    rate.proved(100.0)
    last = sent(rate, 100.0)
    rate.doubtful -= 5 * SIZE  # an SRTLA ACK names these, and five others
    rate.delivered += 10 * SIZE
    assert rate.sample(last, 100.1) == pytest.approx((50_000.0, 50_000.0, 0.1))


@pytest.mark.parametrize(("passed", "interval"), [(10 * SIZE, 0.001), (0, 0.1), (-SIZE, 0.1)])
def test_nothing_in_no_time_shows_no_rate(passed: int, interval: float) -> None:
    rate = DeliveryRate(128.0)
    last = sent(rate, 128.0)
    rate.doubtful += passed
    assert rate.sample(last, 128.0 + interval - 1e-9) == (0.0, 0.0, 0.0)


def test_a_packet_whose_sample_has_no_beginning_shows_nothing() -> None:
    rate = DeliveryRate(100.0)
    rate.delivered = 10 * SIZE
    assert Transmission(SIZE).base is None
    assert rate.sample(Transmission(SIZE), 100.1) == (0.0, 0.0, 0.0)


def test_a_pause_is_no_part_of_a_sample() -> None:
    rate = DeliveryRate(100.0)
    rate.began(110.0)
    last = sent(rate, 110.0)
    rate.delivered += 10 * SIZE
    assert rate.sample(last, 110.1) == pytest.approx((100_000.0, 100_000.0, 0.1))
    assert last.base is not None
    assert last.base.at == rate.began_at == 110.0


def known(value: float = 100_000.0) -> DeliveryRate:
    rate = DeliveryRate(100.0)
    rate.rate = value
    return rate


def update(rate: DeliveryRate, least: float, most: float, *, queued: bool, may_fall: bool = True) -> float:
    """Take a sample 16 ms, a fifth of tau, after the one before."""
    rate.update(least, most, rate.sampled_at + 0.016, TAU, queued=queued, may_fall=may_fall)
    return rate.rate


def test_the_first_sample_is_the_rate() -> None:
    assert update(known(0.0), 80_000.0, 90_000.0, queued=False) == 90_000.0


def test_a_link_that_was_not_busy_shows_at_least_what_passed_and_never_less_than_before() -> None:
    assert update(known(), 140_000.0, 140_000.0, queued=False) == 140_000.0
    assert update(known(), 60_000.0, 60_000.0, queued=False, may_fall=False) == 100_000.0


def test_a_busy_link_rises_by_half_and_falls_within_tau() -> None:
    assert update(known(), 140_000.0, 140_000.0, queued=True) == pytest.approx(120_000.0)
    assert update(known(), 60_000.0, 60_000.0, queued=True) == pytest.approx(92_000.0)


@pytest.mark.parametrize(("elapsed", "share"), [(0.001, 0.1), (0.016, 0.2), (10.0, 0.5)])
def test_one_sample_lowers_the_rate_by_a_tenth_to_half_of_the_difference(
    elapsed: float, share: float
) -> None:
    rate = known()
    rate.update(0.0, 0.0, 100.0 + elapsed, TAU, queued=True, may_fall=True)
    assert rate.rate == pytest.approx(100_000.0 * (1.0 - share))


def test_packets_in_doubt_do_not_raise_the_rate_and_keep_it_from_falling() -> None:
    assert update(known(), 60_000.0, 140_000.0, queued=True) == 100_000.0


def test_packets_of_an_outage_do_not_lower_the_rate() -> None:
    assert update(known(), 60_000.0, 60_000.0, queued=True, may_fall=False) == 100_000.0
    assert update(known(), 140_000.0, 140_000.0, queued=True, may_fall=False) == pytest.approx(120_000.0)
