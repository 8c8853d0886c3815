"""SRT's figures of a stream: what arrived, what the SRT server missed and gave up, what it measures."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

import pytest

from netbond.srtla import wire
from netbond.srtla.receiver.figures import LIVE_S, SETTLE_S, WINDOW, Figures
from tests.srtla_util import CONCLUSION, data_packet, handshake, srt_control, srt_nak

LAST = wire.SEQUENCE_MASK
FILTER = struct.pack("!HH8s", 7, 2, b"cef,slo:")  # an extension of a handshake


def conclusion(first: int) -> bytes:
    """The handshake of a caller whose numbers begin here."""
    data = bytearray(handshake(CONCLUSION, 5))
    data[24:28] = struct.pack("!I", first)
    return bytes(data)


def ack(end: int, *told: int) -> bytes:
    """An ACK of all before `end`, with so many of: RTT, variance, room, packets/s, capacity, bytes/s."""
    return srt_control(wire.SRT_ACK, struct.pack(f"!{1 + len(told)}I", end & LAST, *told))


class Driven:
    """Figures of a stream that begins with a certain number, at 100 s."""

    def __init__(self, first: int = 1000, extension: bytes = b"") -> None:
        self.now = 100.0
        self.figures = Figures()
        self.figures.asked(conclusion(first) + extension)
        self.figures.begin(b"", self.now)

    def arrive(self, numbers: Sequence[int], size: int = 1316) -> None:
        packets = [data_packet(number & LAST, size=size) for number in numbers]
        assert self.figures.arrived(packets) == [number & LAST for number in numbers]

    def tell(self, after: float = 1.0) -> dict[str, Any]:
        """A look after so many seconds in which packets came until the end."""
        self.now += after
        return self.figures.tell(self.now, after, self.now)


def test_what_the_server_gave_up_is_what_its_ack_passes_and_has_not_arrived() -> None:
    driven = Driven()
    driven.arrive([1000, 1001, 1004, 1003])
    driven.figures.acknowledged(ack(1002), 100.1)
    assert driven.tell(0.2)["dropped_packets"] == 0, "it waits for 1002"
    driven.figures.acknowledged(ack(1005), 100.3)
    assert driven.tell()["dropped_packets"] == 1
    driven.arrive([1002])
    driven.figures.acknowledged(ack(1005), 100.4)
    assert driven.tell()["dropped_packets"] == 1, "it came too late"


def test_packets_that_come_twice_count_once() -> None:
    driven = Driven()
    driven.arrive([1000, 1001, 1001, 1000])
    driven.arrive([1001, 1002], size=100)
    said = driven.tell(0.5)
    assert (said["payload_packets"], said["payload_bytes"]) == (3, 2 * 1316 + 100)
    assert said["payload_bps"] == (2 * 1316 + 100) * 8 * 2
    assert driven.tell()["payload_bps"] == 0


def test_control_packets_are_no_payload() -> None:
    figures = Figures()
    assert figures.arrived([srt_control(wire.SRT_ACKACK), data_packet(7)]) == [7]


@pytest.mark.parametrize("first", [0, WINDOW - 3, 5 * WINDOW - 70, LAST - 100, LAST])
def test_any_loss_is_counted_wherever_the_numbers_wrap(first: int) -> None:
    driven = Driven(first)
    chosen = random.Random(first)
    lost = 0
    for start in range(0, 3 * WINDOW, 500):
        numbers = [first + start + n for n in range(500)]
        gone = set(chosen.sample(numbers, chosen.choice([0, 1, 100])))
        lost += len(gone)
        driven.arrive([number for number in numbers if number not in gone])
        driven.figures.acknowledged(ack(first + start + 500), driven.now)
    assert driven.tell()["dropped_packets"] == lost


def test_a_packet_of_the_lap_before_is_not_taken_for_one_that_is_missing() -> None:
    driven = Driven(0)
    for number in range(0, WINDOW, 8):
        driven.arrive(range(number, number + 8))
        driven.figures.acknowledged(ack(number + 8), driven.now)
    driven.figures.acknowledged(ack(WINDOW + 10), driven.now)
    assert driven.tell()["dropped_packets"] == 10


@pytest.mark.parametrize("first", [0, WINDOW - 3, LAST - 2])
def test_what_a_packet_filter_makes_up_for_is_not_lost(first: int) -> None:
    driven = Driven(first, FILTER)
    driven.arrive([first, first + 5])
    driven.figures.missed(srt_nak(((first + 2) & LAST, (first + 4) & LAST)))
    driven.figures.missed(srt_nak(((first - 9) & LAST, first), ((first + 2) & LAST, (first + 4) & LAST)))
    driven.arrive([first + 3])
    driven.figures.missed(srt_nak(((first + 3) & LAST, (first + 3) & LAST)))  # it has just come
    driven.figures.acknowledged(ack(first + 6), driven.now)
    assert driven.tell()["dropped_packets"] == 2, (
        "it made up for the first, and waited for the others in vain"
    )
    driven.figures.acknowledged(ack(first + WINDOW), driven.now)
    assert driven.tell()["dropped_packets"] == 2


def test_the_server_may_be_who_names_the_packet_filter() -> None:
    driven = Driven()
    driven.figures.asked(conclusion(50))
    driven.figures.begin(conclusion(50) + FILTER, driven.now)
    driven.figures.acknowledged(ack(60), driven.now)
    assert driven.tell()["dropped_packets"] == 0


def test_very_long_reports_cost_little() -> None:
    driven = Driven(0, FILTER)
    before = bytes(driven.figures.tally)
    driven.figures.missed(srt_nak(*[(5, LAST)] * 100))
    assert driven.figures.tally == before
    driven.figures.missed(srt_nak(*[(1, WINDOW - 1)] * 100))
    driven.figures.acknowledged(ack(WINDOW), driven.now)
    assert driven.tell()["dropped_packets"] == WINDOW - 1


def test_of_a_stream_that_began_before_nothing_counts_at_first() -> None:
    driven = Driven()
    driven.figures = Figures()
    driven.arrive([5005])
    driven.figures.acknowledged(ack(5000), driven.now)
    driven.figures.acknowledged(ack(5006), driven.now + SETTLE_S / 2)
    assert driven.tell()["dropped_packets"] == 0, "5000 to 5004 may have come before"
    driven.figures.acknowledged(ack(5007), 100 + SETTLE_S)
    assert driven.tell()["dropped_packets"] == 1


def test_an_ack_from_far_away_begins_anew() -> None:
    driven = Driven(1000)
    for end in (1000 + 2 * WINDOW, 1 << 30, 10, 5):
        driven.figures.acknowledged(ack(end), driven.now)
        assert driven.tell()["dropped_packets"] in (0, 5)
    driven.arrive([10])
    driven.figures.acknowledged(ack(12), driven.now)
    assert driven.tell()["dropped_packets"] == 1


def test_each_lost_packet_counts_once_however_often_it_is_named() -> None:
    driven = Driven(LAST - 1)
    for ranges, lost in [
        ([(LAST, LAST)], 1),
        ([(LAST, LAST)], 1),
        ([(LAST, 3), (7, 7)], 6),
        ([(0, 9)], 8),
        ([(5, 5 + (1 << 29))], 8),  # as long as its author pleased
        ([(12, 11)], 8),
    ]:
        driven.figures.missed(srt_nak(*ranges))
        assert driven.figures.lost == lost, ranges


def test_the_servers_own_figures() -> None:
    driven = Driven()
    assert driven.tell()["rtt_ms"] is None
    driven.figures.acknowledged(ack(1000, 100_000, 50_000, 8191, 500, 1200, 700_000), driven.now)
    driven.tell()
    driven.arrive(range(1000, 1500))
    driven.figures.acknowledged(ack(1500, 21_340, 3_000, 7_991, 500, 1100, 700_000), driven.now)
    said = driven.tell()
    assert said["rtt_ms"] == 21.3
    assert said["srt_capacity_bps"] == 1100 * 1500 * 8
    assert said["receive_buffer_ms"] == 200 * 1000 // 500
    driven.figures.acknowledged(ack(1600, 30_000, 3_000, 8_091), driven.now)  # a short one
    said = driven.tell()
    assert (said["rtt_ms"], said["srt_capacity_bps"]) == (30.0, 1100 * 1500 * 8)
    driven.figures.acknowledged(ack(1700), driven.now)  # a light one
    assert driven.tell()["rtt_ms"] == 30.0
    assert driven.tell(LIVE_S)["rtt_ms"] is None, "too old"


def test_short_and_foreign_packets_change_nothing() -> None:
    driven = Driven()
    before = bytes(driven.figures.tally)
    for data in (b"", b"\x80\x02", ack(5)[:19], srt_control(wire.SRT_KEEPALIVE)):
        driven.figures.acknowledged(data, 1.0)
        driven.figures.missed(data)
    assert bytes(driven.figures.tally) == before


def test_a_stream_lives_while_it_flows_and_is_acknowledged() -> None:
    driven = Driven()
    driven.arrive([1000])
    driven.figures.acknowledged(ack(1001, 20_000, 1, 1), driven.now)
    said = driven.tell(0.5)
    assert (said["live"], said["uptime_s"]) == (True, 0)
    assert driven.figures.tell(driven.now - LIVE_S - 0.1, 1.0, driven.now)["live"] is False, "it has stopped"
    assert driven.tell(10.0)["live"], "a caller that has nothing to send has keepalives"
    driven.arrive([1001])
    assert not driven.tell(1.0)["live"], "the server takes nothing"
    driven.figures.acknowledged(ack(1002), driven.now)
    assert driven.tell(1.0)["live"]
    driven.figures.end()
    said = driven.tell(0.1)
    assert (said["live"], said["uptime_s"]) == (False, None)


def test_without_an_accepted_caller_there_is_no_stream() -> None:
    figures = Figures()
    assert figures.tell(100.0, 1.0, 100.0)["live"] is False
    figures.acknowledged(ack(7, 1, 1, 1), 100.0)
    said = figures.tell(101.0, 1.0, 101.0)
    assert (said["live"], said["uptime_s"]) == (True, 1), "it was accepted before we began"


def test_a_new_connection_begins_with_nothing() -> None:
    driven = Driven()
    driven.arrive([1000, 1002])
    driven.figures.missed(srt_nak((1001, 1001)))
    driven.figures.acknowledged(ack(1003, 20_000, 1, 9), driven.now)
    tally = driven.figures.tally
    driven.figures.asked(conclusion(900))
    driven.figures.begin(b"", driven.now)
    assert driven.figures.tally is tally, "the compiled data path has its address"
    driven.arrive([900])
    driven.figures.acknowledged(ack(1003), driven.now)
    said = driven.tell()
    assert (said["payload_packets"], said["lost_packets"]) == (1, 0)
    assert (said["dropped_packets"], said["rtt_ms"]) == (102, None)
    driven.figures.asked(b"cut off")
    driven.figures.begin(b"", driven.now)
    assert driven.tell()["dropped_packets"] == 0
