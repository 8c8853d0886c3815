"""Which groups a receiver has room for, and which make way."""

from __future__ import annotations

from collections import Counter

import pytest

from netbond.srtla import wire
from netbond.srtla.receiver.events import GroupRemoved
from netbond.srtla.receiver.groups import Group, Peer
from netbond.srtla.receiver.room import Limits, no_room
from netbond.srtla.registration.ticket import Ticket
from tests.srtla_util import data_packet
from tests.unit.srtla.receiver.driven_receiver import A, B, Driven


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


def test_a_sender_with_the_key_gets_the_place_of_one_without_in_the_fullest_network() -> None:
    groups = []
    for number, (prefix, activity) in enumerate([(b"a", 9.0), (b"b", 3.0), (b"b", 2.0), (b"b", 5.0)]):
        group = Group(number, bytes(256), 0.0, Ticket(bytes([number]), prefix), packets=1, activity=activity)
        group.links[A] = Peer(A, group, 0.0, 10.0)
        groups.append(group)
    counts = Counter(group.ticket.prefix for group in groups)
    full, wanted = Limits(groups=4), Ticket(b"new", b"c")
    assert no_room(groups, counts, full, wanted, 10.0, keyed=False) == ("table_full", None)
    refusal, gone = no_room(groups, counts, full, wanted, 10.0, keyed=True)
    assert (refusal, gone) == ("", (groups[2], "a sender with the key took its place"))
    for group in groups:
        group.keyed = True
    assert no_room(groups, counts, full, wanted, 10.0, keyed=True) == ("table_full", None)
    assert no_room(groups, counts, Limits(groups=5), wanted, 10.0, keyed=False) == ("", None)


def crowd(*of: tuple[bytes, bytes, int, float, bool]) -> tuple[list[Group], Counter[bytes]]:
    """Groups with a source, a prefix, packets, the time when their link was last heard, and a key or none."""
    groups = []
    for number, (source, prefix, packets, heard, keyed) in enumerate(of):
        group = Group(number, bytes(256), 0.0, Ticket(source, prefix), packets=packets, keyed=keyed)
        group.links[A] = Peer(A, group, 0.0, heard)
        groups.append(group)
    tickets = [group.ticket for group in groups]
    return groups, Counter([each.source for each in tickets] + [each.prefix for each in tickets])


NOTHING, SILENT = "it carried nothing, and there was no room", "it had fallen silent, and there was no room"


@pytest.mark.parametrize(
    ("limits", "now", "refusal", "gone", "why"),
    [
        # One of the same source makes way for its quota, ...
        (Limits(groups_per_source=1), 4.9, "quota", None, ""),
        (Limits(groups_per_source=1), 5.0, "", 1, NOTHING),
        # ... of the same prefix for that one's, ...
        (Limits(groups_per_prefix=2), 4.9, "quota", None, ""),
        (Limits(groups_per_prefix=2), 5.0, "", 1, NOTHING),
        # ... and any where the table is full.
        (Limits(groups=3), 4.9, "table_full", None, ""),
        (Limits(groups=3), 5.0, "", 0, NOTHING),
        (Limits(groups=3, half_open_s=2.0), 2.0, "", 0, NOTHING),
    ],
)
def test_who_carried_nothing_makes_way(
    limits: Limits, now: float, refusal: str, gone: int | None, why: str
) -> None:
    groups, counts = crowd((b"s", b"q", 0, 0, False), (b"s1", b"p", 0, 0, False), (b"s2", b"p", 9, 0, False))
    found = no_room(groups, counts, limits, Ticket(b"s1", b"p"), now, keyed=False)
    assert found == (refusal, None if gone is None else (groups[gone], why))


@pytest.mark.parametrize(("now", "gone"), [(9.9, None), (10.0, 1)])
def test_who_fell_silent_makes_way_for_one_of_its_own_source(now: float, gone: int | None) -> None:
    groups, counts = crowd((b"s1", b"p", 9, 0, False), (b"s2", b"p", 9, 5, False))
    found = no_room(groups, counts, Limits(groups=2), Ticket(b"s2", b"p"), now, keyed=False)
    assert found == (("table_full", None) if gone is None else ("", (groups[gone], SILENT)))


def test_an_idle_group_with_the_key_makes_way_only_for_one_with_the_key() -> None:
    groups, counts = crowd((b"s1", b"p", 0, 9, True))
    for keyed, expected in ((False, ("table_full", None)), (True, ("", (groups[0], NOTHING)))):
        assert no_room(groups, counts, Limits(groups=1), Ticket(b"s2", b"p"), 10.0, keyed=keyed) == expected
    groups[0].links.clear()
    assert no_room(groups, counts, Limits(groups=1), Ticket(b"s2", b"p"), 10.0, keyed=False)[0] == ""
