"""The sender alone: how it registers, and what forged, stale and unhappy answers do to it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from netbond.srtla import wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.registration import psk
from netbond.srtla.sender import LATE_NGP_S, REFUSED_BACKOFF_S, REG2_TIMEOUT_S, Sender
from netbond.srtla.senderevents import LinkDown, Refused, Unproven
from tests.srtla_util import data_packet
from tests.unit.srtla.driven_sender import ERR, NGP, REG3, Driven


def test_the_dance() -> None:
    driven = Driven()
    assert driven.sent() == [(1, wire.REG2), (2, wire.REG2)]  # probes
    assert driven.hears(2, NGP) == [(2, wire.REG1)]
    assert driven.hears(1, NGP) == []  # the quickest has it already
    group = driven.sender._probe_id[:128] + bytes(128)
    assert driven.hears(2, b"\x92\x01" + group) == [(1, wire.REG2), (2, wire.REG2)]
    assert driven.sender.usable_links == 0  # not before REG3
    assert driven.hears(1, REG3) == [(1, wire.KEEPALIVE)]
    assert driven.sender.usable_links == 1


def test_reg1_is_repeated_then_another_link_gets_its_turn() -> None:
    driven = Driven()
    driven.after(0)
    driven.hears(1, NGP)
    assert driven.after(1) == [(1, wire.REG1)]
    sent = driven.after(REG2_TIMEOUT_S)
    assert sent == [(2, wire.REG2)]
    assert driven.hears(2, NGP) == [(2, wire.REG1)]


def test_reg2_with_a_foreign_first_half_is_not_believed() -> None:
    driven = Driven()
    driven.hears(1, NGP)
    driven.hears(1, b"\x92\x01" + bytes(256))
    assert driven.sender.group is None


def test_reg3_without_a_group_is_nothing() -> None:
    driven = Driven()
    driven.hears(1, REG3)
    assert driven.sender.usable_links == 0


def test_reg_err_is_no_sign_of_life_and_is_waited_for_longer_each_time() -> None:
    driven = Driven(links=1)
    driven.after(0)
    driven.hears(1, NGP)
    waits = []
    for _ in range(7):
        driven.hears(1, ERR)
        waits.append(next(e.wait_s for e in driven.sender.events() if isinstance(e, Refused)))
        assert driven.after(waits[-1] - 0.01) == []
        assert driven.after(1.02) == [(1, wire.REG2)]
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]
    assert waits[-1] == REFUSED_BACKOFF_S[1]
    assert driven.sender.usable_links == 0


def test_reg_err_on_one_link_leaves_the_stream_on_the_other() -> None:
    driven = Driven()
    driven.hears(1, NGP)
    driven.hears(1, b"\x92\x01" + driven.sender._probe_id[:128] + bytes(128))
    driven.hears(1, REG3)
    driven.hears(2, ERR)
    for number in range(10):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    assert {number for number, kind in driven.sent() if kind < 0x8000} == {1}


@pytest.mark.parametrize("size", [2, 32, 40])
def test_short_and_padded_answers_are_understood(size: int) -> None:
    driven = Driven(links=1)
    driven.sent()
    assert driven.hears(1, NGP[:2].ljust(size, b"\0")) == [(1, wire.REG1)]
    driven.hears(1, b"\x92\x01" + driven.sender._probe_id[:128] + bytes(128))
    driven.hears(1, ERR[:2].ljust(size, b"\0"))
    assert any(isinstance(event, Refused) for event in driven.sender.events())
    driven.hears(1, REG3[:2].ljust(size, b"\0"))
    assert driven.sender.usable_links == 1


def test_no_control_packet_is_so_small_that_it_gets_lost() -> None:
    driven = Driven(links=1)
    probe = driven.sender.datagrams_to_links()
    driven.sender.datagram_from_receiver(1, NGP, driven.now)
    first = driven.sender.datagrams_to_links()
    driven.sender.datagram_from_receiver(
        1, b"\x92\x01" + driven.sender._probe_id[:128] + bytes(128), driven.now
    )
    join = driven.sender.datagrams_to_links()
    driven.sender.datagram_from_receiver(1, REG3, driven.now)
    keepalive = driven.sender.datagrams_to_links()
    ours = [len(data) for _, data in (*probe, *first, *join, *keepalive)]
    assert len(ours) == 4
    assert min(ours) >= 32
    assert {len(packet) for packet in (NGP, ERR, REG3, wire.build_refusal(wire.REFUSED_KEY))} == {32}


def test_the_late_answer_to_a_probe_does_not_end_a_young_group() -> None:
    driven = Driven()
    driven.hears(1, NGP)
    driven.hears(1, b"\x92\x01" + driven.sender._probe_id[:128] + bytes(128))
    group = driven.sender.group
    driven.hears(2, NGP)
    assert driven.sender.group == group
    driven.now += LATE_NGP_S
    driven.hears(2, NGP)
    assert driven.sender.group == group, "it may be forged, and the receiver's answer on its way"
    driven.after(0.2)
    assert driven.sender.group is None


def test_a_link_to_another_receiver_does_not_end_the_group_of_the_others() -> None:
    """A balancer, or a name whose addresses are two hosts. It ends with the last link that is up."""
    driven = Driven()
    driven.hears(1, NGP)
    driven.hears(1, b"\x92\x01" + driven.sender._probe_id[:128] + bytes(128))
    driven.hears(1, REG3)
    group = driven.sender.group
    driven.sender.events()
    for _ in range(20):
        sent = driven.after(0.5)
        if (1, wire.KEEPALIVE) in sent:
            driven.hears(1, wire.build_srtla_ack([1]))
        driven.hears(2, NGP)  # sooner than anything over the first link
    assert (driven.sender.group, driven.sender.usable_links) == (group, 1)
    assert driven.sender.events() == []
    assert driven.stats(2)["reason"] == "the receiver knows our other links, but not this one"
    for _ in range(10):  # the first receiver has ended
        driven.after(0.5)
        driven.hears(2, NGP)
    assert driven.sender.group is None
    assert driven.hears(2, NGP) == []
    driven.hears(2, b"\x92\x01" + driven.sender._probe_id[:128] + bytes(128))
    driven.hears(2, REG3)
    assert driven.sender.usable_links == 1


def test_a_forged_no_such_group_is_a_question_and_no_more() -> None:
    """Thousands of them, for two seconds: one question each half second, and the link stays up."""
    driven = Driven()
    driven.register()
    group = driven.sender.group
    driven.sender.events()
    driven.sent()
    questions = []
    for step in range(2000):
        driven.now += 0.001
        questions += [driven.now for entry in driven.hears(1, NGP) if entry == (1, wire.REG2)]
        if step % 50 == 49:  # the round trip takes 50 ms
            driven.hears(1, REG3)
        driven.sender.handle_timer(driven.now)
        questions += [driven.now for entry in driven.sent() if entry == (1, wire.REG2)]
    assert len(questions) == 4
    assert driven.sender.events() == []
    assert (driven.sender.group, driven.sender.usable_links) == (group, 2)


@pytest.mark.parametrize("sign", ["echo", "ack", "reg3"])
def test_any_sign_of_life_outweighs_no_such_group(sign: str) -> None:
    driven = Driven()
    driven.register()
    driven.sender.events()
    driven.after(0.05)
    assert driven.hears(1, NGP) == [(1, wire.REG2)]
    driven.hears(1, NGP)  # forged, as the first
    echo = wire.build_keepalive(wire.Keepalive(100000, 1, 0, 0, 0, 0, 0))
    driven.hears(1, {"echo": echo, "ack": wire.build_srtla_ack([1]), "reg3": REG3}[sign])
    driven.hears(1, NGP)
    for _ in range(3):
        driven.after(0.1)
    assert driven.sender.events() == []


def test_no_such_group_as_the_only_answer_gives_the_link_up() -> None:
    driven = Driven()
    driven.register()
    driven.sender.events()
    driven.after(0.05)
    driven.hears(1, NGP)
    driven.hears(1, NGP)
    for _ in range(4):
        driven.after(0.05)
        driven.hears(2, wire.build_srtla_ack([1]))
    (down,) = driven.sender.events()
    assert isinstance(down, LinkDown)
    assert (down.number, down.reason) == (1, "the receiver does not know this link")
    assert driven.sender.group is not None, "the group lives on link 2"
    assert driven.stats(1)["reason"] == "the receiver knows our other links, but not this one"
    assert driven.sender.usable_links == 1


def test_a_receiver_that_restarted_is_registered_at_anew_at_once() -> None:
    driven = Driven()
    driven.register()
    driven.after(0.05)
    for number in (1, 2):
        assert driven.hears(number, NGP) == [(number, wire.REG2)]
        driven.hears(number, NGP)
    assert (1, wire.REG1) in driven.after(0.11)
    assert driven.sender.usable_links == 0


def test_reg3_that_nobody_asked_for_is_no_sign_of_life() -> None:
    driven = Driven()
    driven.register()
    before = driven.stats(1)["silent_ms"]
    driven.now += 0.05
    driven.hears(1, REG3)
    assert driven.stats(1)["silent_ms"] == int(str(before)) + 50


def test_a_join_leaves_when_the_echo_of_a_keepalive_is_overdue() -> None:
    """A NAT gave the link another port, and the receiver says nothing to strangers: only REG2 helps."""
    driven = Driven()
    driven.register()
    driven.sender.events()
    assert (1, wire.KEEPALIVE) in driven.after(0.1)
    for number in range(4):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    assert driven.sent() == [(1, 0), (2, 0)] * 2
    sent = []
    for _ in range(4):
        driven.hears(2, wire.build_srtla_ack([1, 3]))
        sent += driven.after(0.05)
    assert (1, wire.REG2) in sent
    assert (2, wire.REG2) not in sent
    driven.sender.datagram_from_receiver(1, REG3, driven.now)
    again = [data for _, data in driven.sender.datagrams_to_links()]
    assert again == [data_packet(0), data_packet(2)], "the receiver has dropped them"
    assert driven.sender.events() == []
    # While signs of life come, nothing is overdue.
    sent = []
    for _ in range(20):
        driven.hears(1, wire.build_srtla_ack([1]))
        sent += driven.after(0.1)
    assert (1, wire.REG2) not in sent


# --- the key ------------------------------------------------------------------------------------------------

KEY = b"0123456789abcdef"


@pytest.mark.parametrize("require", [False, True])
def test_a_receiver_that_does_not_show_the_key(require: bool) -> None:
    sender = Sender(random.Random(1).randbytes, Classic(), 0.0, key=KEY, require_key=require)
    sender.set_links([LinkSpec("usb0", "10.0.0.10")], 0.0)
    sender.link_opened(1, 0.0)
    sender.datagram_from_receiver(1, NGP, 0.0)
    sender.events()
    answer = wire.build_registration(wire.REG2, sender._probe_id[:128] + bytes(128))
    sender.datagram_from_receiver(1, answer, 0.0)
    assert sender.events()[0] == Unproven(used=not require)
    assert (sender.group is None) is require


def test_a_receiver_that_shows_the_key_is_joined_with_a_proof() -> None:
    sender = Sender(random.Random(1).randbytes, Classic(), 0.0, key=KEY, require_key=True)
    sender.set_links([LinkSpec("usb0", "10.0.0.10")], 0.0)
    sender.link_opened(1, 0.0)
    sender.datagram_from_receiver(1, NGP, 0.0)
    signed = sender._probe_id[:128] + bytes(96)
    group = signed + psk.receiver_tag(KEY, signed)
    sender.datagram_from_receiver(1, wire.build_registration(wire.REG2, group), 0.0)
    assert sender.group == psk.joining_id(KEY, group)


@pytest.mark.parametrize(("key", "why"), [(KEY, "it has another key"), (None, "it wants a key")])
def test_a_refusal_for_the_key_says_so(key: bytes | None, why: str) -> None:
    sender = Sender(random.Random(1).randbytes, Classic(), 0.0, key=key)
    sender.set_links([LinkSpec("usb0", "10.0.0.10")], 0.0)
    sender.link_opened(1, 0.0)
    sender.events()
    sender.datagram_from_receiver(1, wire.build_refusal(wire.REFUSED_KEY), 0.0)
    (refused,) = sender.events()
    assert isinstance(refused, Refused)
    assert refused.why == f"refused by the receiver: {why}"
    assert not sender.has_events()


def test_forged_refusals_before_each_answer_put_registration_off_but_do_not_prevent_it() -> None:
    driven = Driven(links=1)
    group = driven.sender._probe_id[:128] + bytes(128)
    answers = {wire.REG1: b"\x92\x01" + group, wire.KEEPALIVE: b""}
    for _ in range(200):
        sent = driven.after(0.1)
        driven.hears(1, *[ERR] * 5)
        for _, kind in sent:
            sent += driven.hears(1, answers.get(kind, NGP if driven.sender.group is None else REG3))
        if driven.sender.usable_links:
            break
    assert driven.sender.usable_links == 1
    assert driven.now - 100 < 12


def test_a_refusal_that_nobody_asked_for_puts_nothing_off() -> None:
    driven = Driven(links=1)
    driven.after(0)
    driven.hears(1, ERR)
    for _ in range(10):
        driven.now += 0.1
        driven.hears(1, ERR)
    assert len([e for e in driven.sender.events() if isinstance(e, Refused)]) == 1
    assert driven.after(1.1) == [(1, wire.REG2)], "2 s after the first"


def test_no_such_group_on_a_link_that_is_down_does_not_end_the_stream_of_another() -> None:
    """Forged at the very moment when the link that is up has not been heard since."""
    driven = Driven()
    driven.register()
    group = driven.sender.group
    for _ in range(50):
        driven.hears(1, wire.build_srtla_ack([1]))
        driven.after(0.1)
    assert driven.sender.usable_links == 1
    driven.sender.events()
    for _ in range(100):
        sent = [*driven.after(0.1), *driven.hears(2, NGP)]
        driven.now += 0.02
        driven.hears(1, *[REG3 for number, kind in sent if (number, kind) == (1, wire.REG2)])
    assert driven.sender.group == group
    assert not any(isinstance(event, LinkDown) for event in driven.sender.events())


def test_a_receiver_that_restarted_is_found_out_though_another_link_has_just_died() -> None:
    """That one is asked, says nothing, and so does not speak for the group."""
    driven = Driven()
    driven.register()
    since = driven.now
    while driven.sender.group is not None:
        driven.hears(1, NGP)
        driven.after(0.1)
        assert driven.now - since < 0.6
    assert driven.sender._pending is not None
    assert driven.sender._pending.number == 1


def test_no_such_group_before_the_answer_does_not_end_a_group_that_comes_back() -> None:
    driven = Driven(links=1)
    driven.register()
    group = driven.sender.group
    assert (1, wire.REG2) in driven.after(5)
    driven.hears(1, NGP)
    driven.now += 0.05
    driven.sender.handle_timer(driven.now)
    driven.hears(1, REG3)
    driven.after(0.1)
    assert (driven.sender.group, driven.sender.usable_links) == (group, 1)


def test_a_group_that_is_refused_three_times_in_a_row_is_given_up() -> None:
    """Somebody who has seen its id may have filled it."""
    driven = Driven()
    driven.register()
    driven.after(5)
    for _ in range(3):
        assert driven.sender.group is not None
        driven.hears(1, ERR)
        driven.after(10.1)
    assert driven.sender.group is None
    assert (1, wire.REG1) in driven.hears(1, NGP)


def test_a_group_in_which_a_link_is_up_is_not_given_up_though_that_link_carries_nothing() -> None:
    driven = Driven()
    driven.register()
    group = driven.sender.group
    driven.sender.set_links([replace(driven.specs[0], enabled=False), driven.specs[1]], driven.now)
    driven.sender.link_opened(2, driven.now)
    for _ in range(400):
        driven.hears(1, wire.build_srtla_ack([1]))
        driven.hears(2, ERR)
        driven.after(0.1)
    assert driven.stats(2)["reason"] == "refused by the receiver"
    assert (driven.sender.group, driven.stats(1)["state"]) == (group, "up")
