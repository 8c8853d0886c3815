"""The receiver alone: registration, quotas, and what strangers can make it do."""

from __future__ import annotations

import random
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.receiver.receiver import (
    AMPLIFICATION,
    CALLER_QUIET_S,
    FLUSH_AFTER_S,
    PATIENCE_MOST_S,
    UDP_OVERHEAD,
    CallerReplaced,
    GroupRemoved,
    KeyRefused,
    Limits,
    LinkLeft,
    PeerAddress,
    PlainCaller,
    Receiver,
    Routed,
    StreamAccepted,
    format_address,
)
from netbond.srtla.registration import psk
from netbond.srtla.registration.keyring import Key
from tests.srtla_util import REJECTION, data_packet, handshake, srt_ack, srt_control, srt_nak

A: PeerAddress = ("192.0.2.1", 1001)
B: PeerAddress = ("192.0.2.1", 1002)
VICTIM: PeerAddress = ("203.0.113.99", 7)
INDUCTION, CONCLUSION = 1, 0xFFFFFFFF  # kinds of handshakes


class Driven:
    """A receiver driven by hand."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 50.0
        self.random = random.Random(3)
        self.receiver = Receiver(self.random.randbytes, self.now, limits=limits)

    def get(self, address: PeerAddress, data: bytes) -> list[tuple[PeerAddress, bytes]]:
        self.receiver.datagram_from_peer(address, data, self.now)
        return self.receiver.datagrams_to_peers()

    def reg1(self, address: PeerAddress, half: bytes | None = None) -> bytes | None:
        """The group's id, or None if refused."""
        half = half or self.random.randbytes(128)
        ((to, answer),) = self.get(address, wire.build_registration(wire.REG1, half + bytes(128)))
        assert to == address
        assert len(answer) <= wire.REG_LENGTH
        return wire.parse_registration(answer)

    def reg2(self, address: PeerAddress, group: bytes) -> int:
        ((to, answer),) = self.get(address, wire.build_registration(wire.REG2, group))
        assert to == address
        return wire.packet_type(answer)

    def group(self, *addresses: PeerAddress) -> bytes:
        group = self.reg1(addresses[0])
        assert group is not None
        for address in addresses:
            assert self.reg2(address, group) == wire.REG3
        return group

    def after(self, seconds: float) -> list[tuple[PeerAddress, bytes]]:
        self.now += seconds
        self.receiver.handle_timer(self.now)
        return self.receiver.datagrams_to_peers()


def test_registration() -> None:
    driven = Driven()
    half = bytes(range(128))
    group = driven.reg1(A, half)
    assert group is not None
    assert group[:128] == half
    assert driven.reg2(A, group) == wire.REG3
    assert driven.reg2(B, group) == wire.REG3
    assert driven.reg2(B, group) == wire.REG3  # repeated: the same again
    assert driven.reg2(A, bytes(256)) == wire.REG_NGP


def test_a_repeated_reg1_gets_the_same_group() -> None:
    driven = Driven()
    first = driven.reg1(A, bytes(128))
    assert driven.reg1(A, bytes(128)) == first


def test_data_is_forwarded_and_acknowledged_in_tens() -> None:
    driven = Driven()
    driven.group(A, B)
    answers = []
    for number in range(25):
        answers += driven.get(A, data_packet(number))
    assert answers == [(A, wire.build_srtla_ack(list(range(s, s + 10)))) for s in (0, 10)]
    assert [data for _, data in driven.receiver.datagrams_to_srt()] == [data_packet(n) for n in range(25)]
    assert driven.receiver.next_timer() == driven.now + FLUSH_AFTER_S
    assert driven.after(FLUSH_AFTER_S) == [(A, wire.build_srtla_ack(list(range(20, 25))))]
    assert driven.after(FLUSH_AFTER_S) == []


@pytest.mark.parametrize("size", [2, 10, 32, 38, 100])
def test_a_keepalive_is_echoed_byte_for_byte(size: int) -> None:
    driven = Driven()
    driven.group(A)
    keepalive = (b"\x90\x00" + bytes(range(1, 100)))[:size]
    assert driven.get(A, keepalive) == [(A, keepalive)]


def test_srtla_packets_never_reach_the_srt_server() -> None:
    driven = Driven()
    driven.group(A)
    for kind in (wire.KEEPALIVE, wire.SRTLA_ACK, wire.REG3, wire.REG_NGP, 0x9300, 0xA000):
        driven.get(A, kind.to_bytes(2, "big") + bytes(40))
    assert driven.receiver.datagrams_to_srt() == []


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


def test_srts_figures_of_a_stream() -> None:
    driven = Driven()
    driven.group(A)

    def server(data: bytes) -> None:
        driven.receiver.datagram_from_srt(1, data, driven.now)

    def said() -> dict[str, Any]:
        driven.now += 1
        return driven.receiver.stats(driven.now)[0]

    assert (said()["live"], said()["uptime_s"], said()["latency_ms"]) == (False, None, None)
    for kind in (INDUCTION, CONCLUSION):
        driven.get(A, handshake(kind, 5))
        server(handshake(kind, 9, to=5))
    for number in (0, 1, 3, 4):
        driven.get(A, data_packet(number))
    server(srt_nak((2, 2)))
    server(srt_ack(5))
    server(handshake(CONCLUSION, 9, to=5))  # repeated
    found = said()
    assert [found[key] for key in ("live", "uptime_s", "payload_packets")] == [True, 1, 4]
    assert [found[key] for key in ("lost_packets", "dropped_packets")] == [1, 1]
    server(srt_control(wire.SRT_SHUTDOWN))
    assert (said()["live"], said()["uptime_s"]) == (False, None)


def acked(driven: Driven, number: int) -> list[PeerAddress]:
    """Over which links an SRT ACK goes."""
    driven.receiver.datagram_from_srt(1, srt_ack(number, stamp=number), driven.now)
    return [address for address, _ in driven.receiver.datagrams_to_peers()]


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


def test_links_and_groups_expire() -> None:
    driven = Driven()
    group = driven.group(A, B)
    for _ in range(12):
        driven.after(1)
        driven.get(A, b"\x90\x00")
    left = [event for event in driven.receiver.events() if isinstance(event, LinkLeft)]
    assert [(event.address, event.reason) for event in left] == [(B, "silent for 10 s")]
    driven.after(11)
    assert [e.address for e in driven.receiver.events() if isinstance(e, LinkLeft)] == [A]
    assert driven.receiver.groups() == []
    driven.after(10)
    assert [e.id for e in driven.receiver.events() if isinstance(e, GroupRemoved)] == [group]
    assert driven.receiver.next_timer() is None


def test_a_group_without_links_is_kept_for_a_while() -> None:
    """The SRT connection lives on if all links were away for less than the SRT server's patience."""
    driven = Driven(Limits(group_timeout_s=30))
    group = driven.group(A)
    driven.after(11)
    driven.after(11)
    driven.receiver.datagram_from_srt(1, srt_ack(1), driven.now)
    assert driven.receiver.datagrams_to_peers() == []
    assert driven.reg2(B, group) == wire.REG3
    driven.get(B, data_packet(0))
    assert driven.receiver.datagrams_to_srt() == [(1, data_packet(0))]


def test_a_registration_that_nobody_follows_up_is_soon_void() -> None:
    driven = Driven()
    group = driven.reg1(A)
    assert group is not None
    driven.after(11)
    assert driven.reg2(A, group) == wire.REG_NGP


def test_an_id_is_good_only_as_it_was_issued() -> None:
    driven = Driven()
    group = driven.reg1(A)
    assert group is not None
    for position in (0, 127, 128, 133, 141, 149, 165, 200, 255):
        forged = bytearray(group)
        forged[position] ^= 1
        assert driven.reg2(A, bytes(forged)) == wire.REG_NGP
    assert driven.receiver.groups() == []
    assert driven.reg2(A, group) == wire.REG3


def test_sixteen_links_and_more() -> None:
    driven = Driven()
    group = driven.group(A)
    for port in range(31):
        assert driven.reg2(("192.0.2.1", 2000 + port), group) == wire.REG3
    assert driven.reg2(B, group) == wire.REG_ERR
    driven.after(6)
    for port in range(30):
        driven.get(("192.0.2.1", 2000 + port), b"\x90\x00")
    assert driven.reg2(B, group) == wire.REG3  # in place of the one that fell silent


def test_two_hundred_registrations_from_one_address_lock_nobody_out() -> None:
    driven = Driven()
    for port in range(200):
        assert driven.reg1(("198.51.100.1", port + 1))
    assert driven.receiver._groups == {}
    assert driven.group(A)


def test_a_flood_from_everywhere_between_reg1_and_reg2_locks_nobody_out() -> None:
    driven = Driven()
    stream = driven.group(B)
    newcomer = driven.reg1(A)
    for n in range(1000):
        assert driven.reg1((f"198.51.{n // 250}.{n % 250}", 9))
    assert newcomer is not None
    assert driven.reg2(A, newcomer) == wire.REG3
    assert driven.reg2(B, stream) == wire.REG3
    assert len(driven.receiver._groups) == 2


def test_a_registration_is_answered_with_no_more_than_it_sent() -> None:
    driven = Driven()
    for n in range(500):
        request = wire.build_registration(wire.REG1, driven.random.randbytes(256))
        ((_, answer),) = driven.get((f"198.51.100.{n % 250}", n + 1), request)
        assert len(answer) <= len(request)


def test_streams_of_one_source_are_limited_and_the_table_can_be_full() -> None:
    driven = Driven(Limits(groups=5, groups_per_source=3))
    for port in range(3):
        driven.group(("192.0.2.1", 100 + port))
    assert driven.reg1(A) is None
    assert driven.receiver.refused["quota"] == 1
    driven.group(("192.0.2.2", 1))
    driven.group(("192.0.2.3", 1))
    assert driven.reg1(("192.0.2.4", 1)) is None
    assert driven.receiver.refused["table_full"] == 1


@pytest.mark.parametrize(
    ("hosts", "others"),
    [
        ([f"192.0.2.{n}" for n in range(1, 9)], "192.0.3.1"),
        ([f"::ffff:192.0.2.{n}" for n in range(1, 9)], "::ffff:192.0.3.1"),
        ([f"2001:db8:0:{n}::1" for n in range(1, 9)], "2001:db8:1::1"),
    ],
)
def test_streams_of_one_network_are_limited(hosts: list[str], others: str) -> None:
    driven = Driven(Limits(groups_per_prefix=5))
    for host in hosts[:5]:
        driven.group((host, 1))
    assert driven.reg1((hosts[5], 1)) is None
    assert driven.group((others, 1))


def test_one_ipv6_network_is_one_source() -> None:
    driven = Driven(Limits(groups_per_source=2))
    driven.group(("2001:db8::1", 5, 0, 0))
    driven.group(("2001:db8::2", 5, 0, 0))
    assert driven.reg1(("2001:db8::3", 5, 0, 0)) is None


def test_groups_that_carry_nothing_make_room() -> None:
    """Who can receive at many addresses can fill the table, but not keep it."""
    driven = Driven(Limits(groups=3))
    streams = [("192.0.2.1", 1), ("192.0.2.2", 1)]
    for stream in streams:
        driven.group(stream)
        driven.get(stream, data_packet(0))
    driven.group(("198.51.100.1", 1))
    assert driven.reg1(A) is None
    driven.after(6)
    assert driven.group(A)
    assert {peer[0] for _, _, (peer,) in driven.receiver.groups()} == {"192.0.2.1", "192.0.2.2"}
    assert driven.receiver.refused["table_full"] == 1


def test_a_full_table_does_not_lock_out_a_sender_that_comes_back() -> None:
    returning, other, third = (("192.0.2.1", 1), ("198.51.100.1", 1), ("203.0.113.1", 1))
    driven = Driven(Limits(groups=2))
    driven.group(returning)
    driven.group(other)
    for address in (returning, other):
        driven.get(address, data_packet(0))
    driven.after(3)
    driven.get(other, data_packet(1))
    again = ("192.0.2.1", 2)
    assert driven.reg1(again) is None, "its stream may still be there"
    driven.after(3)
    driven.get(other, data_packet(2))
    assert driven.reg1(third) is None, "that is nobody's place but its own"
    driven.group(again)
    removed = [event for event in driven.receiver.events() if isinstance(event, GroupRemoved)]
    assert [event.group for event in removed] == [1]
    driven.get(other, data_packet(3))
    assert driven.receiver.links_of(2), "the other stream goes on"


def test_a_refused_source_is_not_refused_for_ever() -> None:
    driven = Driven(Limits(groups_per_source=2))
    for port in (1, 2):
        driven.group(("192.0.2.1", port))
        driven.get(("192.0.2.1", port), data_packet(0))
    assert driven.reg1(A) is None
    driven.after(11)
    driven.after(11)
    assert driven.group(A)


def test_a_known_id_cannot_take_a_link_away_from_its_group() -> None:
    driven = Driven()
    driven.group(A)
    attackers = driven.group(("198.51.100.1", 1))
    assert driven.reg2(A, attackers) == wire.REG_ERR
    driven.get(A, data_packet(0))
    assert [number for number, _ in driven.receiver.datagrams_to_srt()] == [1]


def test_a_restarted_sender_on_the_same_port_moves_to_its_new_group() -> None:
    driven = Driven()
    driven.group(A)
    group = driven.reg1(A)
    assert group is not None
    assert driven.reg2(A, group) == wire.REG3
    driven.get(A, data_packet(0))
    assert [number for number, _ in driven.receiver.datagrams_to_srt()] == [2]


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


def test_strangers_are_told_once_a_second_and_never_more_than_they_sent() -> None:
    driven = Driven()
    assert driven.get(A, data_packet(0)) == [(A, wire.REG_NGP_PACKET)]
    assert driven.get(A, data_packet(1)) == []
    assert driven.get(B, b"\x90\x00") == [(B, b"\x92\x11")], "never more than came"
    assert driven.get(("192.0.2.9", 1), b"\x90") == []
    assert driven.get(("192.0.2.9", 1), b"") == []
    driven.now += 1.0
    assert driven.get(A, data_packet(2)) == [(A, wire.REG_NGP_PACKET)]
    assert driven.receiver.datagrams_to_srt() == []


def test_an_srt_caller_without_srtla_is_named_now_and_then() -> None:
    driven = Driven()
    call = handshake(INDUCTION, 501)
    assert driven.get(A, call) == [(A, wire.REG_NGP_PACKET)], (
        "it may be a sender that we do not know any more"
    )
    assert driven.receiver.events() == []
    for _ in range(12):
        driven.now += 0.25
        driven.get(A, call)
        driven.get(B, call)
    assert driven.receiver.events() == [PlainCaller(A)]
    assert driven.receiver.refused["plain_srt"] > 12
    driven.get(B, data_packet(1))
    assert driven.receiver.events() == []
    driven.now += 10
    for _ in range(2):
        driven.get(B, call)
    assert driven.receiver.events() == [PlainCaller(B)]


def test_a_flood_of_strangers_needs_bounded_memory_and_answers() -> None:
    driven = Driven()
    answers = 0
    for n in range(5000):
        answers += len(driven.get((f"198.51.{n // 250}.{n % 250}", 9), b"\x90\x00"))
    assert answers == 1024
    assert len(driven.receiver._strangers) == 1024


def test_restored_groups_go_on() -> None:
    driven = Driven()
    numbers = driven.receiver.restore([(bytes(256), [A, B]), (b"x" * 256, [A])], driven.now)
    assert numbers == [1, 2]
    driven.get(B, data_packet(0))
    assert driven.receiver.datagrams_to_srt() == [(1, data_packet(0))]
    assert driven.reg2(A, bytes(256)) == wire.REG3


def test_a_restored_link_that_had_registered_needs_no_credit() -> None:
    driven = Driven()
    driven.group(A, B)
    assert driven.receiver.registrant(1) == A
    assert driven.receiver.registrant(2) is None
    driven = Driven()
    driven.receiver.restore([(bytes(256), [A, B])], driven.now)
    assert driven.receiver.registrant(1) is None
    driven.receiver.prove(A)
    assert driven.receiver.registrant(1) == A
    for number in range(100):
        driven.receiver.datagram_from_srt(1, data_packet(number), driven.now)
    assert [to for to, _ in driven.receiver.datagrams_to_peers()] == [A] * 100


def test_statistics_tell_what_the_sender_tells() -> None:
    driven = Driven()
    driven.group(A, B)
    told = wire.build_keepalive(wire.Keepalive(1, 3, 20000, 12, 45, 6, 125000))
    driven.get(A, told)
    driven.get(A, b"\x90\x00")
    (group,) = driven.receiver.stats(driven.now)
    first, second = group["links"]
    assert first["sender"] == {
        "link": 3,
        "rtt_ms": 45,
        "window": 20000,
        "in_flight": 12,
        "naks": 6,
        "bitrate_bps": 1000000,
    }
    assert "sender" not in second


def test_addresses_as_people_read_them() -> None:
    assert format_address(("192.0.2.1", 5)) == "192.0.2.1:5"
    assert format_address(("::ffff:192.0.2.1", 5, 0, 0)) == "192.0.2.1:5"
    assert format_address(("2001:db8::1", 5, 0, 0)) == "[2001:db8::1]:5"


junk = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda kind, rest: kind.to_bytes(2, "big") + rest,
        st.sampled_from([0x8002, 0x8003, 0x9000, 0x9100, 0x9200, 0x9201, 0x9202, 0x9211, 0x9300, 0xFFFF]),
        st.one_of(st.binary(max_size=80), st.binary(min_size=256, max_size=256)),
    ),
    st.builds(data_packet, st.integers(0, 2**31 - 1), size=st.just(20)),
)
peers = st.sampled_from([A, B, VICTIM, ("2001:db8::1", 5, 0, 0)])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.one_of(peers, st.integers(0, 3)), junk, st.floats(0, 4)), max_size=60))
def test_no_datagram_breaks_it(steps: list[tuple[PeerAddress | int, bytes, float]]) -> None:
    limits = Limits(groups=6, groups_per_source=4, links=3)
    driven = Driven(limits)
    driven.group(A)
    receiver = driven.receiver
    for source, data, wait in steps:
        if isinstance(source, int):
            receiver.datagram_from_srt(source, data, driven.now)
        else:
            driven.get(source, data)
        driven.after(wait)
        assert len(receiver._groups) <= limits.groups
        assert set(receiver._by_number.values()) == set(receiver._groups.values())
        tickets = [group.ticket for group in receiver._groups.values()]
        tags = [tag for ticket in tickets for tag in (ticket.source, ticket.prefix)]
        assert receiver._counts == Counter(tags)
        assert {a for g in receiver._groups.values() for a in g.links} == set(receiver._peers)
        assert all(len(group.links) <= limits.links for group in receiver._groups.values())
        assert all(peer in receiver._peers.values() for peer in receiver._flushes)
        assert all(len(peer.unacknowledged) < 10 for peer in receiver._peers.values())
        receiver.stats(driven.now)


# --- encoders that start again ------------------------------------------------------------------------------


class Called(Driven):
    """A receiver with one group, and SRT handshakes over its link A."""

    def __init__(self) -> None:
        super().__init__()
        self.group(A, B)
        self.receiver.events()

    def call(self, caller: int, address: PeerAddress = A) -> list[tuple[int, bytes]]:
        """An SRT caller begins; what goes to the SRT server."""
        self.receiver.datagram_from_peer(address, handshake(INDUCTION, caller), self.now)
        return self.receiver.datagrams_to_srt()

    def connect(self, number: int, caller: int, server: int) -> None:
        """The rest of the handshakes, and a data packet."""
        self.receiver.datagram_from_srt(number, handshake(INDUCTION, 0), self.now)
        self.receiver.datagram_from_peer(A, handshake(CONCLUSION, caller), self.now)
        self.receiver.datagram_from_srt(number, handshake(CONCLUSION, server), self.now)
        self.get(A, data_packet(1))
        assert {to for to, _ in self.receiver.datagrams_to_srt()} == {number}
        assert self.replaced() == []

    def replaced(self) -> list[CallerReplaced]:
        return [event for event in self.receiver.events() if isinstance(event, CallerReplaced)]


def test_an_encoder_that_starts_again_ends_the_connection_before() -> None:
    driven = Called()
    assert driven.call(501) == [(1, handshake(INDUCTION, 501))]
    driven.connect(1, 501, 9001)
    driven.now += 0.31
    assert driven.call(502) == [(2, handshake(INDUCTION, 502))], "it comes from another port"
    (event,) = driven.replaced()
    assert event.group == 1
    assert (wire.packet_type(event.shutdown), wire.destination_of(event.shutdown)) == (
        wire.SRT_SHUTDOWN,
        9001,
    )
    assert driven.call(502, B) == [(2, handshake(INDUCTION, 502))], "repeated: the same caller"
    driven.connect(2, 502, 9002)
    driven.now += 1
    assert driven.call(502) == [(2, handshake(INDUCTION, 502))], "a late copy"
    assert driven.replaced() == []
    assert driven.call(503) == [(3, handshake(INDUCTION, 503))]
    assert [wire.destination_of(event.shutdown) for event in driven.replaced()] == [9002]
    assert [(number, links) for number, _, links in driven.receiver.groups()] == [(3, [A, B])]
    driven.receiver.datagram_from_srt(1, srt_control(wire.SRT_SHUTDOWN), driven.now)
    assert driven.receiver.datagrams_to_peers() == [], "that connection is over"


def test_a_stream_that_flows_is_not_ended_by_a_handshake() -> None:
    driven = Called()
    driven.call(501)
    driven.connect(1, 501, 9001)
    for _ in range(20):
        driven.now += 0.1
        driven.receiver.datagrams_from_peers(
            [(B, data_packet(1)), (A, handshake(INDUCTION, 666)), (B, srt_control(wire.SRT_ACKACK))],
            driven.now,
        )
    assert driven.replaced() == []
    driven.receiver.datagrams_to_srt()
    driven.receiver.heard(A, 5, 6000, driven.now + 0.15)  # by the compiled data path
    driven.now += 0.4
    assert driven.call(666) == [(1, handshake(INDUCTION, 666))]
    driven.now += 0.1
    assert driven.call(666) == [(2, handshake(INDUCTION, 666))]


def test_a_caller_that_came_back_at_once_is_not_ended_by_a_late_copy_of_its_handshake() -> None:
    """The SRT server had ended the connection before, so its port is free for the next."""
    driven = Called()
    driven.call(501)
    driven.connect(1, 501, 9001)
    driven.now += 0.1
    assert driven.call(502) == [(1, handshake(INDUCTION, 502))]
    driven.connect(1, 502, 9002)
    driven.now += 0.5
    assert driven.call(502) == [(1, handshake(INDUCTION, 502))]
    assert driven.replaced() == []


def test_an_encoder_that_was_refused_or_never_answered_leaves_nothing_to_end() -> None:
    driven = Called()
    driven.call(501)
    driven.receiver.datagram_from_srt(1, handshake(1002, 9001), driven.now)
    driven.now += 1
    assert driven.call(502) == [(1, handshake(INDUCTION, 502))]
    assert driven.replaced() == []


def test_an_encoder_that_starts_again_after_a_restart_of_the_receiver() -> None:
    driven = Driven()
    driven.receiver.restore([(bytes(256), [A, B])], driven.now)
    driven.get(A, data_packet(5))  # for socket 7
    driven.get(B, data_packet(6))
    driven.receiver.datagrams_to_srt()
    driven.now += 1
    driven.receiver.datagram_from_peer(A, handshake(INDUCTION, 501), driven.now)
    (event,) = driven.receiver.events()
    assert isinstance(event, CallerReplaced)
    assert wire.destination_of(event.shutdown) == 7
    assert driven.receiver.datagrams_to_srt() == [(2, handshake(INDUCTION, 501))]


# --- one of several processes -------------------------------------------------------------------------------


def worker() -> Receiver:
    return Receiver(random.Random(3).randbytes, 50.0, secret=bytes(32), worker=True)


def test_a_worker_passes_on_what_is_not_its_own() -> None:
    one = worker()
    reg1 = wire.build_registration(wire.REG1, bytes(256))
    join = wire.build_registration(wire.REG2, bytes(256))
    one.datagrams_from_peers([(A, reg1), (A, join), (B, data_packet(1))], 50.0)
    assert one.datagrams_elsewhere() == [(A, reg1), (A, join), (B, data_packet(1))]
    assert one.datagrams_elsewhere() == []
    assert one.datagrams_to_peers() == []


def test_a_worker_takes_what_it_is_handed() -> None:
    one = worker()
    group = one.tickets.issue(bytes(128), A, 50.0)
    one.datagram_handed(A, wire.build_registration(wire.REG2, group), 50.0)
    assert one.datagrams_to_peers() == [(A, wire.REG3_PACKET)]
    one.datagram_handed(A, data_packet(1), 50.0)
    one.datagram_handed(B, data_packet(1), 50.0)  # of nobody here: not even passed on again
    assert one.datagrams_to_srt() == [(1, data_packet(1))]
    assert one.datagrams_elsewhere() == []
    assert list(one.links_of(1)) == [A]
    assert list(one.links_of(2)) == []
    one.forget(A, 51.0)
    assert list(one.links()) == []
    assert isinstance(one.events()[-1], GroupRemoved)
    one.forget(A, 51.0)
    assert one.events() == []


def test_a_link_that_may_not_leave_its_group_is_told_so() -> None:
    one = worker()
    one.refuse_link(A)
    assert one.datagrams_to_peers() == [(A, wire.REG_ERR_PACKET)]
    assert one.refused["link_conflict"] == 1


def test_what_the_compiled_data_path_has_forwarded_counts() -> None:
    driven = Driven()
    driven.group(A)
    assert (driven.receiver.group_of(A), driven.receiver.group_of(B)) == (1, None)
    before = driven.receiver.credit_of(A)
    driven.receiver.heard(A, 5, 6000, driven.now + 1)
    driven.receiver.heard(B, 5, 6000, driven.now + 1)
    (group,) = driven.receiver.stats(driven.now + 1)
    assert (group["packets"], group["bytes"], group["links"][0]["packets"]) == (5, 6000, 5)
    assert group["links"][0]["idle_s"] == 0.0
    assert driven.receiver.credit_of(A) == before + 6000 + 5 * UDP_OVERHEAD, "the rest is the data path's"
    driven.receiver.spend(A, before)
    assert driven.receiver.credit_of(A) == 6000 + 5 * UDP_OVERHEAD


def answered(receiver: Receiver, group: int, latency_ms: int) -> None:
    """The SRT server accepts the group's caller, with this latency."""
    extension = struct.pack("!HHIIHH", 2, 3, 0x10501, 0xBF, latency_ms, 0)
    receiver.datagram_from_srt(group, srt_control(wire.SRT_HANDSHAKE, bytes(48) + extension), 51.0)


def test_packets_may_wait_as_the_shortest_latency_allows() -> None:
    receiver = Receiver(random.Random(1).randbytes, 50.0)
    assert receiver.patience() == 0.0
    receiver.restore([(bytes(256), [A]), (b"x" * 256, [B])], 50.0)
    assert receiver.patience() == 0.0, "no latency is known"
    answered(receiver, 1, 1000)
    assert receiver.patience() == 0.0, "one is not"
    answered(receiver, 2, 300)
    assert receiver.patience() == pytest.approx(0.02 * 0.3)
    receiver.forget(B, 51.0)
    assert receiver.patience() == PATIENCE_MOST_S
    receiver.datagram_from_srt(1, srt_control(wire.SRT_HANDSHAKE, bytes(48)), 52.0)
    assert receiver.patience() == PATIENCE_MOST_S, "a handshake that does not tell"
    answered(receiver, 1, 120)
    assert receiver.patience() == pytest.approx(0.02 * 0.12)


# --- the key ------------------------------------------------------------------------------------------------

KEY = b"0123456789abcdef"


def test_who_has_another_key_or_none_is_refused_and_logged_now_and_then() -> None:
    receiver = Receiver(random.Random(3).randbytes, 50.0, keys=[Key(KEY)], require_key=True)
    wrong = psk.first_id(b"fedcba9876543210", bytes(256))
    for group, claimed in ((wrong, True), (bytes(256), False)):
        receiver.datagram_from_peer(A, wire.build_registration(wire.REG1, group), 70.0)
        ((to, answer),) = receiver.datagrams_to_peers()
        assert (to, wire.parse_refusal(answer)) == (A, wire.REFUSED_KEY)
        assert receiver.events() == ([KeyRefused(A, claimed=True)] if claimed else [])
    assert receiver.refused["key"] == 2


def test_who_has_the_key_joins_with_a_proof() -> None:
    receiver = Receiver(random.Random(3).randbytes, 50.0, keys=[Key(KEY)], require_key=True)
    receiver.datagram_from_peer(
        A, wire.build_registration(wire.REG1, psk.first_id(KEY, bytes(range(256)))), 50.0
    )
    ((_, answer),) = receiver.datagrams_to_peers()
    issued = wire.parse_registration(answer)
    assert issued is not None
    assert psk.is_answered(KEY, issued)
    joining = psk.joining_id(KEY, issued)
    receiver.datagram_from_peer(A, wire.build_registration(wire.REG2, joining), 50.0)
    assert receiver.datagrams_to_peers() == [(A, wire.REG3_PACKET)]
    assert receiver.groups() == [(1, joining, [A])]
    assert receiver.stats(51.0)[0]["keyed"] is True


class Keyed(Driven):
    """An open receiver that has a key."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.receiver = Receiver(self.random.randbytes, self.now, limits=limits, keys=[Key(KEY)])

    def keyed_group(self, address: PeerAddress) -> bool:
        """Whether a sender that has the key is served."""
        first = psk.first_id(KEY, self.random.randbytes(256))
        ((_, answer),) = self.get(address, wire.build_registration(wire.REG1, first))
        issued = wire.parse_registration(answer)
        if issued is None:
            return False
        return self.reg2(address, psk.joining_id(KEY, issued)) == wire.REG3

    def stream(self, address: PeerAddress, packets: int) -> None:
        for number in range(packets):
            self.get(address, data_packet(number))

    def hosts(self) -> list[str]:
        return sorted(str(peer[0]) for _, _, peers in self.receiver.groups() for peer in peers)


def test_a_sender_with_the_key_takes_the_place_of_the_least_active_of_the_fullest_network() -> None:
    driven = Keyed(Limits(groups=6))
    crowd = [(f"198.51.100.{n}", 1) for n in range(4)]
    others = [("192.0.2.1", 1), ("203.0.113.1", 1)]
    for address in [*others, *crowd]:
        driven.group(address)
    for _ in range(3):
        for position, address in enumerate([*crowd, *others]):
            driven.stream(address, 2 if position == 2 else 4 if position < 4 else 1)
        driven.after(1)
    assert driven.reg1(A) is None, "one without the key does not get in"
    driven.receiver.events()
    assert driven.keyed_group(("192.0.2.7", 7))
    assert "198.51.100.2" not in driven.hosts()
    removed = [event for event in driven.receiver.events() if isinstance(event, GroupRemoved)]
    assert [event.reason for event in removed] == ["a sender with the key took its place"]
    for port in range(5):
        assert driven.keyed_group(("192.0.2.7", 8 + port))
    assert driven.hosts() == ["192.0.2.7"] * 6
    assert not driven.keyed_group(("192.0.2.7", 99)), "no keyed one is put out"
    assert driven.receiver.refused["table_full"] == 2


def test_a_quota_puts_out_groups_of_the_same_network_only() -> None:
    driven = Keyed(Limits(groups_per_source=2))
    crowd = [("192.0.2.1", port) for port in (1, 2)]
    for address in [("203.0.113.1", 1), *crowd]:
        driven.group(address)
    for address in crowd:
        driven.stream(address, 5)
    assert driven.reg1(A) is None
    assert driven.keyed_group(A)
    assert driven.hosts() == ["192.0.2.1", "192.0.2.1", "203.0.113.1"]


def test_an_idle_sender_with_the_key_keeps_its_place_against_those_without() -> None:
    driven = Keyed(Limits(groups=2))
    assert driven.keyed_group(("192.0.2.7", 7))
    driven.group(("198.51.100.1", 1))
    driven.after(6)
    driven.get(("192.0.2.7", 7), b"\x90\x00")
    driven.get(("198.51.100.1", 1), b"\x90\x00")
    driven.group(("198.51.100.2", 1))
    assert driven.hosts() == ["192.0.2.7", "198.51.100.2"]


def test_restored_groups_count_for_their_networks() -> None:
    driven = Driven(Limits(groups_per_source=2))
    driven.receiver.restore([(bytes(256), [A]), (b"x" * 256, [B])], driven.now)
    driven.get(A, data_packet(0))
    driven.get(B, data_packet(0))
    assert driven.reg1(("192.0.2.1", 5)) is None
    assert driven.reg1(("192.0.2.2", 5))


def test_a_group_that_is_full_takes_a_new_link_for_one_that_has_fallen_silent() -> None:
    driven = Driven(Limits(links=2))
    group = driven.group(A, B)
    late = ("192.0.2.1", 1003)
    assert driven.reg2(late, group) == wire.REG_ERR
    driven.now += 6
    driven.get(A, b"\x90\x00")
    assert driven.reg2(late, group) == wire.REG3
    assert set(driven.receiver.links()) == {A, late}


# --- names of streams ---------------------------------------------------------------------------------------


def named(receiver: Receiver) -> list[tuple[str, str]]:
    return [(group["stream"], group["stream_id"]) for group in receiver.stats(60.0)]


def test_a_stream_has_the_name_of_its_id_when_the_srt_server_has_accepted_it() -> None:
    driven = Driven()
    driven.group(A, B)
    driven.receiver.events()
    assert named(driven.receiver) == [("192.0.2.1", "")], "where it comes from"
    driven.get(B, handshake(CONCLUSION, 501, stream_id="live/feed1"))
    assert named(driven.receiver) == [("192.0.2.1", "")], "anybody could say so"
    driven.receiver.datagram_from_srt(1, handshake(CONCLUSION, 9001, to=501), driven.now)
    (event,) = driven.receiver.events()
    assert isinstance(event, StreamAccepted)
    assert event.group == 1
    assert event.stream.startswith("live/~")
    assert named(driven.receiver) == [(event.stream, "live/feed1")]
    assert driven.receiver.stream_id_of(1) == "live/feed1"
    assert driven.receiver.stream_id_of(7) == ""
    driven.after(30)
    names = {event.stream for event in driven.receiver.events() if isinstance(event, LinkLeft | GroupRemoved)}
    assert names == {event.stream}


def test_ids_that_are_no_secret_are_names() -> None:
    driven = Driven()
    driven.receiver = Receiver(driven.random.randbytes, driven.now, show_stream_ids=True)
    driven.group(A)
    driven.get(A, handshake(CONCLUSION, 501, stream_id="live/feed1"))
    driven.receiver.datagram_from_srt(1, handshake(CONCLUSION, 9001, to=501), driven.now)
    assert named(driven.receiver) == [("live/feed1", "live/feed1")]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ],
)
def test_a_stream_without_an_id_is_named_by_its_source(host: str, name: str) -> None:
    driven = Driven()
    driven.group((host, 5, 0, 0), A)
    assert named(driven.receiver) == [(name, "")]


def test_a_restored_group_keeps_its_name() -> None:
    driven = Driven()
    (number, other) = driven.receiver.restore([(bytes(256), [A]), (bytes([1]) * 256, [B, VICTIM])], 50.0)
    driven.receiver.prove(VICTIM)
    driven.receiver.restore_stream_id(number, "live/feed1")
    driven.receiver.restore_stream_id(other, "")
    assert [name.partition("~")[0] for name, _ in named(driven.receiver)] == ["live/", "203.0.113.99"]


def test_the_loss_of_a_stream_is_that_of_its_links_lately() -> None:
    driven = Driven()
    driven.group(A, B)

    def look(naks: int | None, packets: int = 90) -> object:
        if naks is not None:
            driven.get(A, wire.build_keepalive(wire.Keepalive(1, 1, 20, 1, 1, naks, 1)))
        for number in range(packets):
            driven.get(B, data_packet(number))
        driven.now += 1
        (group,) = driven.receiver.stats(driven.now)
        return group["loss_pct"]

    assert look(None) is None, "the sender does not tell"
    assert look(500) == 0.0, "what was before is not known"
    assert look(520) == 6.9  # 20 of 290
    assert look(520, 10) == 6.7
    for _ in range(7):
        look(520)
    assert look(520) == 2.4  # 20 of 840
    assert look(520) == 0.0, "ten seconds ago"
    assert look(5) == 0.0, "a link that began anew"


# --- several SRT servers ------------------------------------------------------------------------------------


class Routing(Driven):
    """A receiver with two SRT servers and one group, whose link is A."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

        def route(stream_id: str) -> int:
            self.asked.append(stream_id)
            return int(stream_id.startswith("b"))

        self.receiver = Receiver(self.random.randbytes, self.now, route=route)
        self.group(A, B)
        self.receiver.events()

    def out(self) -> list[tuple[int, bytes]]:
        return self.receiver.datagrams_to_srt()

    def cookie(self, caller: int) -> int:
        """Begin, as an SRT caller does."""
        ((to, answer),) = self.get(A, handshake(INDUCTION, caller))
        assert (to, wire.is_induction(answer), wire.destination_of(answer)) == (A, True, caller)
        assert self.out() == [], "the server is not known yet"
        return wire.cookie_of(answer)

    def conclude(self, caller: int, stream_id: str, cookie: int) -> bytes:
        asks = wire.with_cookie(handshake(CONCLUSION, caller, stream_id=stream_id), cookie)
        assert self.get(B, asks) == []
        return asks

    def server(self, number: int, kind: int, caller: int, cookie: int = 0) -> list[bytes]:
        answer = wire.with_cookie(handshake(kind, 9000 + caller, to=caller), cookie)
        self.receiver.datagram_from_srt(number, answer, self.now)
        return [data for _, data in self.receiver.datagrams_to_peers()]

    def connect(self, number: int, caller: int, stream_id: str) -> None:
        self.conclude(caller, stream_id, self.cookie(caller))
        assert self.out() == [(number, wire.build_induction(caller))]
        assert self.server(number, INDUCTION, caller, 7) == []
        ((to, asks),) = self.out()
        assert (to, wire.cookie_of(asks), wire.parse_stream_id(asks)) == (number, 7, stream_id.encode())
        assert len(self.server(number, CONCLUSION, caller)) == 1, "to the caller"


def test_the_stream_id_says_to_which_srt_server_a_caller_goes() -> None:
    driven = Routing()
    driven.connect(1, 501, "b/feed")
    routed, accepted = driven.receiver.events()
    assert routed == Routed(1, 1)
    assert isinstance(accepted, StreamAccepted)
    assert driven.asked == ["b/feed"]
    assert driven.receiver.stream_id_of(1) == "b/feed"
    driven.get(A, data_packet(5))
    assert driven.out() == [(1, data_packet(5))]


def test_a_conclusion_that_is_repeated_gets_a_fresh_cookie_each_time() -> None:
    driven = Routing()
    cookie = driven.cookie(501)
    for _ in range(3):
        driven.conclude(501, "a", cookie)
        assert driven.out() == [(1, wire.build_induction(501))], "the server may have been away"
    assert driven.server(1, INDUCTION, 501, 7) == []
    assert [wire.cookie_of(data) for _, data in driven.out()] == [7]
    assert driven.server(1, INDUCTION, 501, 8) == [], "a copy"
    assert driven.out() == []
    driven.server(1, CONCLUSION, 501)
    driven.conclude(501, "a", cookie)
    assert driven.out() == [(1, wire.build_induction(501))], "the server's answer was lost"
    driven.server(1, INDUCTION, 501, 9)
    assert [wire.cookie_of(data) for _, data in driven.out()] == [9]
    assert {type(event) for event in driven.receiver.events()} == {Routed, StreamAccepted}


def test_forged_handshakes_reach_no_server() -> None:
    driven = Routing()
    driven.connect(1, 501, "a")
    driven.receiver.events()
    driven.conclude(502, "b", 12345)
    driven.conclude(501, "b", 12345)
    driven.get(A, handshake(0, 501))
    driven.get(A, handshake(REJECTION, 501))
    assert driven.get(A, handshake(INDUCTION, 501)[:63]) == [], "cut off"
    assert driven.out() == []
    assert driven.receiver.events() == []
    assert driven.asked == ["a"]


def test_the_next_caller_may_go_to_another_server() -> None:
    driven = Routing()
    driven.connect(1, 501, "a")
    driven.get(A, data_packet(5))
    driven.out()
    driven.receiver.events()
    cookie = driven.cookie(502)
    driven.conclude(502, "b", cookie)
    assert driven.out() == [], "the one before still sends"
    assert driven.receiver.events() == []
    driven.now += CALLER_QUIET_S + 0.01
    driven.conclude(502, "b", cookie)
    replaced, routed = driven.receiver.events()
    assert isinstance(replaced, CallerReplaced)
    assert replaced.shutdown == wire.build_shutdown(9501)
    assert routed == Routed(2, 1)
    assert driven.out() == [(2, wire.build_induction(502))]
