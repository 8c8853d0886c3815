"""The receiver alone: registration, quotas, and what strangers can make it do."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.receiver.receiver import (
    AMPLIFICATION,
    FLUSH_AFTER_S,
    UDP_OVERHEAD,
    GroupRemoved,
    Limits,
    LinkLeft,
    PeerAddress,
    PlainCaller,
    Receiver,
    format_address,
)
from tests.srtla_util import data_packet, handshake, srt_ack, srt_control, srt_nak
from tests.unit.srtla.receiver.driven_receiver import CONCLUSION, INDUCTION, VICTIM, A, B, Driven


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
@given(
    st.lists(st.tuples(st.one_of(peers, st.integers(0, 3)), junk, st.floats(0, 4)), max_size=60),
    st.booleans(),
)
def test_no_datagram_breaks_it(steps: list[tuple[PeerAddress | int, bytes, float]], several: bool) -> None:
    limits = Limits(groups=6, groups_per_source=4, links=3)
    driven = Driven(limits)
    if several:
        driven.receiver = Receiver(driven.random.randbytes, driven.now, limits=limits, route=len)
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
