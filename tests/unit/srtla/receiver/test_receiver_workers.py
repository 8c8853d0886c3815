"""The receiver alone: as one of several processes, and beside the compiled data path."""

from __future__ import annotations

import random
import struct

import pytest

from netbond.srtla import wire
from netbond.srtla.receiver.events import GroupRemoved
from netbond.srtla.receiver.groups import UDP_OVERHEAD
from netbond.srtla.receiver.receiver import PATIENCE_MOST_S, Receiver
from tests.srtla_util import data_packet, srt_control
from tests.unit.srtla.receiver.driven_receiver import A, B, Driven


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


def test_of_what_is_handed_over_only_a_join_and_packets_of_links_count() -> None:
    driven = Driven()
    driven.group(A)
    packet = data_packet(0x00010000)  # its second byte is that of a REG2
    driven.receiver.datagram_handed(A, packet, driven.now)
    assert driven.receiver.datagrams_to_srt() == [(1, packet)]
    for data in (packet, b"\x90\x01", wire.build_registration(wire.REG1, bytes(256))):
        driven.receiver.datagram_handed(B, data, driven.now)
    assert driven.receiver.datagrams_to_srt() == []
    assert driven.receiver.datagrams_to_peers() == []
    assert driven.receiver.refused["unknown_peer"] == 0
