"""The sender alone: what it carries, how it watches its links, and what it says of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import flavour, wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.link import Link
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.registration import psk
from netbond.srtla.schedule import WINDOW_DOWN, WINDOW_START, Bond, Carrier, LinkState
from netbond.srtla.sender import LATE_NGP_S, MAX_SAMPLES, Sender
from netbond.srtla.senderevents import Advised, LinkAdded, LinkDown, LinkLimited, LinkRemoved, Refused
from tests.srtla_util import CONCLUSION, data_packet, handshake, induction, srt_ack, srt_nak
from tests.unit.srtla.driven_sender import ERR, NGP, REG3, Driven

PURE = pytest.mark.skipif(flavour() == "compiled", reason="compiled parts take no mode of a test's own")


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
    start = time.process_time()
    for stamp in range(20):
        driven.hears(1, srt_nak(*[(0, (1 << 30) - 1)] * 180, stamp=stamp))
    assert time.process_time() - start < 1.0
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


def test_statistics_say_the_state_and_the_group() -> None:
    driven = Driven()
    assert (driven.sender.state(), driven.sender.stats(driven.now)["group"]) == ("registering", None)
    driven.register()
    assert driven.sender.group is not None
    stats = driven.sender.stats(driven.now)
    assert (stats["state"], stats["group"]) == ("connected", driven.sender.group[:4].hex())
    for number in (1, 2):
        assert driven.sender.link_failed(number, "no device", driven.now)
    assert driven.sender.state() == "no links"
    assert not driven.sender.link_failed(1, "no device", driven.now), "it was not up any more"


def test_events_are_told_once() -> None:
    driven = Driven()
    assert driven.sender.has_events()
    driven.sender.events()
    assert not driven.sender.has_events()
    assert driven.sender.events() == []


def test_a_link_that_leaves_the_list_takes_what_waits_for_it_along() -> None:
    driven = Driven()
    driven.register()
    driven.sender.events()
    driven.after(1.1)
    driven.sender.handle_timer(driven.now + 1.1)
    driven.sender.set_links(driven.specs[1:], driven.now + 1.1)
    assert {number for number, _ in driven.sent()} == {2}
    assert driven.sender.events() == [LinkRemoved(1, driven.specs[0])], "its user knows that it is down"
    driven.hears(1, REG3)
    assert driven.sender.usable_links == 1
    driven.sender.set_links(driven.specs, driven.now)
    (added,) = driven.sender.events()
    assert added == LinkAdded(3, driven.specs[0]), "another one, with a number of its own"


def test_a_keepalive_tells_the_receiver_of_the_link() -> None:
    driven = Driven(links=1)
    driven.register()
    stamp = wire.build_keepalive(wire.Keepalive(int(driven.now * 1000), 1, 0, 0, 0, 0, 0))
    driven.now += 0.0505
    driven.hears(1, stamp)
    driven.sender.stats(driven.now)
    driven.now += 1.0
    driven.sender.handle_timer(driven.now)
    (said,) = [
        found for _, data in driven.sender.datagrams_to_links() if (found := wire.parse_keepalive(data))
    ]
    assert (said.link, said.rtt, said.window, said.in_flight, said.naks) == (1, 50, 20000, 0, 0)
    assert said.timestamp == int(driven.now * 1000)


def test_the_srt_server_may_end_the_connection() -> None:
    driven = Driven()
    driven.register()
    goodbye = wire.build_shutdown(5)
    closed = [driven.sender.caller_closed]
    driven.hears(1, goodbye)
    closed.append(driven.sender.caller_closed)
    assert driven.sender.datagrams_to_caller() == [goodbye]
    for data in (data_packet(1), goodbye):
        driven.sender.datagram_from_caller(data, driven.now)
        closed.append(driven.sender.caller_closed)
    assert closed == [False, True, False, True]


@pytest.mark.parametrize("kind", [0x9001, 0x90FF, 0x9203, 0xA000, 0xBFFF])
def test_what_is_srtlas_own_and_unknown_does_not_reach_the_caller(kind: int) -> None:
    driven = Driven()
    driven.register()
    driven.hears(1, kind.to_bytes(2, "big") + bytes(40))
    assert driven.sender.datagrams_to_caller() == []
    driven.hears(1, b"\xc0\x00" + bytes(40), b"\x8f\xff" + bytes(40), b"\x80\x01" + bytes(13))
    assert [data[:2].hex() for data in driven.sender.datagrams_to_caller()] == ["c000", "8fff"]


@PURE
def test_a_mode_is_told_of_echoes_and_asked_for_advice() -> None:
    echoes: list[tuple[int, float, int, float]] = []

    class Telling(Classic):
        """A mode that knows what the bond carries, and notes what it is told of echoes."""

        def echo(self, link: LinkState, sample: float, before: int, now: float) -> None:
            echoes.append((link.number, sample, before, now))
            super().echo(link, sample, before, now)

        def advised(self, now: float) -> Bond:
            return Bond(4_000_000.0, 5_000_000.0, 0.1, 1.0)

    driven = Driven(links=1)
    driven.sender = Sender(random.Random(1).randbytes, Telling(), driven.now)
    driven.sender.set_links(driven.specs, driven.now)
    driven.sender.link_opened(1, driven.now)
    driven.register()
    driven.sender.events()
    for number in range(3):
        driven.sender.datagram_from_caller(data_packet(number), driven.now)
    driven.sender.datagrams_to_links()
    driven.now += 1.0
    driven.sender.handle_timer(driven.now)
    out = driven.sender.datagrams_to_links()
    keepalive = next(data for _, data in out if wire.packet_type(data) == wire.KEEPALIVE)
    driven.now += 0.25
    driven.hears(1, keepalive)
    (echo,) = echoes
    assert (echo[0], echo[2], echo[3]) == (1, 3, driven.now)
    assert echo[1] == pytest.approx(0.25)
    (advised,) = [event for event in driven.sender.events() if isinstance(event, Advised)]
    assert advised.advice == driven.sender.advice
    assert advised.advice.advised_bits_per_second == 4_000_000


def test_losses_are_those_since_the_look_before() -> None:
    driven = Driven(links=1)
    driven.register()
    for first, lost, pct in ((0, 2, 20.0), (10, 0, 10.0), (20, 6, 26.7)):
        for number in range(first, first + 10):
            driven.sender.datagram_from_caller(data_packet(number), driven.now)
        if lost:
            driven.hears(1, srt_nak((first, first + lost - 1), stamp=first))
        driven.now += 1.0
        assert driven.stats(1)["loss_pct"] == pct


def test_reasons_are_those_that_were_told() -> None:
    driven = Driven()
    driven.register()
    driven.sender.events()
    driven.sender.link_failed(1, "no device", driven.now)
    assert (driven.stats(1)["state"], driven.stats(1)["reason"]) == ("error", "no device")
    driven.sender.use_another_receiver(driven.now)
    assert driven.sender.events() == [
        LinkDown(1, driven.specs[0], "no device"),
        LinkDown(2, driven.specs[1], "another receiver is used"),
    ]


def test_when_it_wants_to_be_called() -> None:
    driven = Driven(links=1)
    driven.sender.handle_timer(driven.now)
    due = driven.sender.next_timer()
    assert due == pytest.approx(driven.now + 1.0), "to register again"
    driven.register()
    driven.sender.handle_timer(driven.now)
    due = driven.sender.next_timer()
    assert due == pytest.approx(driven.now + 0.1), "to look whether the link is silent"
    driven.sender.link_failed(1, "no device", driven.now)
    assert driven.sender.next_timer() is None


def test_a_link_is_asked_whether_it_is_known_when_an_echo_is_overdue_and_not_before() -> None:
    driven = Driven(links=1)
    driven.register()
    driven.after(0)
    asked = []
    for _ in range(40):
        sent = driven.after(0.05)
        asked += [driven.now - 100 for _, kind in sent if kind == wire.REG2]
    assert 1.1 <= asked[0] + 1e-6 <= 1.25, "a keepalive left after 1 s, and an echo may take 0.1 s"
    assert asked[1] - asked[0] == pytest.approx(0.5, abs=0.11)


def test_a_link_that_is_silent_says_for_how_long() -> None:
    driven = Driven(links=1)
    driven.register()
    driven.sender.events()
    driven.now += 6.2
    driven.sender.handle_timer(driven.now)
    assert driven.sender.events() == [LinkDown(1, driven.specs[0], "silent for 6 s")]
    assert driven.stats(1)["reason"] == "silent for 6 s"
    assert (driven.stats(1)["state"], driven.stats(1)["silent_ms"]) == ("down", 6200)


def test_junk_of_the_caller_is_counted() -> None:
    driven = Driven()
    for _ in range(3):
        driven.sender.datagram_from_caller(b"junk", driven.now)
    assert driven.sender.ignored == 3


@PURE
def test_all_that_a_mode_is_told() -> None:
    told: list[tuple[object, ...]] = []
    noted = {
        "link_up", "link_down", "link_stalled", "link_limited", "control", "data", "keyframe", "srtla_ack",
        "srt_ack", "srt_nak", "handshake", "echo", "not_sent",
    }  # fmt: skip

    class Recorder(Carrier):
        """A mode that does nothing but write down what it is told."""

        def __getattribute__(self, name: str) -> Any:
            if name not in noted | {"set_links", "flush", "handle_timer", "next_timer"}:
                return super().__getattribute__(name)

            def note(*words: object, **more: object) -> None:
                plain = [each.number if isinstance(each, LinkState) else each for each in words]
                if name in noted:
                    told.append((name, *plain, *more.values()))

            return note

    driven = Driven()
    driven.sender = Sender(random.Random(1).randbytes, Recorder(), driven.now)
    driven.sender.set_links(driven.specs, driven.now)
    for number in (1, 2):
        driven.sender.link_opened(number, driven.now)
    driven.register()
    server = handshake(CONCLUSION, 7)
    steps: list[tuple[Callable[[], object], list[tuple[object, ...]]]] = [
        (lambda: None, [("link_up", 1, 100.0), ("link_up", 2, 100.0)]),
        (lambda: driven.sender.datagram_from_caller(data_packet(8), 100.5),
         [("data", 8, data_packet(8), 100.5, False)]),
        (lambda: driven.sender.datagram_from_caller(data_packet(8, again=True), 100.6),
         [("data", 8, data_packet(8, again=True), 100.6, True)]),
        (lambda: driven.sender.datagram_from_caller(induction(3), 100.7), [("control", induction(3), 100.7)]),
        (lambda: driven.sender.datagram_from_receiver(2, wire.build_srtla_ack([8, 9]), 100.8),
         [("srtla_ack", 2, (8, 9), 100.8)]),
        (lambda: driven.sender.datagram_from_receiver(2, srt_ack(9, stamp=1), 100.9),
         [("srt_ack", 2, 9, 100.9)]),
        (lambda: driven.sender.datagram_from_receiver(1, srt_ack(9, stamp=1), 101.0), []),
        (lambda: driven.sender.datagram_from_receiver(1, srt_nak((9, 12), stamp=2), 101.1),
         [("srt_nak", [(9, 12)], 101.1)]),
        (lambda: driven.sender.datagram_from_receiver(1, server, 101.2), [("handshake", server)]),
        (lambda: driven.sender.not_sent(2, [data_packet(8)], 101.3),
         [("not_sent", 2, [data_packet(8)], 101.3)]),
        (lambda: driven.sender.link_failed(2, "no device", 101.4), [("link_down", 2, 101.4)]),
        (lambda: driven.sender.link_failed(2, "no device", 101.5), []),
    ]  # fmt: skip
    for act, expected in steps:
        act()
        assert told == expected
        told.clear()
    assert driven.sender.datagrams_to_caller() == [srt_ack(9, stamp=1), server], "the mode kept the NAK"


def test_a_repeat_is_told_by_the_r_flag_alone() -> None:
    driven = Driven()
    driven.register()
    for flags in (0xC0, 0xC1, 0xC2, 0xFB):
        packet = data_packet(5)
        driven.sender.datagram_from_caller(packet[:4] + bytes([flags]) + packet[5:], driven.now)
    assert driven.sender.retransmitted == 0
    driven.sender.datagram_from_caller(data_packet(5, again=True), driven.now)
    assert driven.sender.retransmitted == 1


def test_events_name_the_link() -> None:
    driven = Driven()
    driven.hears(2, NGP)
    driven.sender.events()
    driven.hears(2, ERR)
    assert driven.sender.events() == [Refused(2, driven.specs[1], 2.0, "refused by the receiver")]
    driven.sender.use_another_receiver(driven.now)
    driven.hears(1, ERR)
    assert driven.sender.events() == [], "nothing was asked of the new one"


def test_a_sender_with_a_key_shows_it_in_its_first_id() -> None:
    key = b"0123456789abcdef"
    for own in (key, None):
        sender = Sender(random.Random(1).randbytes, Classic(), 5.0, key=own)
        sender.set_links([LinkSpec("usb0", "10.0.0.10")], 5.0)
        sender.link_opened(1, 5.0)
        ((_, probe),) = sender.datagrams_to_links()
        assert psk.is_keyed_half(key, probe[2:130]) is (own is not None)


def test_echoes_of_the_last_64_keepalives_are_known() -> None:
    driven = Driven(links=1)
    driven.register()
    driven.sender.datagrams_to_links()
    link = driven.sender._links[1]
    for _ in range(70):
        driven.now += 0.002
        driven.sender.ask(link, driven.now)
    sent = [data for _, data in driven.sender.datagrams_to_links()]
    assert len({wire.parse_keepalive(data).timestamp for data in sent}) == 70  # type: ignore[union-attr]  # all are
    assert len(link.pending_keepalives) == 64
    driven.now += 0.3
    driven.hears(1, sent[0])
    assert driven.stats(1)["rtt_ms"] is None, "forgotten"
    driven.hears(1, sent[-64])
    assert driven.stats(1)["rtt_ms"] == 300 + 63 * 2


def test_an_echo_may_take_two_round_trips() -> None:
    driven = Driven(links=1)
    driven.register()
    driven.after(0)
    driven.now += 1.0
    driven.sender.handle_timer(driven.now)
    ((_, keepalive),) = driven.sender.datagrams_to_links()
    driven.now += 0.3
    driven.hears(1, keepalive)
    asked = []
    for _ in range(40):
        sent = driven.after(0.05)
        asked += [driven.now - 100 for _, kind in sent if kind == wire.REG2]
    assert 2.59 < asked[0] < 2.8, "the next one left after 2 s"
