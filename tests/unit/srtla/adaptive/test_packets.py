"""Packets, their transmissions, and how many of them are remembered."""

from __future__ import annotations

import pytest

from netbond.srtla import wire
from netbond.srtla.adaptive.packets import (
    GONE,
    HELD,
    HERE,
    SENT,
    Memory,
    Packet,
    Repeat,
    latest,
    packet_of,
)

NEVER = -1e18  # s: all packets are needed


def packet(sequence: int, born: float = 100.0, fate: int = SENT) -> Packet:
    made = Packet(sequence, b"data", born)
    made.fate = fate
    return made


def test_a_packet_is_the_record_of_its_first_transmission() -> None:
    first = Packet(7, bytes(1332), 100.0)
    assert (first.fate, first.size, first.repeated) == (HELD, 1332, True)
    assert latest(first) is None, "not sent yet"
    first.times = 1
    assert latest(first) is first
    assert packet_of(first) is first


def test_a_repeat_knows_its_packet_and_is_the_latest_transmission() -> None:
    first = Packet(7, bytes(1332), 100.0)
    first.times = 2
    first.latest = again = Repeat(first)
    assert latest(first) is again
    assert packet_of(again) is first
    assert again.size == 1332


def test_a_packet_is_found_by_its_number_and_no_other_in_its_place() -> None:
    memory = Memory()
    known = packet(7)
    memory.put(known, NEVER)
    assert memory.get(7) is known
    assert memory.get(7 + memory.size) is None
    assert memory.get(8) is None


def test_the_number_wraps() -> None:
    memory = Memory()
    ends = [packet(wire.SEQUENCE_MASK), packet(0)]
    for each in ends:
        memory.put(each, NEVER)
    assert [memory.get(wire.SEQUENCE_MASK), memory.get(0)] == ends


def test_a_packet_that_is_not_needed_any_more_makes_place() -> None:
    memory = Memory()
    old, new = packet(7, born=100.0), packet(7 + Memory.LEAST, born=103.0)
    old.latest = Repeat(old)
    memory.put(old, 98.0)
    memory.put(new, 101.0)
    assert (memory.size, memory.evicted) == (Memory.LEAST, 0)
    assert (memory.get(7), memory.get(new.sequence)) == (None, new)
    assert old.fate == GONE
    assert latest(old) is None, "nobody sends it again, and nothing keeps it alive"


@pytest.mark.parametrize("fate", [HELD, SENT, GONE])
def test_a_packet_that_may_still_be_needed_stays_and_the_memory_grows(fate: int) -> None:
    memory = Memory()
    old, new = packet(7, born=100.0, fate=fate), packet(7 + Memory.LEAST, born=103.0)
    others = [packet(number) for number in (0, 8, Memory.LEAST - 1)]
    for each in (old, *others):
        memory.put(each, NEVER)
    memory.put(new, 99.0)
    assert (memory.size, memory.evicted, old.fate) == (2 * Memory.LEAST, 0, fate)
    assert [memory.get(each.sequence) for each in (old, new, *others)] == [old, new, *others]


def test_a_packet_that_arrived_makes_place_at_any_age() -> None:
    memory = Memory()
    old = packet(7, born=100.0, fate=HERE)
    memory.put(old, NEVER)
    memory.put(packet(7 + Memory.LEAST, born=100.1), NEVER)
    assert (memory.size, memory.get(7), old.fate) == (Memory.LEAST, None, HERE)


def test_the_same_packet_again_takes_its_own_place() -> None:
    memory = Memory()
    memory.put(packet(7), NEVER)
    again = packet(7)
    memory.put(again, NEVER)
    assert (memory.size, memory.evicted, memory.get(7)) == (Memory.LEAST, 0, again)


@pytest.mark.parametrize(("fate", "counted"), [(HELD, 1), (SENT, 1), (GONE, 0), (HERE, 0)])
def test_the_memory_has_an_end_and_counts_what_it_forgets_before_the_server_has_it(
    fate: int, counted: int
) -> None:
    memory = Memory()
    old = packet(7, fate=fate)
    memory.put(old, NEVER)
    middle = packet(7 + Memory.LEAST)
    memory.put(middle, NEVER)  # grows, if it has to
    last = packet(7 + Memory.MOST)
    memory.put(last, NEVER)
    assert memory.size <= Memory.MOST
    assert (memory.evicted, memory.get(7), memory.get(last.sequence)) == (counted, None, last)
    assert old.fate == (HERE if fate == HERE else GONE)


def test_a_latency_s_worth_of_packets_is_kept() -> None:
    """20,000 packets of 2,000 a second; the last 4 s of them are needed."""
    memory = Memory()
    for number in range(20_000):
        born = 100.0 + number / 2000
        memory.put(packet(number, born), born - 4.0)
    assert memory.size == 8192
    assert all(memory.get(number) is not None for number in range(12_000, 20_000))
    assert memory.evicted == 0


def test_what_srt_lacks_first_is_never_further_back_than_memory_reaches() -> None:
    """Else two packets would have the same place in it."""
    memory = Memory()
    memory.begin(100)
    memory.acked = 100
    for number in range(Memory.LEAST + 2):
        memory.highest = 100 + number
        memory.put(packet(100 + number, fate=HERE), NEVER)
        assert memory.acked == max(100, 101 + number - Memory.LEAST)
    memory.highest, memory.acked = 1, wire.SEQUENCE_MASK  # the number wraps
    memory.put(packet(1), NEVER)
    assert memory.acked == wire.SEQUENCE_MASK
    memory.highest = Memory.LEAST + 9
    memory.put(packet(Memory.LEAST + 9, fate=HERE), NEVER)
    assert memory.acked == 10


def test_another_connection_begins_with_nothing() -> None:
    memory = Memory()
    old, arrived = packet(7), packet(8, fate=HERE)
    old.latest = Repeat(old)
    for each in (old, arrived, packet(7 + Memory.LEAST)):
        memory.put(each, NEVER)
    memory.begin(0)
    assert (memory.size, len(memory.slots), set(memory.slots)) == (Memory.LEAST, Memory.LEAST, {None})
    assert (old.fate, arrived.fate) == (GONE, HERE)
    assert latest(old) is None
    assert memory.highest == wire.SEQUENCE_MASK, "0 is the next one"
    assert wire.distance(memory.acked, 0) == Memory.LEAST - 1, "the caller may repeat what it sent before"


def test_forgetting_waits_for_any_number() -> None:
    memory = Memory()
    memory.put(packet(7), NEVER)
    memory.forget()
    assert (memory.highest, memory.get(7)) == (-1, None)
