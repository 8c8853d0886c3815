"""Packets in flight: counted once, bounded, and right across the wrap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.classic.flight import RING, Flight
from netbond.srtla.schedule import LinkState

TOP = wire.SEQUENCE_MASK


def link(number: int = 1) -> LinkState:
    return LinkState(number, usable=True)


@pytest.mark.parametrize("first", [0, 1000, TOP - 5])
def test_cumulative_acknowledgement(first: int) -> None:
    flight, usb0 = Flight(), link()
    for step in range(20):
        flight.record(wire.advance(first, step), usb0, b"x" * 10, 0.0)
    assert (usb0.in_flight, usb0.in_flight_bytes) == (20, 200)
    assert flight.acknowledge_before(wire.advance(first, 12))
    assert (usb0.in_flight, usb0.in_flight_bytes) == (8, 80)
    assert flight.acknowledge_before(wire.advance(first, 5))  # an old one, late over a slow link
    assert usb0.in_flight == 8
    assert flight.acknowledge_before(wire.advance(first, 20))
    assert usb0.in_flight == 0


def test_an_ack_for_what_was_never_sent_is_not_believed() -> None:
    flight, usb0 = Flight(), link()
    assert not flight.acknowledge_before(5)
    flight.record(100, usb0, b"x", 0.0)
    assert not flight.acknowledge_before(102)
    assert not flight.acknowledge_before(wire.advance(100, 1 << 30))
    assert usb0.in_flight == 1
    assert flight.acknowledge_before(101)


def test_single_acknowledgement_counts_once() -> None:
    flight, usb0 = Flight(), link()
    flight.record(7, usb0, b"x", 0.0)
    assert flight.acknowledge(7) is not None
    assert flight.acknowledge(7) is None
    assert flight.acknowledge(7 + RING) is None  # the same slot, another packet
    assert usb0.in_flight == 0


def test_a_repeat_moves_to_its_new_link() -> None:
    flight, usb0, usb1 = Flight(), link(1), link(2)
    flight.record(7, usb0, b"x", 0.0)
    assert flight.record(7, usb1, b"x", 1.0).times == 2
    assert (usb0.in_flight, usb1.in_flight) == (0, 1)


def test_a_lost_packet_is_not_in_flight_but_can_be_repeated() -> None:
    flight, usb0 = Flight(), link()
    sent = flight.record(7, usb0, b"x", 0.0)
    flight.mark_lost(sent)
    flight.mark_lost(sent)
    assert usb0.in_flight == 0
    assert list(flight.within([(7, 7)])) == []
    flight.record(7, usb0, b"x", 0.0)
    assert usb0.in_flight == 1
    assert flight.acknowledge_before(8)
    assert usb0.in_flight == 0


def test_ranges_reach_only_what_was_sent() -> None:
    flight, usb0 = Flight(), link()
    for number in range(TOP - 3, TOP + 5):
        flight.record(number & TOP, usb0, b"x", 0.0)
    flight.acknowledge_before(TOP - 1)
    found = [sent.sequence for sent in flight.within([(TOP - 100, 1)])]
    assert found == [TOP - 1, TOP, 0, 1]
    assert [sent.sequence for sent in flight.within([(2, 2 + (1 << 29))])] == [2, 3]


def test_a_forged_loss_list_costs_one_ring_of_steps_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    flight, usb0 = Flight(), link()
    for number in range(RING):
        flight.record(number, usb0, b"", 0.0)
    steps = 0
    advance = wire.advance

    def counted(sequence: int, by: int) -> int:
        nonlocal steps
        steps += 1
        return advance(sequence, by)

    monkeypatch.setattr(wire, "advance", counted)
    list(flight.within([(0, (1 << 30) - 1)] * 180))
    assert steps <= RING


def test_an_encoder_that_restarts_far_away_begins_anew() -> None:
    flight, usb0 = Flight(), link()
    flight.record(5, usb0, b"x", 0.0)
    flight.record(5 + RING + 7, usb0, b"x", 0.0)
    assert usb0.in_flight == 1
    assert flight.acknowledge_before(5 + RING + 8)
    assert usb0.in_flight == 0


def test_a_packet_from_before_all_that_is_remembered() -> None:
    flight, usb0 = Flight(size=64), link()
    assert not flight.is_far_behind(5)
    flight.record(5, usb0, b"x", 0.0)
    assert not flight.is_far_behind(wire.advance(5, -63))
    assert flight.is_far_behind(wire.advance(5, -64))
    assert not flight.is_far_behind(1000)


def test_nobody_acknowledging_does_not_grow_it() -> None:
    flight, usb0 = Flight(size=64), link()
    for number in range(1000):
        flight.record(number, usb0, b"x", 0.0)
    assert usb0.in_flight == 64
    assert len(flight.carried_by(usb0)) == 64
    assert flight.acknowledge_before(1000)
    assert usb0.in_flight == 0


def test_a_repeat_of_something_acknowledged_is_cleared_by_the_next_ack() -> None:
    flight, usb0 = Flight(), link()
    for number in range(10):
        flight.record(number, usb0, b"x", 0.0)
    flight.acknowledge_before(10)
    flight.record(4, usb0, b"x", 1.0)
    assert usb0.in_flight == 1
    flight.acknowledge_before(10)
    assert usb0.in_flight == 0


STEP = st.one_of(
    st.tuples(st.just("record"), st.integers(-5, 90), st.integers(0, 2)),
    st.tuples(st.just("ack"), st.integers(-5, 90), st.just(0)),
    st.tuples(st.just("before"), st.integers(-100, 200), st.just(0)),
    st.tuples(st.just("lost"), st.integers(-100, 100), st.integers(0, 1 << 31)),
    st.tuples(st.just("jump"), st.integers(0, TOP), st.integers(0, 2)),
    st.tuples(st.just("clear"), st.just(0), st.just(0)),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([0, 50, TOP - 20]), st.lists(STEP, max_size=80))
def test_counts_agree_with_the_ring_whatever_happens(base: int, steps: list[tuple[str, int, int]]) -> None:
    flight = Flight(size=32)
    links = [link(number) for number in range(3)]
    for kind, a, b in steps:
        at = wire.advance(base, a)
        if kind == "record":
            flight.record(at, links[b], b"abc", 0.0)
        elif kind == "jump":
            flight.record(a, links[b], b"abc", 0.0)
        elif kind == "ack":
            flight.acknowledge(at)
        elif kind == "before":
            flight.acknowledge_before(at)
        elif kind == "clear":
            flight.clear()
            assert all(each.in_flight == each.in_flight_bytes == 0 for each in links)
        else:
            for sent in list(flight.within([(at, b & TOP)])):
                flight.mark_lost(sent)
        assert {id(sent) for sent in flight._all()} == {id(sent) for sent in flight._ring if sent is not None}
        for each in links:
            held = [s for s in flight._ring if s is not None and s.link is each and not s.lost]
            assert each.in_flight == len(held)
            assert each.in_flight_bytes == 3 * len(held)
