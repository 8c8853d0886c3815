"""The receiver alone: registration, quotas, and what strangers can make it do."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.receiver.events import GroupCreated, GroupRemoved, LinkJoined, LinkLeft, PlainCaller
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import FLUSH_AFTER_S, REMOVED_MAX, Receiver
from netbond.srtla.receiver.room import Limits
from tests.srtla_util import data_packet, handshake
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


def test_a_registration_is_answered_with_no_more_than_it_sent() -> None:
    driven = Driven()
    for n in range(500):
        request = wire.build_registration(wire.REG1, driven.random.randbytes(256))
        ((_, answer),) = driven.get((f"198.51.100.{n % 250}", n + 1), request)
        assert len(answer) <= len(request)


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


def test_the_links_of_a_sender_follow_to_the_group_that_it_registers_anew() -> None:
    driven = Driven()
    before = driven.group(A, B)
    group = driven.reg1(A)
    assert group is not None
    assert driven.reg2(B, group) == wire.REG3, "A has registered both"
    assert driven.reg2(A, group) == wire.REG3
    assert driven.receiver.links_of(2) == {B, A}
    for address in (A, B):
        assert driven.reg2(address, before) == wire.REG_NGP, "a REG2 from before, repeated by somebody"
    assert driven.receiver.links_of(2) == {B, A}


def test_a_repeated_registration_does_not_bring_a_link_back_to_the_group_before() -> None:
    driven = Driven()
    before = driven.group(A, B)
    group = driven.reg1(A)
    assert group is not None
    assert driven.reg2(A, group) == wire.REG3
    assert driven.reg2(A, before) == wire.REG_ERR, "B is there still"
    assert driven.receiver.links_of(2) == {A}


def test_a_group_that_was_removed_is_not_made_again_by_a_replay() -> None:
    driven = Driven(Limits(timeout_s=1, group_timeout_s=0.5))
    group = driven.group(A)
    for _ in range(3):
        driven.after(1)
    assert driven.receiver.groups() == []
    assert driven.reg2(A, group) == wire.REG_NGP


def test_the_link_that_registered_a_group_has_a_place_in_it() -> None:
    """Even if somebody who has seen the group's id has filled it."""
    driven = Driven(Limits(links=3))
    group = driven.group(A, B)
    foreign = [("192.0.2.66", port) for port in range(4)]
    for _ in range(12):
        driven.after(1)
        for address in foreign:
            driven.reg2(address, group)
    assert A not in driven.receiver.links()
    assert driven.reg2(B, group) == wire.REG_ERR
    assert driven.reg2(A, group) == wire.REG3
    assert len(driven.receiver.links()) == 3


def test_the_life_of_a_group_as_events() -> None:
    driven = Driven()
    group = driven.group(A, B)
    name = "192.0.2.1"
    assert driven.receiver.events() == [
        GroupCreated(1, group, name, A),
        LinkJoined(1, group, name, A),
        LinkJoined(1, group, name, B),
    ]
    for _ in range(9):
        driven.after(1.0)
    driven.get(B, b"\x90\x00")
    driven.after(0.9)
    assert driven.receiver.events() == []
    driven.after(0.1)
    assert driven.receiver.events() == [LinkLeft(1, group, name, A, "silent for 10 s")]
    for _ in range(9):
        driven.after(1.0)
    assert driven.receiver.events() == [LinkLeft(1, group, name, B, "silent for 10 s")]
    for _ in range(9):
        driven.after(1.0)
    assert driven.receiver.events() == []
    driven.after(1.0)
    assert driven.receiver.events() == [GroupRemoved(1, group, name, "no links left")]
    assert driven.receiver.stats(driven.now) == []


def test_what_is_asked_of_groups_that_are_not_there() -> None:
    driven = Driven()
    receiver = driven.receiver
    assert (receiver.server_of(1), receiver.group_of(A), receiver.registrant(1)) == (0, None, None)
    assert (receiver.stream_id_of(1), list(receiver.links_of(1))) == ("", [])
    group = driven.group(A, B)
    driven.get(A, handshake(INDUCTION, 5))
    receiver.datagram_from_srt(1, handshake(CONCLUSION, 77, to=5), driven.now)
    assert (receiver.server_of(1), receiver.group_of(B), receiver.registrant(1)) == (77, 1, A)
    assert receiver.groups() == [(1, group, [A, B])]


def test_a_link_of_an_unknown_group_may_leave_it_for_one_of_its_own() -> None:
    driven = Driven()
    issued = driven.reg1(A)
    assert issued is not None
    assert driven.receiver.may_leave(None, issued, A)
    assert not driven.receiver.may_leave(None, issued, B)


def test_of_removed_groups_the_last_thousand_are_remembered() -> None:
    driven = Driven()
    ids = []
    for port in range(1, REMOVED_MAX + 3):
        ids.append(driven.group(("192.0.2.1", port)))
        driven.receiver.forget(("192.0.2.1", port), driven.now)
    assert driven.reg2(("192.0.2.1", 1), ids[0]) == wire.REG3, "forgotten: its id is still fresh"
    assert driven.reg2(("192.0.2.1", 3), ids[2]) == wire.REG_NGP
    assert driven.reg2(("192.0.2.1", len(ids)), ids[-1]) == wire.REG_NGP


def test_what_is_read_together_is_handled_in_its_order() -> None:
    driven = Driven()
    group = driven.group(A)
    joined = wire.build_registration(wire.REG2, group)
    sent = [
        (A, data_packet(1)),
        (A, handshake(INDUCTION, 5)),
        (A, data_packet(2)),
        (B, data_packet(3)),
        (B, joined),
        (B, data_packet(4)),
        (A, b"\x90\x00"),
        (A, data_packet(5)),
    ]
    driven.receiver.datagrams_from_peers(sent, driven.now)
    to_srt = [data for _, data in driven.receiver.datagrams_to_srt()]
    assert to_srt == [data_packet(1), handshake(INDUCTION, 5), *map(data_packet, (2, 4, 5))]
    answers = driven.receiver.datagrams_to_peers()
    assert answers == [(B, wire.REG_NGP_PACKET), (B, wire.REG3_PACKET), (A, b"\x90\x00")]
    driven.after(FLUSH_AFTER_S)
    (found,) = driven.receiver.stats(driven.now)
    assert [link["packets"] for link in found["links"]] == [4, 1]


def test_a_table_that_fills_up_meanwhile_refuses_the_join() -> None:
    driven = Driven(Limits(groups=1))
    late = driven.reg1(A)
    assert late is not None
    driven.group(("203.0.113.1", 1))
    assert driven.reg2(A, late) == wire.REG_ERR
    assert driven.receiver.refused["table_full"] == 1


def test_a_sender_that_registers_anew_leaves_nothing_behind() -> None:
    driven = Driven()
    first = driven.group(A)
    driven.receiver.events()
    second = driven.group(A)
    name = "192.0.2.1"
    assert driven.receiver.events() == [
        LinkLeft(1, first, name, A, "it registered anew"),
        GroupRemoved(1, first, name, "its sender registered anew"),
        GroupCreated(2, second, name, A),
        LinkJoined(2, second, name, A),
    ]
