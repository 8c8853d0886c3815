"""Counting a stream: what is sent, seen and missed."""

import pytest

from netbond.lab.payload import PROBE, SIZE, Tally, pack, percentile, report, text, unpack


def test_a_packet_has_an_srt_payloads_size_and_says_number_and_time() -> None:
    data = pack(7, 12.5)
    assert len(data) == SIZE == 1316
    assert list(unpack(data)) == [(7, 12.5)]


def test_joined_packets_are_told_apart_and_foreign_ones_ignored() -> None:
    assert list(unpack(pack(1, 0.0) + bytes(SIZE) + pack(2, 0.5))) == [(1, 0.0), (2, 0.5)]
    assert list(unpack(b"short")) == []


def test_the_tally_counts_each_packet_once() -> None:
    tally = Tally()
    for number, now in ((0, 1.0), (2, 1.2), (1, 1.3), (2, 1.4)):
        tally.take(pack(number, 0.5), now)
    assert tally.arrived == 3
    assert tally.duplicates == 1
    assert tally.out_of_order == 1
    assert tally.delays == pytest.approx({0: 0.5, 2: 0.7, 1: 0.8})
    assert tally.missing(6) == [3, 4, 5]


def test_a_probe_opens_the_way_and_is_not_counted() -> None:
    tally = Tally()
    seen = [tally.open]
    tally.take(pack(PROBE, 0.0), 1.0)
    assert [*seen, tally.open] == [False, True]
    assert tally.arrived == 0


def test_report() -> None:
    tally = Tally()
    for number in range(100):
        if number not in (10, 11, 12, 50):
            tally.take(pack(number, number / 100), number / 100 + 1 + number / 1000)
    result = report(tally, sent=100, seconds=1.0)
    assert (result.sent, result.arrived, result.lost) == (100, 96, 4)
    assert result.lost_ranges == [(10, 12), (50, 50)]
    assert result.mbps == pytest.approx(96 * 1316 * 8 / 1e6, abs=0.001)
    assert result.delay_ms["p1"] < result.delay_ms["p50"] < result.delay_ms["p99"] <= result.delay_ms["max"]
    assert result.delay_ms["max"] == 1099
    assert text(result).startswith(
        "sent 100 packets in 1 s, arrived 96, lost 4 (4.00 %); 1.01 Mbit/s; delay "
    )


def test_a_report_of_nothing() -> None:
    result = report(Tally(), sent=0, seconds=0.0, trouble="the caller ended")
    assert (result.lost, result.mbps, result.delay_ms["max"]) == (0, 0, 0)
    assert text(result).endswith("\nthe caller ended")


def test_percentile() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([4.0], 0.99) == 4
    assert percentile([float(n) for n in range(100)], 0.99) == 99
    assert percentile([float(n) for n in range(100)], 0.5) == 50
