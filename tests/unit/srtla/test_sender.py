"""The sender alone: what forged, stale and unhappy answers do to it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.advice import Advice
from netbond.srtla.classic.classic import Classic
from netbond.srtla.link import Link
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.registration import psk
from netbond.srtla.schedule import WINDOW_DOWN, WINDOW_START, Bond, Capacity, LinkState
from netbond.srtla.sender import (
    LATE_NGP_S,
    MAX_SAMPLES,
    PORT_CLOSED_RETRY_S,
    REFUSED_BACKOFF_S,
    REG2_TIMEOUT_S,
    Advised,
    LinkDown,
    LinkLimited,
    LinkRemoved,
    ReceiverSilent,
    Refused,
    Sender,
    Unproven,
)
from tests.srtla_util import CONCLUSION, data_packet, handshake, induction, srt_ack, srt_nak

NGP = wire.REG_NGP_PACKET
ERR = wire.REG_ERR_PACKET
REG3 = wire.REG3_PACKET


class Driven:
    """A sender with links open, driven by hand."""

    def __init__(self, links: int = 2) -> None:
        self.now = 100.0
        self.sender = Sender(random.Random(1).randbytes, Classic(), self.now)
        self.specs = [LinkSpec(f"usb{n}", f"10.0.{n}.10") for n in range(1, links + 1)]
        self.sender.set_links(self.specs, self.now)
        for number in range(1, links + 1):
            self.sender.link_opened(number, self.now)

    def sent(self) -> list[tuple[int, int]]:
        """(link, packet type) of what goes out now."""
        return [(number, wire.packet_type(data)) for number, data in self.sender.datagrams_to_links()]

    def after(self, seconds: float) -> list[tuple[int, int]]:
        self.now += seconds
        self.sender.handle_timer(self.now)
        return self.sent()

    def hears(self, number: int, *datagrams: bytes) -> list[tuple[int, int]]:
        for data in datagrams:
            self.sender.datagram_from_receiver(number, data, self.now)
        return self.sent()

    def register(self) -> None:
        self.sent()
        self.hears(1, NGP)
        group = self.sender._probe_id[:128] + bytes(128)
        self.hears(1, b"\x92\x01" + group)
        for number in range(1, len(self.specs) + 1):
            self.hears(number, REG3)
        assert self.sender.usable_links == len(self.specs)

    def stats(self, number: int) -> dict[str, object]:
        stats: dict[str, object] = self.sender.stats(self.now)["links"][number - 1]
        return stats


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
    assert driven.sender.group is None


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


def test_a_new_srt_connection_begins_with_nothing_in_flight() -> None:
    driven = Driven(links=1)
    driven.register()
    for number in range(1000, 1010):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    assert driven.stats(1)["in_flight"] == 10
    driven.sender.datagram_from_caller(induction(), driven.now)
    assert driven.stats(1)["in_flight"] == 0


def test_keepalives_leave_each_second_on_busy_links_too() -> None:
    driven = Driven(links=1)
    driven.register()
    kinds = []
    for number in range(30):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
        driven.hears(1, wire.build_srtla_ack([number]))
        kinds += [kind for _, kind in driven.after(0.1)]
    assert kinds.count(wire.KEEPALIVE) == 3


def test_an_echo_counts_only_if_we_sent_it() -> None:
    driven = Driven(links=1)
    driven.register()
    driven.hears(1, wire.build_keepalive(wire.Keepalive(1, 1, 0, 0, 0, 0, 0)))
    driven.hears(1, b"\x90\x00" + bytes(30))
    assert driven.stats(1)["rtt_ms"] is None


def test_a_forged_loss_list_is_harmless_and_cheap() -> None:
    driven = Driven(links=1)
    driven.register()
    for number in range(100):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    driven.hears(1, srt_ack(90))
    start = time.perf_counter()
    for stamp in range(20):
        driven.hears(1, srt_nak(*[(0, (1 << 30) - 1)] * 180, stamp=stamp))
    assert time.perf_counter() - start < 1.0
    assert driven.stats(1)["lost"] == 10  # those that were in flight, each once
    assert driven.stats(1)["in_flight"] == 0


def test_a_nak_copy_lowers_a_window_once_and_reaches_the_caller_once() -> None:
    driven = Driven()
    driven.register()
    driven.sender.datagram_from_caller(data_packet(0), driven.now)
    ((number, _),) = [entry for entry in driven.sent() if entry[1] < 0x8000]
    for each in (1, 2, 1):
        driven.hears(each, srt_nak((0, 0)))
    assert driven.sender.datagrams_to_caller() == [srt_nak((0, 0))]
    assert driven.stats(number)["window"] == WINDOW_START - WINDOW_DOWN


def test_a_nak_from_before_a_repeat_could_arrive_is_not_counted_against_it() -> None:
    driven = Driven(links=1)
    driven.register()
    driven.now += 0.1
    ping = wire.build_keepalive(wire.Keepalive(int((driven.now - 0.1) * 1000), 1, WINDOW_START, 0, 0, 0, 0))
    driven.hears(1, ping)
    assert driven.stats(1)["rtt_ms"] == 100
    driven.sender.datagram_from_caller(data_packet(0), driven.now)
    driven.now += 0.1
    driven.hears(1, srt_nak((0, 0)))
    driven.sender.datagram_from_caller(data_packet(0, again=True), driven.now)
    driven.now += 0.02
    driven.hears(1, srt_nak((0, 0), stamp=1))
    assert (driven.stats(1)["lost"], driven.stats(1)["in_flight"]) == (1, 1)
    driven.now += 0.1
    driven.hears(1, srt_nak((0, 0), stamp=2))
    assert (driven.stats(1)["lost"], driven.stats(1)["in_flight"]) == (2, 0)


def test_every_arrival_widens_every_window_though_an_srt_ack_came_first() -> None:
    """SRT's ACK comes down the quickest link; an SRTLA ACK behind it still tells that links deliver. Without
    this, slow links' windows only ever shrink and the quickest link is driven into its queue."""
    driven = Driven()
    driven.register()
    for number in range(10):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    driven.hears(1, srt_ack(10))
    driven.hears(2, wire.build_srtla_ack(list(range(10))))
    assert [driven.stats(number)["window"] for number in (1, 2)] == [WINDOW_START + 10] * 2


class Swallowing:
    """Two links with 20 ms each way to a receiver that echoes and names what arrives; one has a limit."""

    def __init__(self, *, acks: bool) -> None:
        self.driven = Driven()
        self.driven.register()
        self.limit = 1200
        self.acks = acks
        self.arrived: list[list[int]] = [[], []]
        self._due: list[tuple[float, int, bytes]] = []
        self._step = 0

    def run(self, seconds: float) -> None:
        """Stream at 1.5 Mbit/s."""
        driven = self.driven
        for _ in range(round(seconds / 0.007)):
            driven.now += 0.007
            driven.sender.datagram_from_caller(data_packet(self._step), driven.now)
            self._step += 1
            driven.sender.handle_timer(driven.now)
            for number, data in driven.sender.datagrams_to_links():
                if number == 2 and len(data) > self.limit:
                    continue
                sequence = wire.data_sequence(data)
                if sequence is None:
                    self._due.append((driven.now + 0.04, number, data))
                    continue
                self.arrived[number - 1].append(sequence)
                if self.acks:
                    self._due.append((driven.now + 0.04, number, wire.build_srtla_ack([sequence])))
            while self._due and self._due[0][0] <= driven.now:
                _, number, data = self._due.pop(0)
                driven.sender.datagram_from_receiver(number, data, driven.now)

    def limited(self) -> list[int | None]:
        events = self.driven.sender.events()
        return [event.largest for event in events if isinstance(event, LinkLimited)]


@pytest.mark.parametrize("acks", [True, False])
def test_a_link_that_swallows_full_size_packets_is_found_shown_and_used_again_when_it_does_not(
    acks: bool,
) -> None:
    path = Swallowing(acks=acks)
    path.driven.sender.events()
    path.run(0.8)
    assert path.limited() == [wire.REG_LENGTH]
    assert path.arrived[1] == []
    path.run(1.0)
    sent = path.driven.stats(2)["packets"]
    for _ in range(10):
        path.run(1.0)
        shown = path.driven.stats(2)
    assert path.limited() == [], "said once"
    assert shown["loss_pct"] == 100.0
    assert (
        shown["reason"] == f"packets of more than {path.driven.sender._links[2].largest} bytes do not arrive"
    )
    assert shown["state"] == "up"
    assert isinstance(sent, int)
    assert isinstance(shown["packets"], int)
    assert shown["packets"] - sent < 50, "questions only"
    # All packets reach the receiver, those too that the link swallowed at first.
    assert sorted(path.arrived[0])[:-1] == list(range(path._step - 1))
    path.driven.after(1.2)
    for _ in range(14):
        path.driven.now += 0.1
        path.driven.sender.handle_timer(path.driven.now)
        sizes = [len(data) for _, data in path.driven.sender.datagrams_to_links()]
        assert max(sizes, default=0) <= wire.REG_LENGTH, "nothing is asked without a stream"
    path.limit = 1500
    path.run(3.0)
    assert path.limited() == [None]
    assert path.driven.stats(2)["reason"] == ""
    assert path.arrived[1]


def test_a_link_that_registers_again_begins_without_a_limit() -> None:
    path = Swallowing(acks=True)
    path.run(2.0)
    link = path.driven.sender._links[2]
    assert link.largest < 1500
    path.driven.sender.link_opened(2, path.driven.now)
    path.driven.hears(2, REG3)
    assert (link.largest, link.passing.limit) == (wire.MTU, None)


def test_a_stalled_link_is_avoided_and_asked_often() -> None:
    driven = Driven()
    driven.register()
    for number in range(10):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    driven.sent()
    sent, answers = [], []
    for _ in range(6):
        driven.now += 0.1
        # SRT's ACKs come down both links, but only link 2 proves that our packets arrive.
        driven.hears(1, srt_ack(0, stamp=int(driven.now * 10)))
        driven.hears(2, wire.build_srtla_ack([99]))
        driven.sender.handle_timer(driven.now)
        for number, data in driven.sender.datagrams_to_links():
            sent.append((number, wire.packet_type(data)))
            answers += [data] if sent[-1] == (1, wire.KEEPALIVE) else []
    assert [number for number, kind in sent if kind < 0x8000] == [2] * 5  # those that link 1 carried
    assert len(answers) >= 2, "asked before it was judged"
    assert str(driven.stats(1)["reason"]).startswith("stalled")
    for number in range(10, 30):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    assert {number for number, kind in driven.sent() if kind < 0x8000} == {2}
    assert (1, wire.KEEPALIVE) in driven.after(0.2)
    driven.hears(1, b"\x90\x00" + bytes(30))  # a keepalive of the receiver's own proves nothing
    assert driven.stats(1)["reason"] != ""
    driven.hears(1, answers[-1])
    assert driven.stats(1)["reason"] == ""


def test_a_link_that_carries_little_is_not_taken_for_stalled() -> None:
    driven = Driven(links=1)
    driven.register()
    for number in range(40):  # a receiver that acknowledges tens only, one packet each 0.3 s
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
        for _ in range(3):
            driven.now += 0.1
            driven.sender.handle_timer(driven.now)
            for _, data in driven.sender.datagrams_to_links():
                if wire.packet_type(data) == wire.KEEPALIVE:
                    driven.sender.datagram_from_receiver(1, data, driven.now + 0.05)
            assert driven.stats(1)["reason"] == ""
    assert driven.sender.stats(driven.now)["resent"] == 0


def test_a_full_buffer_sends_the_packet_by_another_link() -> None:
    driven = Driven()
    driven.register()
    driven.sender.datagram_from_caller(data_packet(0), driven.now)
    ((number, _),) = driven.sent()
    driven.sender.not_sent(number, [data_packet(0)], driven.now)
    assert driven.sent() == [(3 - number, 0)]
    assert driven.stats(number)["in_flight"] == 0


def test_two_keepalives_of_one_millisecond_are_two() -> None:
    driven = Driven(links=1)
    driven.register()
    driven.sender.ask(driven.sender._order[0], driven.now)
    driven.sender.ask(driven.sender._order[0], driven.now)
    out = [data for _, data in driven.sender.datagrams_to_links()]
    stamps = [keepalive.timestamp for data in out if (keepalive := wire.parse_keepalive(data))]
    assert len(set(stamps)) == len(stamps) == 2
    link = driven.sender._order[0]
    waiting = len(link.pending_keepalives)
    driven.now += 0.05
    driven.hears(1, out[0])
    driven.hears(1, out[1])
    assert len(link.pending_keepalives) == waiting - 2
    assert driven.stats(1)["rtt_ms"] == 50


def test_a_keepalive_that_did_not_leave_is_not_waited_for() -> None:
    driven = Driven(links=1)
    driven.register()
    link = driven.sender._order[0]
    before = (link.packets, link.bytes, dict(link.pending_keepalives))
    driven.sender.ask(link, driven.now)
    ((_, data),) = driven.sender.datagrams_to_links()
    driven.sender.not_sent(1, [data], driven.now)
    assert (link.packets, link.bytes, link.pending_keepalives) == before
    assert link.probed_at == 0.0, "the next may leave at once"


def test_a_registration_that_did_not_leave_lets_another_link_try() -> None:
    driven = Driven()
    driven.after(0)
    assert driven.hears(1, NGP) == [(1, wire.REG1)]
    driven.sender.not_sent(1, [wire.build_registration(wire.REG1, driven.sender._probe_id)], driven.now)
    assert driven.hears(2, NGP) == [(2, wire.REG1)]


def test_a_join_that_did_not_leave_has_no_answer() -> None:
    driven = Driven()
    driven.hears(1, NGP)
    driven.hears(1, b"\x92\x01" + driven.sender._probe_id[:128] + bytes(128))
    group = driven.sender.group
    assert group is not None
    for number in (1, 2):
        driven.sender.not_sent(number, [wire.build_registration(wire.REG2, group)], driven.now)
    driven.now += LATE_NGP_S
    driven.hears(2, NGP)
    assert driven.sender.group == group, "nobody was asked"
    driven.hears(2, REG3)
    assert driven.sender.usable_links == 0


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
    assert sender.group is None
    assert wire.packet_type(sender.datagrams_to_links()[-1][1]) == wire.REG1


def test_duplicates_in_the_list_are_one_link_and_twins_are_two() -> None:
    driven = Driven(links=0)
    entries = [("a", "usb0"), ("b", "usb1"), ("c", "usb0")]
    driven.sender.set_links([LinkSpec(label, "10.0.0.10", device) for label, device in entries], driven.now)
    assert [link["label"] for link in driven.sender.stats(driven.now)["links"]] == ["a", "b"]


junk = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda kind, rest: kind.to_bytes(2, "big") + rest,
        st.sampled_from(
            [0x8000, 0x8002, 0x8003, 0x9000, 0x9100, 0x9201, 0x9202, 0x9210, 0x9211, 0x9300, 0xFFFF]
        ),
        st.binary(max_size=300),
    ),
    st.builds(lambda a, b: srt_nak((a, b)), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
    st.builds(srt_ack, st.integers(0, 60)),
    st.sampled_from([NGP, ERR, REG3]),
    st.builds(data_packet, st.integers(0, 2**31 - 1), size=st.just(20)),
)
Action = Callable[[Driven], object]


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.integers(0, 4), junk, st.floats(0, 3)), max_size=60))
def test_no_datagram_breaks_it(registered: bool, steps: list[tuple[int, bytes, float]]) -> None:
    driven = Driven(links=3)
    if registered:
        driven.register()
    sender = driven.sender
    for number, data, wait in steps:
        if number == 0:
            sender.datagram_from_caller(data, driven.now)
        else:
            driven.hears(number, data)  # link 4 does not exist
        driven.after(wait)
        sender.datagrams_to_caller()
        links: list[Link] = sender._order
        for link in links:
            assert link.in_flight >= 0
            assert 1000 <= link.window <= 60000
            assert len(link.pending_keepalives) <= 64
        assert len(sender._copies) <= 512
        due = sender.next_timer()
        assert due is None or due > driven.now - 1e-6


# --- the list of links, and what is asked of the sender -----------------------------------------------------


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


def test_a_link_is_metered_as_long_as_the_list_says_so() -> None:
    driven = Driven(links=0)
    for metered in (True, False):
        driven.sender.set_links([LinkSpec("a", "10.0.0.10", metered=metered)], driven.now)
        assert [link.metered for link in driven.sender._order] == [metered]
        assert [link["metered"] for link in driven.sender.stats(driven.now)["links"]] == [metered]


def test_numbers_of_links_that_are_gone_mean_nothing() -> None:
    driven = Driven(1)
    driven.sent()
    driven.sender.link_opened(9, driven.now)
    driven.sender.datagram_from_receiver(9, NGP, driven.now)
    driven.sender.not_sent(9, [data_packet(1)], driven.now)
    driven.sender.port_closed(9, driven.now)
    assert not driven.sender.link_failed(9, "no such link", driven.now)
    assert driven.sent() == []


def test_a_socket_that_is_opened_anew_registers_anew() -> None:
    driven = Driven(1)
    driven.register()
    driven.sender.events()
    driven.sender.link_opened(1, driven.now)
    (down,) = driven.sender.events()
    assert isinstance(down, LinkDown)
    assert down.reason == "its socket was opened anew"
    assert driven.sent() == [(1, wire.REG2)]
    assert driven.sender.state() == "registering"


def test_nothing_is_held_and_no_latency_is_known_at_first() -> None:
    driven = Driven(2)
    driven.register()
    assert (driven.sender.held, driven.sender.latency, driven.sender.patience()) == (0, None, 0.0)


def test_what_is_too_short_for_srt_is_ignored() -> None:
    driven = Driven(1)
    driven.register()
    driven.sender.datagram_from_caller(b"short", driven.now)
    assert (driven.sender.ignored, driven.sender.packets, driven.sent()) == (1, 0, [])


def test_repeats_of_the_caller_are_counted() -> None:
    driven = Driven(1)
    driven.register()
    driven.sender.datagram_from_caller(data_packet(1, again=True), driven.now)
    assert driven.sender.stats(driven.now)["retransmitted"] == 1


def test_a_group_id_has_256_bytes() -> None:
    with pytest.raises(ValueError, match="a group id has 256 bytes"):
        Sender(random.Random(1).randbytes, Classic(), 0.0, group=b"short")


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


def test_the_stream_has_the_id_of_the_caller_that_the_server_accepted() -> None:
    driven = Driven()
    driven.register()
    driven.sender.datagram_from_caller(handshake(CONCLUSION, 501, stream_id="live/feed1"), driven.now)
    assert driven.sender.stream_ids.accepted == ""
    driven.hears(2, handshake(CONCLUSION, 9001, to=501))
    assert driven.sender.stream_ids.accepted == "live/feed1"


def test_a_handshake_reaches_the_caller_and_the_carrier() -> None:
    driven = Driven(1)
    driven.register()
    driven.sender.datagrams_to_caller()
    driven.hears(1, induction())
    assert driven.sender.datagrams_to_caller() == [induction()]


def test_what_an_encoder_says_of_keyframes_goes_no_further() -> None:
    driven = Driven(1)
    driven.register()
    driven.sender.datagram_from_caller(b"\xc1\0\0\0\x32", driven.now)
    driven.sender.datagram_from_caller(data_packet(7), driven.now)
    assert (driven.sender.ignored, driven.sender.packets, driven.sent()) == (0, 1, [(1, 0)])


# --- advice -------------------------------------------------------------------------------------------------


class Advising(Classic):
    """The classic mode, with advice of our choice."""

    def __init__(self) -> None:
        super().__init__()
        self.bond: Bond | None = None

    def advised(self, now: float) -> Bond | None:
        return self.bond

    def capacity(self, link: LinkState, now: float) -> Capacity | None:
        return Capacity(1e6 * link.number, "measured", 0.5, 0.02)


def advised(driven: Driven) -> list[Advice]:
    return [event.advice for event in driven.sender.events() if isinstance(event, Advised)]


def test_advice_is_given_out_five_times_a_second_and_at_once_when_it_falls() -> None:
    driven = Driven()
    carrier = driven.sender._carrier = Advising()
    carrier.connect(driven.sender)
    driven.register()
    driven.after(0.01)
    assert advised(driven) == []
    assert driven.sender.advice is None
    carrier.bond = Bond(2.5e6, 3e6, 0.1, 1.0)
    for _ in range(100):
        driven.after(0.01)
    told = advised(driven)
    assert len(told) == pytest.approx(5, abs=1)
    assert told[0].advised_bits_per_second == 2_500_000
    assert [link.capacity_bits_per_second for link in told[0].links] == [1_000_000, 2_000_000]
    assert (told[0].queued_ms, told[0].latency_ms, told[0].links[0].queued_ms) == (100, 1000, 20)
    driven.after(0.2)
    advised(driven)
    carrier.bond = Bond(2.3e6, 3e6, 0.1, 1.0)  # 8 % less
    driven.after(0.01)
    assert advised(driven) == []
    carrier.bond = Bond(2.2e6, 3e6, 0.1, 1.0)
    driven.after(0.01)
    assert [each.advised_bits_per_second for each in advised(driven)] == [2_200_000]
    carrier.bond = None
    driven.after(0.01)
    assert driven.sender.advice is None


def test_statistics_have_what_was_advised_last() -> None:
    driven = Driven()
    carrier = driven.sender._carrier = Advising()
    carrier.connect(driven.sender)
    driven.register()
    carrier.bond = Bond(2.5e6, 3e6, 0.1, 1.0)
    driven.after(0.5)
    stats = driven.sender.stats(driven.now)
    assert stats["advised_bits_per_second"] == 2_500_000
    assert stats["capacity_bits_per_second"] == 3_000_000
    assert [link["capacity_is"] for link in stats["links"]] == ["measured"] * 2
    assert [link["capacity_age_ms"] for link in stats["links"]] == [500] * 2


def test_some_data_packets_are_kept_for_whoever_wants_to_know_what_the_stream_is_made_of() -> None:
    sender = Driven().sender
    for number in range(16):
        sender.datagram_from_caller(srt_ack(0, stamp=number), 100.0)
        sender.datagram_from_caller(data_packet(number, again=True), 100.0)
    assert list(sender.samples) == []  # neither control packets nor repeats
    for number in range(8 * MAX_SAMPLES + 80):
        sender.datagram_from_caller(data_packet(number), 100.0)
    sequences = [wire.data_sequence(sample) for sample in sender.samples]
    assert sequences == [8 * n - 1 for n in range(11, MAX_SAMPLES + 11)]
