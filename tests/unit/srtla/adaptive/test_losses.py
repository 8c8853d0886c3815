"""What is in flight on a link, and which proof shows what of it. Packets are of 1,000 bytes."""

from __future__ import annotations

import pytest

from netbond.srtla.adaptive.losses import REORDER, UNSURE_MOST, Flight
from netbond.srtla.adaptive.packets import ARRIVED, FLYING, LOST, PASSED, Transmission

SIZE = 1000


def flying(count: int) -> tuple[Flight, list[Transmission]]:
    """A link with so many packets in flight."""
    flight, sent = Flight(), [Transmission(SIZE) for _ in range(count)]
    for index, each in enumerate(sent):
        flight.add(each, index)
    return flight, sent


def name(flight: Flight, sent: list[Transmission], *indexes: int) -> list[int]:
    """An SRTLA ACK names these; return the indexes of those that it should have named."""
    for index in indexes:
        flight.leave(sent[index], ARRIVED, 101.0)
    return [each.index for each in flight.missing(sent[indexes[-1]])]


def test_a_packet_counts_until_it_has_left() -> None:
    flight, sent = flying(3)
    assert (flight.bytes, flight.packets, flight.next_index) == (3 * SIZE, 3, 3)
    assert [each.flight for each in sent] == [0, SIZE, 2 * SIZE], "bytes before it"
    flight.leave(sent[1], ARRIVED, 101.0)
    flight.leave(sent[1], ARRIVED, 102.0)
    assert (flight.bytes, flight.packets, sent[1].state, sent[1].done_at) == (2 * SIZE, 2, ARRIVED, 101.0)


def test_the_oldest_in_flight_is_found_behind_what_has_left() -> None:
    flight, sent = flying(3)
    for each in sent[:2]:
        flight.leave(each, ARRIVED, 101.0)
    assert flight.oldest() is sent[2]
    flight.leave(sent[2], LOST, 101.0)
    assert flight.oldest() is None


def test_a_later_packet_proves_an_earlier_one_lost() -> None:
    flight, sent = flying(12)
    assert name(flight, sent, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10) == [3]
    assert flight.oldest() is sent[11]


def test_a_little_disorder_is_not_loss() -> None:
    flight, sent = flying(12)
    assert REORDER == 3
    assert name(flight, sent, *range(8), 11) == []
    assert name(flight, sent, 9, 10, 8) == []
    assert flight.packets == 0
    flight, sent = flying(13)
    assert name(flight, sent, *range(8), 12) == [8]


def test_each_missing_packet_is_told_once() -> None:
    flight, sent = flying(20)
    assert name(flight, sent, 9) == [0, 1, 2, 3, 4, 5]
    for each in sent[:6]:
        flight.leave(each, LOST, 101.0)
    assert name(flight, sent, 10) == [6]


def test_packets_before_an_echo_have_passed() -> None:
    flight, sent = flying(5)
    flight.leave(sent[1], ARRIVED, 101.0)
    assert flight.passed(3, 102.0) == [sent[0], sent[2]]
    assert [each.state for each in sent] == [PASSED, ARRIVED, PASSED, FLYING, FLYING]
    assert (flight.packets, flight.bytes) == (2, 2 * SIZE)
    assert list(flight.unsure) == [sent[0], sent[2]]


def test_a_packet_that_passed_and_is_not_named_by_the_next_ack_is_lost() -> None:
    flight, sent = flying(12)
    flight.passed(2, 101.0)
    assert name(flight, sent, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10) == [1]
    assert sent[0].state == ARRIVED


def test_no_more_packets_are_kept_for_an_ack_than_a_few_hundred() -> None:
    """A receiver that sends no SRTLA ACKs would fill the memory."""
    flight, _ = flying(3 * UNSURE_MOST)
    flight.passed(3 * UNSURE_MOST, 101.0)
    assert len(flight.unsure) == UNSURE_MOST
    assert flight.unsure[-1].index == 3 * UNSURE_MOST - 1


def test_a_loss_that_was_none_stays_counted_and_leaves_once() -> None:
    flight, sent = flying(2)
    flight.leave(sent[0], LOST, 101.0)
    flight.leave(sent[0], ARRIVED, 102.0)
    assert (sent[0].state, sent[0].done_at, flight.lost) == (ARRIVED, 101.0, 1)
    assert (flight.packets, flight.bytes) == (1, SIZE)


def test_the_share_of_losses_is_a_mean_of_about_a_hundred_packets() -> None:
    flight, sent = flying(400)
    for each in sent:
        flight.leave(each, LOST if each.index % 10 == 9 else ARRIVED, 101.0)
    assert flight.loss == pytest.approx(0.1, abs=0.02)
    assert flight.lost == 40
    flight, sent = flying(2)
    flight.leave(sent[0], LOST, 101.0)
    assert flight.loss == pytest.approx(1 / 64)
    flight.leave(sent[1], ARRIVED, 101.0)
    assert flight.loss == pytest.approx(63 / 64**2)


def test_a_link_that_fails_has_nothing_in_flight() -> None:
    flight, sent = flying(4)
    flight.leave(sent[1], ARRIVED, 101.0)
    assert flight.empty(102.0) == [sent[0], sent[2], sent[3]]
    assert (flight.packets, flight.bytes, len(flight.fifo)) == (0, 0, 0)
    assert {each.state for each in (sent[0], sent[2], sent[3])} == {PASSED}
    assert flight.lost == 0, "they may have arrived"


def test_a_link_that_begins_anew_keeps_only_what_it_lost_in_total() -> None:
    flight, sent = flying(20)
    flight.passed(3, 101.0)
    flight.leave(sent[7], LOST, 101.0)
    flight.reset()
    assert (flight.packets, flight.bytes, flight.next_index) == (0, 0, 0)
    assert (len(flight.fifo), len(flight.unsure), flight.loss) == (0, 0, 0.0)
    assert flight.lost == 1
