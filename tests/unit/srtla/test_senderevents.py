"""What a sender tells of its links."""

from __future__ import annotations

from netbond.srtla import wire
from netbond.srtla.senderevents import LinkDown, LinkRemoved
from tests.srtla_util import data_packet
from tests.unit.srtla.driven_sender import Driven


def test_a_link_that_leaves_the_list_is_gone_at_once() -> None:
    driven = Driven()
    driven.register()
    driven.sender.events()
    driven.sender.datagram_from_caller(data_packet(1), driven.now)
    driven.sender.set_links(driven.specs[1:], driven.now)
    assert driven.sender.events() == [LinkRemoved(1, driven.specs[0])]
    assert {number for number, _ in driven.sent()} <= {2}
    assert driven.sender.state() == "connected"
    driven.sender.set_links([], driven.now)
    assert driven.sender.state() == "no links"
    assert driven.sender.next_timer() is None


def test_a_silent_link_is_down_and_registers_again() -> None:
    driven = Driven(1)
    driven.register()
    driven.sender.events()
    for _ in range(45):
        sent = driven.after(0.1)
    assert any(isinstance(event, LinkDown) for event in driven.sender.events())
    assert driven.sender.state() == "registering"
    while not sent:
        sent = driven.after(0.1)
    assert sent == [(1, wire.REG2)]
