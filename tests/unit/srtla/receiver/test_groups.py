"""Which links get what the SRT server sends, and how much they may be sent."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from netbond.srtla import wire
from netbond.srtla.receiver.groups import AMPLIFICATION, UDP_OVERHEAD
from netbond.srtla.receiver.peeraddress import PeerAddress
from tests.srtla_util import data_packet, srt_ack, srt_control, srt_nak
from tests.unit.srtla.receiver.driven_receiver import VICTIM, A, B, Driven


def acked(driven: Driven, number: int) -> list[PeerAddress]:
    """Over which links an SRT ACK goes."""
    driven.receiver.datagram_from_srt(1, srt_ack(number, stamp=number), driven.now)
    return [address for address, _ in driven.receiver.datagrams_to_peers()]


def test_acks_go_over_two_links_and_the_rest_over_the_one_heard_last() -> None:
    driven = Driven()
    driven.group(A, B)
    driven.get(A, data_packet(0))
    driven.get(B, data_packet(1))
    for data, to in [
        (srt_ack(2), [A, B]),
        (srt_nak((0, 0)), [B]),
        (srt_control(wire.SRT_HANDSHAKE, bytes(48)), [B]),
        (srt_control(wire.SRT_KEEPALIVE), [B]),
        (data_packet(9), [B]),
        (bytes(15), []),
    ]:
        driven.receiver.datagram_from_srt(1, data, driven.now)
        assert driven.receiver.datagrams_to_peers() == [(address, data) for address in to]


def test_acks_take_turns_on_the_links_that_are_heard() -> None:
    driven = Driven()
    links: list[PeerAddress] = [("192.0.2.1", port) for port in (11, 12, 13, 14, 15)]
    driven.group(*links)
    one, two, three, four, five = links
    for link in links:
        driven.get(link, data_packet(1))
    assert [acked(driven, n) for n in range(4)] == [[one, two], [three, four], [five, one], [two, three]]
    driven.after(0.6)
    for link in (two, four, five):
        driven.get(link, data_packet(2))
    assert [acked(driven, n) for n in range(3)] == [[four, five], [two, four], [five, two]]
    driven.after(0.6)
    driven.get(three, b"\x90\x00")
    assert acked(driven, 9) == [three, two], "one is fresh, the other the next best"
    driven.after(5)
    assert acked(driven, 10) == [three, two]


def test_acks_go_over_a_link_alone_if_there_is_no_other_that_may_get_them() -> None:
    driven = Driven()
    driven.group(A, B)
    driven.get(B, b"\x90\x00")
    over = Counter(address for n in range(100) for address in acked(driven, n))
    assert over[A] == 100
    assert 8 < over[B] < 14, "as many as it has earned"


def test_when_the_stream_pauses_the_link_heard_last_by_any_packet_is_used() -> None:
    driven = Driven()
    driven.group(A, B)
    driven.get(B, data_packet(1))
    driven.after(3)
    driven.get(A, b"\x90\x00")
    keepalive = srt_control(wire.SRT_KEEPALIVE)
    driven.receiver.datagram_from_srt(1, keepalive, driven.now)
    assert driven.receiver.datagrams_to_peers() == [(A, keepalive)]


@pytest.mark.parametrize(
    "says",
    [
        [],
        [b"\x90\x00"],
        [wire.build_keepalive(wire.Keepalive(1, 1, 20000, 1, 1, 1, 1))] * 20,
        [srt_control(wire.SRT_ACKACK)],
        [data_packet(number, size=0) for number in range(13)],
        [b"\x92\x01" + bytes(256), b"\x92\x01", b"", bytes(1500)],
    ],
)
def test_who_joins_in_anothers_name_earns_it_three_times_what_was_sent_whatever_it_says(
    says: list[bytes],
) -> None:
    """A forger can send what he likes, but hears no answer."""
    driven = Driven()
    group = driven.group(A)
    join = wire.build_registration(wire.REG2, group)
    given = got = 0

    def count(out: list[tuple[PeerAddress, bytes]]) -> None:
        nonlocal got
        got += sum(len(data) + UDP_OVERHEAD for address, data in out if address == VICTIM)

    for data in [join, join, *says]:
        given += len(data) + UDP_OVERHEAD
        count(driven.get(VICTIM, data))
        count(driven.after(0.001))
    for number in range(500):
        for data in (
            srt_ack(number, stamp=number),
            srt_nak((1, 9)),
            srt_control(0x8000, bytes(48)),
            bytes(1400),
        ):
            driven.receiver.datagram_from_srt(1, data, driven.now)
        count(driven.after(0.03))
    assert given / 3 < got <= AMPLIFICATION * given


def test_what_nobody_may_get_is_held_back_and_counted() -> None:
    driven = Driven()
    group = driven.reg1(A)
    assert group is not None
    assert driven.reg2(VICTIM, group) == wire.REG3
    for number in range(100):
        driven.receiver.datagram_from_srt(1, data_packet(number), driven.now)
    assert driven.receiver.datagrams_to_peers() == []
    assert driven.receiver.refused["unproven"] == 100
    assert driven.get(VICTIM, data_packet(7)) == []
    driven.receiver.datagram_from_srt(1, data_packet(5), driven.now)
    assert driven.receiver.datagrams_to_peers() == [(VICTIM, data_packet(5))]


def test_what_a_poor_link_may_not_get_goes_to_one_that_may() -> None:
    driven = Driven()
    driven.group(A, B)
    answered = []
    for number in range(100):
        driven.get(B, b"\x90\x00")
        driven.receiver.datagram_from_srt(1, data_packet(number), driven.now)
        answered += [to for to, _ in driven.receiver.datagrams_to_peers()]
    assert len(answered) == 100
    assert answered.count(A) > 90, "it registered the group"


@pytest.mark.parametrize("size", [0, 1316])
def test_each_packet_of_a_poor_link_has_its_srtla_ack(size: int) -> None:
    """The SRT server's packets leave what they cost."""
    driven = Driven()
    driven.group(A, B)
    named: list[int] = []
    chance = random.Random(7)
    for number in range(300):
        out = driven.get(B, data_packet(number, size=size))
        for stamp in range(3):
            driven.receiver.datagram_from_srt(1, srt_ack(number, stamp=stamp), driven.now)
        out += driven.after(chance.choice((0.0, 0.0, 0.0, 0.03)))
        for to, data in out + (driven.after(0.03) if number == 299 else []):
            named += wire.parse_srtla_ack(data) or () if to == B else ()
    assert named == list(range(300))


def test_a_link_that_says_little_is_answered_always() -> None:
    driven = Driven()
    driven.group(A, B)
    for number in range(200):
        driven.receiver.datagram_from_srt(1, srt_ack(number, stamp=number), driven.now)
        driven.get(A, data_packet(number))
        assert (B, b"\x90\x00") in driven.get(B, b"\x90\x00")


def test_who_knows_the_answer_to_its_reg1_has_proved_itself() -> None:
    driven = Driven()
    driven.group(A)
    for number in range(100):
        driven.receiver.datagram_from_srt(1, data_packet(number), driven.now)
    assert len(driven.receiver.datagrams_to_peers()) == 100


def test_a_link_that_carries_packets_gets_every_ack() -> None:
    driven = Driven()
    driven.group(A, B)
    got = 0
    for number in range(500):
        driven.get(B, data_packet(number))
        driven.receiver.datagram_from_srt(1, srt_ack(number, stamp=number), driven.now)
        got += sum(address == B for address, data in driven.receiver.datagrams_to_peers())
    assert got == 500
