"""What a receiver tells of its groups and links."""

from __future__ import annotations

from netbond.srtla import wire
from netbond.srtla.receiver.events import GroupRemoved, LinkLeft
from netbond.srtla.receiver.room import Limits
from tests.srtla_util import data_packet, srt_ack
from tests.unit.srtla.receiver.driven_receiver import A, B, Driven


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
