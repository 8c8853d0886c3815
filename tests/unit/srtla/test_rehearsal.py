"""What links carry, measured over modelled links and receivers in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.keyframes import Keyframes
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.rehearsal import ANSWER_S, NOT_ACKNOWLEDGED, Rehearsal, RehearsalResult
from netbond.srtla.sender import NO_ANSWER
from tests.bondlinks import parse_link
from tests.bondreceivers import make_receiver

START = 100.0
ON_THE_WIRE = (1316 + 16 + 28) / 1316


class World:
    """The network between a rehearsal and a receiver."""

    def __init__(self, links: list[str], most: int, receiver: str = "belabox", **options: Any) -> None:
        self.now = START
        self.sent: list[bytes] = []
        self.rng = random.Random(1)
        self.heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.links = dict(enumerate(map(parse_link, links), 1))
        self.receiver = make_receiver(receiver, self, flush=False, nak_everywhere=False)
        specs = [LinkSpec(f"usb{n}", f"10.0.{n}.10") for n in self.links]
        self.rehearsal = Rehearsal(self.rng.randbytes, specs, most, self.now, **options)
        for number in self.rehearsal.links:
            self.rehearsal.opened(number, self.now)

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, what, args))

    def down(self, link: int, data: bytes) -> None:
        arrives = self.links[link % 100][1].carry(len(data), self.now, self.rng)
        if arrives is not None:
            self.at(arrives, self._received, link, data)

    def at_server(self, data: bytes) -> None:
        """The SRT server ignores it."""

    def run(self) -> RehearsalResult:
        while not self.rehearsal.done:
            self.step()
        return self.rehearsal.result("far:5000")

    def step(self) -> None:
        """Send what is to be sent, then let the next thing happen."""
        rehearsal = self.rehearsal
        for number, data in rehearsal.to_send(self.now):
            self.sent.append(data)
            arrives = self.links[number][0].carry(len(data), self.now, self.rng)
            if arrives is not None:
                self.at(arrives, self.receiver.from_link, number, data)
        due = max(rehearsal.next_timer(), self.now)
        if self.heap and self.heap[0][0] <= due:
            self.now, _, what, args = heapq.heappop(self.heap)
            what(*args)
        else:
            self.now = due
            rehearsal.handle_timer(self.now)

    def _received(self, link: int, data: bytes) -> None:
        self.rehearsal.received(link, data, self.now)


def mbps(result: RehearsalResult) -> list[float | None]:
    """What each link carries, on the wire: the modelled links count the headers, too."""
    rates = [each.capacity_bits_per_second for each in result.links]
    return [None if rate is None else rate * ON_THE_WIRE / 1e6 for rate in rates]


@pytest.mark.parametrize("receiver", ["belabox", "netbond"])
def test_links_alone_and_together(receiver: str) -> None:
    links = ["up=6,down=20,delay=25", "up=4,down=20,delay=35", "up=3,down=20,delay=45"]
    world = World(links, 20_000_000, receiver)
    result = world.run()
    assert mbps(result) == [pytest.approx(rate, rel=0.03) for rate in (6, 4, 3)]
    assert [(each.label, each.address, each.reason) for each in result.links] == [
        (f"usb{n}", f"10.0.{n}.10", "") for n in (1, 2, 3)
    ]
    assert [each.rtt_ms for each in result.links] == [pytest.approx(rtt, abs=8) for rtt in (50, 70, 90)]
    for each in result.links:
        assert each.rtt_ms is not None
        assert each.full_rtt_ms is not None
        assert each.rtt_ms + 40 < each.full_rtt_ms < each.rtt_ms + 250
        assert (each.at_least, each.loss_pct) == (False, 0.0)
    assert result.capacity_bits_per_second is not None
    assert result.capacity_bits_per_second * ON_THE_WIRE / 1e6 == pytest.approx(13, rel=0.05)
    assert result.suggested_bits_per_second is not None
    share = result.suggested_bits_per_second / result.capacity_bits_per_second
    assert 0.8 < share <= 0.9
    assert not result.at_least
    assert world.now - START < 8
    assert result.used_bytes < 7_000_000
    assert (result.receiver, result.max_bytes) == ("far:5000", 20_000_000)


def test_what_is_sent_looks_like_data_of_no_stream() -> None:
    world = World(["up=3,down=20,delay=25"], 1_000_000)
    world.run()
    packets = [data for data in world.sent if wire.data_sequence(data) is not None]
    assert len(packets) > 100
    assert {len(data) for data in packets} == {1332}
    assert not any(map(wire.is_filter_packet, packets))
    (socket,) = {wire.destination_of(data) for data in packets}
    assert 0 < socket < 1 << 30
    numbers = [wire.sequence_of(data) for data in packets]
    assert all(wire.distance(one, other) == 1 for one, other in itertools.pairwise(numbers))


def test_one_link_is_the_bond() -> None:
    result = World(["up=6,down=20,delay=25"], 20_000_000).run()
    assert result.capacity_bits_per_second == result.links[0].capacity_bits_per_second
    assert result.suggested_bits_per_second is not None


@pytest.mark.parametrize("most", [1_000_000, 3_000_000, 20_000_000])
def test_no_more_data_is_used_than_allowed(most: int) -> None:
    world = World(["up=300,down=300,delay=20"] * 3, most)
    result = world.run()
    assert 0.9 * most < result.used_bytes <= most
    assert all(each.at_least and each.capacity_bits_per_second for each in result.links)
    assert result.at_least
    on_the_wire = sum(len(data) + 28 for data in world.sent)
    assert on_the_wire <= result.used_bytes


def test_data_that_does_not_last_shows_the_rate_all_the_same() -> None:
    result = World(["up=100,down=100,delay=20", "up=50,down=100,delay=20"], 20_000_000).run()
    assert mbps(result) == [pytest.approx(100, rel=0.03), pytest.approx(50, rel=0.03)]
    assert [each.at_least for each in result.links] == [True, True]


def test_all_may_be_sent_before_the_first_answer_comes() -> None:
    result = World(["up=8,down=50,delay=300"], 200_000).run()
    assert mbps(result) == [pytest.approx(8, rel=0.1)]
    assert result.links[0].at_least


def test_a_packet_that_left_twice_makes_no_round_trip_and_is_lost_only_if_it_was() -> None:
    world = World(["up=6,down=20,delay=25"], 20_000_000)
    rehearsal = world.rehearsal
    while world.now < START + 1:
        world.step()
    way = rehearsal._ways[1]
    oldest = list(way.sent)[:20]
    packet = next(data for data in world.sent if wire.data_sequence(data) == oldest[0])
    for sequence in oldest:  # the sender takes them for lost, a moment before their answer comes
        rehearsal._count(1, sequence.to_bytes(4, "big") + packet[4:], world.now)
    assert len(way.lost) == 20
    while set(oldest) & set(way.sent):
        world.step()
    assert way.lost == []
    result = world.run()
    assert result.links[0].rtt_ms == pytest.approx(50, abs=2)
    assert result.links[0].loss_pct == 0.0


def test_no_packet_looks_like_a_keyframe() -> None:
    world = World(["up=3,down=20,delay=25"], 1_000_000)
    world.run()
    keyframes = Keyframes()
    assert not any(keyframes.look(data, 0.0) for data in world.sent if not data[0] & 0x80)
    assert {data[16] for data in world.sent if not data[0] & 0x80} == {0}


def test_what_one_link_leaves_the_others_may_use() -> None:
    result = World(["up=0.5,down=5,delay=20", "up=20,down=20,delay=20"], 7_000_000).run()
    assert mbps(result) == [pytest.approx(0.5, rel=0.1), pytest.approx(20, rel=0.1)]
    assert [each.at_least for each in result.links] == [False, False]


def test_loss_is_told_and_no_loss_of_the_start() -> None:
    world = World(["up=6,down=20,delay=25,loss=5", "up=3,down=20,delay=45,queue=120"], 20_000_000)
    result = world.run()
    assert result.links[0].loss_pct == pytest.approx(5, abs=3)
    assert result.links[1].loss_pct == 0.0
    assert world.links[2][0].tail_dropped > 0


def test_a_far_link_gets_time() -> None:
    result = World(["up=5,down=20,delay=300", "up=0.3,down=2,delay=40"], 20_000_000).run()
    assert mbps(result) == [pytest.approx(5, rel=0.1), pytest.approx(0.3, rel=0.2)]


def test_a_link_without_an_answer_is_named_and_the_others_are_measured() -> None:
    world = World(["up=6,down=20,delay=25,loss=100", "up=4,down=20,delay=35"], 20_000_000)
    result = world.run()
    assert mbps(result) == [None, pytest.approx(4, rel=0.03)]
    assert result.links[0].reason == NO_ANSWER
    assert result.capacity_bits_per_second == result.links[1].capacity_bits_per_second


def test_no_answer_at_all() -> None:
    world = World(["up=6,down=20,delay=25,loss=100"] * 2, 20_000_000)
    result = world.run()
    assert [each.reason for each in result.links] == [NO_ANSWER] * 2
    assert (result.capacity_bits_per_second, result.suggested_bits_per_second) == (None, None)
    assert world.now == pytest.approx(START + ANSWER_S, abs=0.1)


def test_links_without_a_socket_are_not_waited_for() -> None:
    world = World(["up=6,down=20,delay=25", "up=4,down=20,delay=35"], 20_000_000)
    world.rehearsal.failed(1, "no route to the receiver", START)
    result = world.run()
    assert mbps(result) == [None, pytest.approx(4, rel=0.03)]
    assert result.links[0].reason == "no route to the receiver"
    assert world.now < START + 3

    world = World(["up=6,down=20,delay=25"], 20_000_000)
    world.rehearsal.failed(1, "no route to the receiver", START)
    assert world.run().links[0].reason == "no route to the receiver"
    assert world.now < START + 0.1


def test_icmp_says_that_nothing_listens() -> None:
    world = World(["up=6,down=20,delay=25,loss=100"], 20_000_000)
    for tenth in range(50):
        world.at(START + tenth / 10, lambda: world.rehearsal.port_closed(1, world.now))
    assert world.run().links[0].reason == "nothing listens at the receiver's port"


def test_a_receiver_that_acknowledges_nothing() -> None:
    result = World(["up=6,down=20,delay=25"] * 2, 20_000_000, "go-srtla").run()
    assert [each.reason for each in result.links] == [NOT_ACKNOWLEDGED] * 2
    assert result.capacity_bits_per_second is None


def test_a_link_that_swallows_full_size_packets() -> None:
    result = World(["up=6,down=20,delay=25,largest=1000", "up=4,down=20,delay=35"], 20_000_000).run()
    assert result.links[0].capacity_bits_per_second is None
    assert result.links[0].reason
    assert mbps(result)[1] == pytest.approx(4, rel=0.03)


def test_a_link_that_dies_after_its_turn_is_left_out_of_the_bond() -> None:
    """The sender notices after four seconds without a sign of life."""
    world = World(["up=6,down=20,delay=25,off=102,on=999", *["up=4,down=20,delay=35"] * 4], 20_000_000)
    result = world.run()
    assert mbps(result)[0] == pytest.approx(6, rel=0.03)
    assert result.capacity_bits_per_second is not None
    assert result.capacity_bits_per_second * ON_THE_WIRE / 1e6 == pytest.approx(16, rel=0.06)


def test_a_receiver_that_refuses_says_why() -> None:
    world = World(["up=6,down=20,delay=25"], 20_000_000)
    number = 1
    refusal = b"\x92\x10" + wire.REFUSED_KEY.ljust(30, b"\0")
    world.receiver.from_link = lambda link, data: world.down(link, refusal)  # type: ignore[method-assign]
    result = world.run()
    assert world.rehearsal.trouble == "refused by the receiver: it wants a key"
    assert result.links[number - 1].reason == "refused by the receiver: it wants a key"


def test_results_are_told_as_they_come() -> None:
    world = World(["up=6,down=20,delay=25", "up=4,down=20,delay=35"], 20_000_000)
    told: list[tuple[float, str]] = []
    handle = world.rehearsal.handle_timer

    def look(now: float) -> None:
        handle(now)
        told.extend((now - START, each.label) for each in world.rehearsal.news())

    world.rehearsal.handle_timer = look  # type: ignore[method-assign]
    world.run()
    assert [label for _, label in told] == ["usb1", "usb2"]
    assert told[0][0] < 2 < told[1][0]


def test_what_the_kernel_did_not_take_is_not_counted() -> None:
    world = World(["up=6,down=20,delay=25"], 20_000_000)
    rehearsal = world.rehearsal
    while not any(wire.data_sequence(data) is not None for data in world.sent):
        world.step()
    used = rehearsal.used
    data = next(data for data in world.sent if wire.data_sequence(data) is not None)
    rehearsal.not_sent(1, [data], world.now)
    assert rehearsal.used == used - len(data) - 28


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), st.binary(max_size=60)), max_size=30), st.booleans())
def test_no_datagram_breaks_it_and_no_false_acknowledgement_counts(
    datagrams: list[tuple[int, bytes]], acks: bool
) -> None:
    world = World(["up=6,down=20,delay=25,loss=100"] * 2, 1_000_000)
    for number, data in datagrams:
        world.at(START + 1, world.rehearsal.received, number, b"\x91\0\0\0" + data if acks else data, START)
    result = world.run()
    assert result.capacity_bits_per_second is None
