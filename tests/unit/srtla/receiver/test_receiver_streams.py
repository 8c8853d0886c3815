"""The receiver alone: SRT connections that begin anew, the names of streams, and several SRT servers."""

from __future__ import annotations

import pytest

from netbond.srtla import wire
from netbond.srtla.receiver.events import CallerReplaced, GroupRemoved, LinkLeft, Routed, StreamAccepted
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import CALLER_QUIET_S, Receiver
from tests.srtla_util import REJECTION, data_packet, handshake, srt_control
from tests.unit.srtla.receiver.driven_receiver import CONCLUSION, INDUCTION, VICTIM, A, B, Driven

# --- encoders that start again ------------------------------------------------------------------------------


class Called(Driven):
    """A receiver with one group, and SRT handshakes over its link A."""

    def __init__(self) -> None:
        super().__init__()
        self.group(A, B)
        self.receiver.events()

    def call(self, caller: int, address: PeerAddress = A) -> list[tuple[int, bytes]]:
        """An SRT caller begins; what goes to the SRT server."""
        self.receiver.datagram_from_peer(address, handshake(INDUCTION, caller), self.now)
        return self.receiver.datagrams_to_srt()

    def connect(self, number: int, caller: int, server: int) -> None:
        """The rest of the handshakes, and a data packet."""
        self.receiver.datagram_from_srt(number, handshake(INDUCTION, 0), self.now)
        self.receiver.datagram_from_peer(A, handshake(CONCLUSION, caller), self.now)
        self.receiver.datagram_from_srt(number, handshake(CONCLUSION, server), self.now)
        self.get(A, data_packet(1))
        assert {to for to, _ in self.receiver.datagrams_to_srt()} == {number}
        assert self.replaced() == []

    def replaced(self) -> list[CallerReplaced]:
        return [event for event in self.receiver.events() if isinstance(event, CallerReplaced)]


def test_an_encoder_that_starts_again_ends_the_connection_before() -> None:
    driven = Called()
    assert driven.call(501) == [(1, handshake(INDUCTION, 501))]
    driven.connect(1, 501, 9001)
    driven.now += 0.31
    assert driven.call(502) == [(2, handshake(INDUCTION, 502))], "it comes from another port"
    (event,) = driven.replaced()
    assert event.group == 1
    assert (wire.packet_type(event.shutdown), wire.destination_of(event.shutdown)) == (
        wire.SRT_SHUTDOWN,
        9001,
    )
    assert driven.call(502, B) == [(2, handshake(INDUCTION, 502))], "repeated: the same caller"
    driven.connect(2, 502, 9002)
    driven.now += 1
    assert driven.call(502) == [(2, handshake(INDUCTION, 502))], "a late copy"
    assert driven.replaced() == []
    assert driven.call(503) == [(3, handshake(INDUCTION, 503))]
    assert [wire.destination_of(event.shutdown) for event in driven.replaced()] == [9002]
    assert [(number, links) for number, _, links in driven.receiver.groups()] == [(3, [A, B])]
    driven.receiver.datagram_from_srt(1, srt_control(wire.SRT_SHUTDOWN), driven.now)
    assert driven.receiver.datagrams_to_peers() == [], "that connection is over"


def test_a_stream_that_flows_is_not_ended_by_a_handshake() -> None:
    driven = Called()
    driven.call(501)
    driven.connect(1, 501, 9001)
    for _ in range(20):
        driven.now += 0.1
        driven.receiver.datagrams_from_peers(
            [(B, data_packet(1)), (A, handshake(INDUCTION, 666)), (B, srt_control(wire.SRT_ACKACK))],
            driven.now,
        )
    assert driven.replaced() == []
    driven.receiver.datagrams_to_srt()
    driven.receiver.heard(A, 5, 6000, driven.now + 0.15)  # by the compiled data path
    driven.now += 0.4
    assert driven.call(666) == [(1, handshake(INDUCTION, 666))]
    driven.now += 0.1
    assert driven.call(666) == [(2, handshake(INDUCTION, 666))]


def test_a_caller_that_came_back_at_once_is_not_ended_by_a_late_copy_of_its_handshake() -> None:
    """The SRT server had ended the connection before, so its port is free for the next."""
    driven = Called()
    driven.call(501)
    driven.connect(1, 501, 9001)
    driven.now += 0.1
    assert driven.call(502) == [(1, handshake(INDUCTION, 502))]
    driven.connect(1, 502, 9002)
    driven.now += 0.5
    assert driven.call(502) == [(1, handshake(INDUCTION, 502))]
    assert driven.replaced() == []


def test_an_encoder_that_was_refused_or_never_answered_leaves_nothing_to_end() -> None:
    driven = Called()
    driven.call(501)
    driven.receiver.datagram_from_srt(1, handshake(1002, 9001), driven.now)
    driven.now += 1
    assert driven.call(502) == [(1, handshake(INDUCTION, 502))]
    assert driven.replaced() == []


def test_an_encoder_that_starts_again_after_a_restart_of_the_receiver() -> None:
    driven = Driven()
    driven.receiver.restore([(bytes(256), [A, B])], driven.now)
    driven.get(A, data_packet(5))  # for socket 7
    driven.get(B, data_packet(6))
    driven.receiver.datagrams_to_srt()
    driven.now += 1
    driven.receiver.datagram_from_peer(A, handshake(INDUCTION, 501), driven.now)
    (event,) = driven.receiver.events()
    assert isinstance(event, CallerReplaced)
    assert wire.destination_of(event.shutdown) == 7
    assert driven.receiver.datagrams_to_srt() == [(2, handshake(INDUCTION, 501))]


# --- names of streams ---------------------------------------------------------------------------------------


def named(receiver: Receiver) -> list[tuple[str, str]]:
    return [(group["stream"], group["stream_id"]) for group in receiver.stats(60.0)]


def test_a_stream_has_the_name_of_its_id_when_the_srt_server_has_accepted_it() -> None:
    driven = Driven()
    driven.group(A, B)
    driven.receiver.events()
    assert named(driven.receiver) == [("192.0.2.1", "")], "where it comes from"
    driven.get(B, handshake(CONCLUSION, 501, stream_id="live/feed1"))
    assert named(driven.receiver) == [("192.0.2.1", "")], "anybody could say so"
    driven.receiver.datagram_from_srt(1, handshake(CONCLUSION, 9001, to=501), driven.now)
    (event,) = driven.receiver.events()
    assert isinstance(event, StreamAccepted)
    assert event.group == 1
    assert event.stream.startswith("live/~")
    assert named(driven.receiver) == [(event.stream, "live/feed1")]
    assert driven.receiver.stream_id_of(1) == "live/feed1"
    assert driven.receiver.stream_id_of(7) == ""
    driven.after(30)
    names = {event.stream for event in driven.receiver.events() if isinstance(event, LinkLeft | GroupRemoved)}
    assert names == {event.stream}


def test_ids_that_are_no_secret_are_names() -> None:
    driven = Driven()
    driven.receiver = Receiver(driven.random.randbytes, driven.now, show_stream_ids=True)
    driven.group(A)
    driven.get(A, handshake(CONCLUSION, 501, stream_id="live/feed1"))
    driven.receiver.datagram_from_srt(1, handshake(CONCLUSION, 9001, to=501), driven.now)
    assert named(driven.receiver) == [("live/feed1", "live/feed1")]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ],
)
def test_a_stream_without_an_id_is_named_by_its_source(host: str, name: str) -> None:
    driven = Driven()
    driven.group((host, 5, 0, 0), A)
    assert named(driven.receiver) == [(name, "")]


def test_a_restored_group_keeps_its_name() -> None:
    driven = Driven()
    (number, other) = driven.receiver.restore([(bytes(256), [A]), (bytes([1]) * 256, [B, VICTIM])], 50.0)
    driven.receiver.prove(VICTIM)
    driven.receiver.restore_stream_id(number, "live/feed1")
    driven.receiver.restore_stream_id(other, "")
    assert [name.partition("~")[0] for name, _ in named(driven.receiver)] == ["live/", "203.0.113.99"]


def test_the_loss_of_a_stream_is_that_of_its_links_lately() -> None:
    driven = Driven()
    driven.group(A, B)

    def look(naks: int | None, packets: int = 90) -> object:
        if naks is not None:
            driven.get(A, wire.build_keepalive(wire.Keepalive(1, 1, 20, 1, 1, naks, 1)))
        for number in range(packets):
            driven.get(B, data_packet(number))
        driven.now += 1
        (group,) = driven.receiver.stats(driven.now)
        return group["loss_pct"]

    assert look(None) is None, "the sender does not tell"
    assert look(500) == 0.0, "what was before is not known"
    assert look(520) == 6.9  # 20 of 290
    assert look(520, 10) == 6.7
    for _ in range(7):
        look(520)
    assert look(520) == 2.4  # 20 of 840
    assert look(520) == 0.0, "ten seconds ago"
    assert look(5) == 0.0, "a link that began anew"


# --- several SRT servers ------------------------------------------------------------------------------------


class Routing(Driven):
    """A receiver with two SRT servers and one group, whose link is A."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

        def route(stream_id: str) -> int:
            self.asked.append(stream_id)
            return int(stream_id.startswith("b"))

        self.receiver = Receiver(self.random.randbytes, self.now, route=route)
        self.group(A, B)
        self.receiver.events()

    def out(self) -> list[tuple[int, bytes]]:
        return self.receiver.datagrams_to_srt()

    def cookie(self, caller: int) -> int:
        """Begin, as an SRT caller does."""
        ((to, answer),) = self.get(A, handshake(INDUCTION, caller))
        assert (to, wire.is_induction(answer), wire.destination_of(answer)) == (A, True, caller)
        assert self.out() == [], "the server is not known yet"
        return wire.cookie_of(answer)

    def conclude(self, caller: int, stream_id: str, cookie: int) -> bytes:
        asks = wire.with_cookie(handshake(CONCLUSION, caller, stream_id=stream_id), cookie)
        assert self.get(B, asks) == []
        return asks

    def server(self, number: int, kind: int, caller: int, cookie: int = 0) -> list[bytes]:
        answer = wire.with_cookie(handshake(kind, 9000 + caller, to=caller), cookie)
        self.receiver.datagram_from_srt(number, answer, self.now)
        return [data for _, data in self.receiver.datagrams_to_peers()]

    def connect(self, number: int, caller: int, stream_id: str) -> None:
        self.conclude(caller, stream_id, self.cookie(caller))
        assert self.out() == [(number, wire.build_induction(caller))]
        assert self.server(number, INDUCTION, caller, 7) == []
        ((to, asks),) = self.out()
        assert (to, wire.cookie_of(asks), wire.parse_stream_id(asks)) == (number, 7, stream_id.encode())
        assert len(self.server(number, CONCLUSION, caller)) == 1, "to the caller"


def test_the_stream_id_says_to_which_srt_server_a_caller_goes() -> None:
    driven = Routing()
    driven.connect(1, 501, "b/feed")
    routed, accepted = driven.receiver.events()
    assert routed == Routed(1, 1)
    assert isinstance(accepted, StreamAccepted)
    assert driven.asked == ["b/feed"]
    assert driven.receiver.stream_id_of(1) == "b/feed"
    driven.get(A, data_packet(5))
    assert driven.out() == [(1, data_packet(5))]


def test_a_conclusion_that_is_repeated_gets_a_fresh_cookie_each_time() -> None:
    driven = Routing()
    cookie = driven.cookie(501)
    for _ in range(3):
        driven.conclude(501, "a", cookie)
        assert driven.out() == [(1, wire.build_induction(501))], "the server may have been away"
    assert driven.server(1, INDUCTION, 501, 7) == []
    assert [wire.cookie_of(data) for _, data in driven.out()] == [7]
    assert driven.server(1, INDUCTION, 501, 8) == [], "a copy"
    assert driven.out() == []
    driven.server(1, CONCLUSION, 501)
    driven.conclude(501, "a", cookie)
    assert driven.out() == [(1, wire.build_induction(501))], "the server's answer was lost"
    driven.server(1, INDUCTION, 501, 9)
    assert [wire.cookie_of(data) for _, data in driven.out()] == [9]
    assert {type(event) for event in driven.receiver.events()} == {Routed, StreamAccepted}


def test_forged_handshakes_reach_no_server() -> None:
    driven = Routing()
    driven.connect(1, 501, "a")
    driven.receiver.events()
    driven.conclude(502, "b", 12345)
    driven.conclude(501, "b", 12345)
    driven.get(A, handshake(0, 501))
    driven.get(A, handshake(REJECTION, 501))
    assert driven.get(A, handshake(INDUCTION, 501)[:63]) == [], "cut off"
    assert driven.out() == []
    assert driven.receiver.events() == []
    assert driven.asked == ["a"]


def test_the_next_caller_may_go_to_another_server() -> None:
    driven = Routing()
    driven.connect(1, 501, "a")
    driven.get(A, data_packet(5))
    driven.out()
    driven.receiver.events()
    cookie = driven.cookie(502)
    driven.conclude(502, "b", cookie)
    assert driven.out() == [], "the one before still sends"
    assert driven.receiver.events() == []
    driven.now += CALLER_QUIET_S + 0.01
    driven.conclude(502, "b", cookie)
    replaced, routed = driven.receiver.events()
    assert isinstance(replaced, CallerReplaced)
    assert replaced.shutdown == wire.build_shutdown(9501)
    assert routed == Routed(2, 1)
    assert driven.out() == [(2, wire.build_induction(502))]
