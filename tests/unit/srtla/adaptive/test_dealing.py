"""Which link takes which packet, and when."""

from __future__ import annotations

import pytest

from netbond.srtla import wire
from netbond.srtla.adaptive.bonding import LATENCY
from netbond.srtla.adaptive.dealing import HELD
from tests.unit.srtla.adaptive.driven import Driven, lose

NGP = wire.REG_NGP_PACKET
REG3 = wire.REG3_PACKET
TOP = wire.SEQUENCE_MASK


def test_a_packet_that_hurries_is_not_given_to_a_link_that_has_it() -> None:
    driven = Driven(links=2)
    carrier = driven.carrier
    driven.offers(*range(4))
    here = next(number for number, sequence in driven.sent() if sequence == 0)
    packet = carrier._ring[0]
    assert packet is not None
    other = next(link for link in carrier._links if link.number != here)
    carrier._send(packet, other.model, driven.now)
    driven.sent()
    carrier._hasten(packet)
    carrier._due(driven.now)
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


@pytest.mark.parametrize(("age", "copies"), [(0.1, 1), (0.95, 2)])
def test_a_repeat_without_a_third_chance_goes_over_two_links(age: float, copies: int) -> None:
    driven = Driven(links=3)
    driven.offers(*range(8))
    driven.sent()
    driven.now += age
    lose(driven, 0)
    repeats = driven.sent()
    assert [sequence for _, sequence in repeats] == [0] * copies
    assert len({number for number, _ in repeats}) == copies


def test_repeats_do_not_wait_behind_one_that_no_link_can_take_now() -> None:
    driven = Driven(links=1)
    driven.offers(*range(8))
    driven.sent()
    model = driven.carrier._links[0].model
    model.startup = False
    model.rate = model.peak = 125_000.0
    model.deviation = 0.2  # much later than expected, of late
    driven.now += 0.9
    young = driven.carrier._ring[7]
    assert young is not None
    young.born = driven.now
    lose(driven, 0, 7)
    assert [sequence for _, sequence in driven.sent()] == [7]
    assert driven.carrier.late == 0


def test_packets_that_wait_try_a_stalled_link_with_copies() -> None:
    driven = Driven(links=2)
    carrier = driven.carrier
    driven.offers(*range(100))
    first = {sequence for _, sequence in driven.sent()}
    assert carrier.stats()["held"] > 0  # both links are new, and full
    carrier._links[0].stalled = True
    later = driven.after(0.05)
    tried = {sequence for number, sequence in later if number == 1}
    assert 1 <= len(tried) <= 6  # not more than one in 10 ms
    assert not tried & first
    for sequence in tried:  # it waits for a link that answers, as if it had not been sent
        packet = carrier._ring[sequence]
        assert packet is not None
        assert packet.state == HELD or (2, sequence) in later


def test_the_more_is_given_up_the_earlier_a_packet_must_be_expected() -> None:
    driven = Driven(links=1)
    carrier = driven.carrier
    calm = carrier._safety
    carrier._links[0].stalled = True  # nothing can be sent
    for step in range(40):
        driven.offers(*range(step * 10, step * 10 + 10))
        driven.after(0.1)
    assert carrier.late > 100
    careful = carrier._safety
    assert careful > 2 * calm
    for _ in range(40):
        carrier._links[0].data_packets += 100  # all is well again
        carrier._judge(driven.now)
    assert carrier._safety == pytest.approx(calm, rel=0.1)


def test_what_is_given_up_takes_no_memory() -> None:
    driven = Driven()
    for number in (1, 2):
        driven.sender.link_failed(number, "no network", driven.now)
    driven.offers(*range(200))
    driven.after(3.0)
    assert driven.sender.stats(driven.now)["late"] == 200
    kept = [packet for packet in driven.carrier._ring if packet is not None]
    assert len(kept) == 200
    assert not any(packet.data for packet in kept)
