"""Which link takes which packet, and when."""

from __future__ import annotations

from typing import Any

import pytest

from netbond.srtla import wire
from netbond.srtla.adaptive.parameters import Parameters
from tests.srtla_util import data_packet
from tests.transport_stream import FRAME, KEYFRAME, stream_packet
from tests.unit.srtla.adaptive.driven import Driven, known, limit, lose, model_of, send

NGP = wire.REG_NGP_PACKET
REG3 = wire.REG3_PACKET
TOP = wire.SEQUENCE_MASK
LATENCY = Parameters().latency_s


def test_a_packet_that_hurries_is_not_given_to_a_link_that_has_it() -> None:
    driven = Driven(links=2)
    carrier = driven.carrier
    driven.offers(*range(4))
    here = next(number for number, sequence in driven.sent() if sequence == 0)
    send(driven, 0, 3 - here)
    driven.sent()
    carrier._dealer.hasten(known(driven, 0))
    carrier._dealer.wake(driven.now)
    assert driven.sent() == []


def test_packets_are_held_until_links_have_room_and_dropped_when_too_late() -> None:
    driven = Driven(links=1)
    driven.offers(*range(100))
    assert len(driven.after(0.1)) < 50
    assert driven.sender.stats(driven.now)["held"] > 50
    driven.after(2 * LATENCY)
    stats = driven.sender.stats(driven.now)
    assert stats["held"] == 0
    assert stats["late"] > 50


def test_all_that_came_in_at_once_is_decided_at_once() -> None:
    driven = Driven()
    driven.offers(0, 1, 2)
    assert driven.carrier.stats()["held"] == 3
    due = driven.sender.next_timer()  # whoever does not ask for datagrams is woken for it
    assert due is not None
    assert due <= driven.now
    assert len(driven.sent()) == 3
    assert driven.carrier.stats()["held"] == 0


@pytest.mark.parametrize("age", [0.1, 0.95])
def test_a_repeat_goes_over_one_link(age: float) -> None:
    driven = Driven(links=3)
    driven.offers(*range(8))
    driven.sent()
    driven.now += age
    lose(driven, 0)
    assert [sequence for _, sequence in driven.sent()] == [0]


def test_repeats_do_not_wait_behind_one_that_no_link_can_take_now() -> None:
    driven = Driven(links=1)
    driven.offers(*range(8))
    driven.sent()
    model = model_of(driven, 1)
    model.control.startup = False
    model.rate.rate = model.rate.peak = 125_000.0
    model.path.late = 0.8  # much later than expected, of late
    driven.now += 0.9
    known(driven, 7).born = driven.now
    lose(driven, 0, 7)
    assert [sequence for _, sequence in driven.sent()] == [7]
    assert driven.carrier.stats()["late"] == 0


def test_the_more_is_given_up_the_earlier_a_packet_must_be_expected() -> None:
    driven = Driven(links=1)
    carrier = driven.carrier
    calm = carrier._dealer.margin
    carrier._links[0].stalled = True  # nothing can be sent
    for step in range(40):
        driven.offers(*range(step * 10, step * 10 + 10))
        driven.after(0.1)
    assert carrier.stats()["late"] > 100
    careful = carrier._dealer.margin
    assert careful > 2 * calm
    for _ in range(40):
        carrier._links[0].data_packets += 100  # all is well again
        carrier._judge(driven.now)
    assert carrier._dealer.margin == pytest.approx(calm, rel=0.1)


def test_what_is_given_up_takes_no_memory() -> None:
    driven = Driven()
    for number in (1, 2):
        driven.sender.link_failed(number, "no network", driven.now)
    driven.offers(*range(200))
    driven.after(3.0)
    assert driven.sender.stats(driven.now)["late"] == 200
    kept = [packet for packet in driven.carrier._memory.slots if packet is not None]
    assert len(kept) == 200
    assert not any(packet.data for packet in kept)


@pytest.mark.parametrize(("second", "equal"), [(0.04, True), (0.9, False)])
def test_links_that_are_about_as_near_share_the_stream(second: float, equal: bool) -> None:
    driven = Driven(links=2)
    driven.carrier.resume_latency(1.0)
    path = model_of(driven, 2).path
    path.shortest = path.smoothed = path.shortest_ever = second
    driven.offers(*range(8))
    assert ({number for number, _ in driven.sent()} == {1, 2}) is equal


def test_a_link_that_is_too_slow_for_the_oldest_takes_a_younger_packet() -> None:
    driven = Driven(links=1)
    driven.carrier.resume_latency(1.0)
    model = model_of(driven, 1)
    model.pacer.next_at = driven.now + 0.5
    driven.offers(1)
    driven.now += 0.5
    driven.offers(2)
    model.control.startup = False
    model.rate.rate = model.rate.peak = 125_000.0
    model.path.shortest = model.path.shortest_ever = model.path.smoothed = 0.9  # 0.45 s until it arrives
    driven.carrier._dealer.wake(driven.now)
    assert driven.sent() == [(1, 2)]


def test_a_packet_that_seems_late_is_sent_over_an_idle_link() -> None:
    """Its model may be wrong, and without packets it would never be corrected."""
    driven = Driven(links=2)
    driven.carrier.resume_latency(1.0)
    model = model_of(driven, 1)
    model.path.shortest = model.path.shortest_ever = model.path.smoothed = 1.95
    model_of(driven, 2).owner.stalled = True
    driven.offers(1)
    driven.now += 0.1
    driven.carrier._dealer.wake(driven.now)
    assert driven.sent() == [(1, 1)]
    assert driven.sender.stats(driven.now)["late"] == 0


def test_small_packets_do_not_wait_behind_a_large_one_that_waits_for_its_link() -> None:
    driven = Driven(links=2)
    limit(driven, 1, 1000)
    model_of(driven, 2).pacer.next_at = driven.now + 0.2
    driven.offers(1)
    driven.sender.datagram_from_caller(data_packet(2, size=400), driven.now)
    assert driven.after(0.05) == [(1, 2)]
    assert (2, 1) in driven.after(0.2)


def test_a_packet_that_is_too_large_for_all_links_is_sent_nevertheless() -> None:
    """The limit may be wrong, and nothing else is left."""
    driven = Driven(links=2)
    limit(driven, 1, 1000)
    limit(driven, 2, 1200)
    driven.offers(1)
    assert driven.after(0.05) == [(2, 1)]


def test_small_packets_do_not_wait_behind_one_that_no_link_can_carry() -> None:
    driven = Driven(links=1)
    limit(driven, 1, 1000)
    driven.offers(1)
    driven.sender.datagram_from_caller(data_packet(2, size=400), driven.now)
    assert (1, 2) in driven.after(0.05)


def frames(driven: Driven, *frames: tuple[bytes, int], first: int = 0) -> None:
    """Frames of so many packets come from the caller."""
    for begin, packets in frames:
        for number in range(packets):
            packet = stream_packet(*([begin] if not number else []), sequence=first)
            driven.sender.datagram_from_caller(packet, driven.now)
            first += 1


def test_a_keyframe_leaves_before_the_frames_that_wait() -> None:
    driven = Driven(links=1)
    frames(driven, (FRAME, 60))
    driven.sent()  # the rest waits
    frames(driven, (KEYFRAME, 10), first=60)
    assert driven.carrier.stats()["held"] > 40
    later = [sequence for _, sequence in driven.after(0.3)]
    assert later[:10] == list(range(60, 70))


@pytest.mark.parametrize(("loss", "numbers"), [(0.0, {1, 2}), (0.05, {2})])
def test_a_keyframe_avoids_links_that_lose_packets(loss: float, numbers: set[int]) -> None:
    driven = Driven(links=2)
    model_of(driven, 1).flight.loss = loss
    frames(driven, (KEYFRAME, 8))
    assert {number for number, _ in driven.sent()} == numbers


def copies(
    *, latency: float = 0.1, loss: float = 0.05, metered: bool = False, begin: bytes = KEYFRAME
) -> list[int]:
    """The packets of a frame that leave twice, after 100 others; all links lose packets."""
    driven = Driven(links=3)
    driven.carrier.resume_latency(latency)
    for first in range(0, 100, 5):
        frames(driven, (FRAME, 5), first=first)
        sent = driven.sent()
        driven.now += 0.06
        for number, sequence in sent:
            driven.acks(number, sequence)
    for number in (1, 2, 3):
        model_of(driven, number).flight.loss = loss
        driven.sender._links[number].metered = metered
    frames(driven, (begin, 9), first=100)
    left = [sequence for _, sequence in driven.sent()]
    return sorted(sequence for sequence in set(left) if left.count(sequence) > 1)


def test_a_keyframe_is_sent_twice_where_a_loss_would_be_noticed_too_late() -> None:
    assert copies() == [100, 101, 102]  # as many as 3 % of the bytes allow


@pytest.mark.parametrize(
    "options", [{"latency": 4.0}, {"loss": 0.0}, {"metered": True}, {"begin": FRAME}], ids=str
)
def test_no_copy_where_there_is_time_or_no_loss_or_the_link_costs_money(options: dict[str, Any]) -> None:
    assert copies(**options) == []
