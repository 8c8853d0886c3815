"""The sender alone: receivers that are silent, absent, left for another, or known from before."""

from __future__ import annotations

import random

import pytest

from netbond.srtla import wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.sender import PORT_CLOSED_RETRY_S, Sender
from netbond.srtla.senderevents import LinkDown, ReceiverSilent
from tests.srtla_util import data_packet
from tests.unit.srtla.driven_sender import ERR, NGP, REG3, Driven


def test_silence_on_all_links_is_reported_again_and_again() -> None:
    driven = Driven()
    silent = 0
    for _ in range(31):
        driven.after(1.0)
        silent += sum(isinstance(event, ReceiverSilent) for event in driven.sender.events())
    assert silent == 3


def test_silence_is_noticed_on_links_whose_sockets_fail_again_and_again() -> None:
    driven = Driven(links=1)
    silent = 0
    for _ in range(12):
        driven.sender.link_failed(1, "no route to the receiver", driven.now)
        driven.now += 0.5
        driven.sender.link_opened(1, driven.now)
        driven.after(0.5)
        silent += sum(isinstance(event, ReceiverSilent) for event in driven.sender.events())
    assert silent == 1


def test_a_link_without_any_answer_says_so() -> None:
    driven = Driven()
    for _ in range(2):
        driven.after(1.0)
    assert driven.stats(1)["reason"] == ""
    for _ in range(2):
        driven.after(1.0)
    assert driven.stats(1)["reason"] == "no answer from the receiver"
    driven.hears(1, NGP)
    driven.after(1.0)
    assert [driven.stats(number)["reason"] for number in (1, 2)] == ["", "no answer from the receiver"]


def test_silence_is_that_of_a_family() -> None:
    driven = Driven(links=1)
    driven.sender.set_links([*driven.specs, LinkSpec("six", "2001:db8::1")], driven.now)
    driven.sender.link_opened(2, driven.now)
    driven.register()
    silent = []
    for _ in range(150):
        driven.hears(1, wire.build_srtla_ack([1]))
        driven.after(0.1)
        silent += [event for event in driven.sender.events() if isinstance(event, ReceiverSilent)]
    assert silent == [ReceiverSilent(6, answered=False)]
    driven.hears(2, ERR)
    for _ in range(100):
        driven.hears(1, wire.build_srtla_ack([1]))
        driven.after(0.1)
        silent += [event for event in driven.sender.events() if isinstance(event, ReceiverSilent)]
    assert silent[1:] == [ReceiverSilent(6, answered=True)], "it answers, but does not take the link"


def test_an_address_where_nothing_listens_is_given_up_sooner() -> None:
    driven = Driven()
    silent = []
    for second in range(1, 5):
        for number in (1, 2) if second < 4 else ():
            driven.sender.port_closed(number, driven.now)
        driven.after(1.0)
        silent += [second for event in driven.sender.events() if isinstance(event, ReceiverSilent)]
    assert silent == [3]


def test_an_address_where_one_link_is_let_in_is_not_given_up() -> None:
    driven = Driven()
    driven.register()
    for _ in range(60):
        driven.sender.port_closed(2, driven.now)
        driven.hears(1, wire.build_srtla_ack([1]))
        driven.after(0.1)
    assert not any(isinstance(event, ReceiverSilent) for event in driven.sender.events())


def test_another_receiver_is_registered_at_anew_and_shown_nothing_of_the_one_before() -> None:
    driven = Driven()
    driven.register()
    driven.sender.events()
    group, probe = driven.sender.group, driven.sender._probe_id
    for number in range(4):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    driven.sender.use_another_receiver(driven.now)
    assert driven.sent() == [], "what waits was for the one before"
    assert [type(event) for event in driven.sender.events()] == [LinkDown, LinkDown]
    for number in (1, 2):
        driven.sender.link_failed(number, "", driven.now)
        driven.sender.link_opened(number, driven.now)
    out = driven.sender.datagrams_to_links()
    assert [(number, wire.packet_type(data)) for number, data in out] == [(1, wire.REG2), (2, wire.REG2)]
    ids = {data[2:] for _, data in out}
    assert ids == {driven.sender._probe_id}
    assert not ids & {group, probe}
    driven.register()
    assert driven.sender.group != group


def test_a_probe_is_no_part_of_anything() -> None:
    driven = Driven()
    driven.register()
    one, two = driven.sender.probe(), driven.sender.probe()
    assert wire.packet_type(one) == wire.REG2
    assert len({one[2:], two[2:], driven.sender.group, driven.sender._probe_id}) == 4


def test_time_without_any_socket_is_not_silence() -> None:
    driven = Driven(links=1)
    driven.sender.link_failed(1, "the device is not there", driven.now)
    driven.now += 60
    driven.sender.link_opened(1, driven.now)
    driven.after(1.0)
    assert not any(isinstance(event, ReceiverSilent) for event in driven.sender.events())


def test_resumes_the_group_it_is_given() -> None:
    group = bytes(range(256))
    sender = Sender(random.Random(1).randbytes, Classic(), 5.0, group=group)
    sender.set_links([LinkSpec("usb0", "10.0.0.10")], 5.0)
    sender.link_opened(1, 5.0)
    assert sender.datagrams_to_links() == [(1, wire.build_registration(wire.REG2, group))]
    sender.datagram_from_receiver(1, REG3, 5.1)
    assert sender.usable_links == 1


def test_a_link_asks_again_soon_when_nothing_listens_yet() -> None:
    driven = Driven()
    driven.sent()
    driven.sender.handle_timer(driven.now)
    driven.sent()
    driven.sender.port_closed(1, driven.now)
    due = driven.sender.next_timer()
    assert due is not None
    assert due - driven.now == pytest.approx(PORT_CLOSED_RETRY_S)
    assert driven.after(PORT_CLOSED_RETRY_S / 2) == []
    assert driven.after(PORT_CLOSED_RETRY_S) == [(1, wire.REG2), (2, wire.REG2)]


def test_a_link_that_is_up_keeps_its_pace_though_nothing_listens() -> None:
    driven = Driven()
    driven.register()
    driven.after(0)
    due = driven.sender.next_timer()
    driven.sender.port_closed(1, driven.now)
    assert driven.sender.next_timer() == due


def test_a_resumed_group_that_is_unknown_is_given_up() -> None:
    sender = Sender(random.Random(1).randbytes, Classic(), 5.0, group=bytes(256))
    sender.set_links([LinkSpec("usb0", "10.0.0.10")], 5.0)
    sender.link_opened(1, 5.0)
    sender.datagram_from_receiver(1, NGP, 5.1)
    sender.handle_timer(5.12)
    due = sender.next_timer()
    assert due is not None
    assert due < 5.25
    sender.handle_timer(5.25)
    assert sender.group is None
    assert wire.packet_type(sender.datagrams_to_links()[-1][1]) == wire.REG1
