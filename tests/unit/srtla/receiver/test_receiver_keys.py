"""The receiver alone: senders with a key, and the places that they get."""

from __future__ import annotations

import random

from netbond.srtla import wire
from netbond.srtla.receiver.events import GroupRemoved, KeyRefused
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.receiver.room import Limits
from netbond.srtla.registration import psk
from netbond.srtla.registration.keyring import Key
from tests.srtla_util import data_packet
from tests.unit.srtla.receiver.driven_receiver import A, B, Driven

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


def test_a_link_with_the_key_is_not_moved_to_a_group_without_one() -> None:
    """Somebody who reads along can register a group in its name, and knows its id."""
    driven = Keyed(Limits())
    assert driven.keyed_group(A)
    group = driven.reg1(A)
    assert group is not None
    assert driven.reg2(A, group) == wire.REG_ERR
    assert [links for _, _, links in driven.receiver.groups()] == [[A]]
