"""Sessions with programs of others, recorded by tests/record_session.py and played to the state machines.

What others say is as it was; what ours answer may be otherwise today. So nothing is compared byte by byte:
ours must come up with all links, carry all that the encoder sent, and understand all that it is told.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netbond.config.schema import MODES
from netbond.srtla import wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.modes import make_carrier
from netbond.srtla.receiver.events import Event, GroupCreated, LinkJoined, LinkLeft
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import LinkAdded, LinkDown, LinkUp

RECORDINGS = Path(__file__).parents[2] / "recordings"


def recordings(role: str) -> list[Any]:
    found = sorted(RECORDINGS.glob(f"{role}-*.json.xz"))
    return [pytest.param(path, id=path.name.split(".")[0]) for path in found]


def load(path: Path) -> dict[str, Any]:
    with lzma.open(path) as file:
        return dict(json.load(file))


def given(recording: dict[str, Any]) -> Callable[[int], bytes]:
    """The random bytes that ours had then."""
    left = [bytes.fromhex(each) for each in recording["random"]]

    def random(size: int) -> bytes:
        data = left.pop(0) if left else bytes(size)
        assert len(data) == size
        return data

    return random


def test_there_is_a_recording_of_each_kind() -> None:
    assert recordings("sender")
    assert recordings("receiver")


class Played:
    """A recording played to our sender."""

    def __init__(self, recording: dict[str, Any], mode: str) -> None:
        events = recording["events"]
        self.sender = Sender(given(recording), make_carrier(mode), events[0][1])
        self.events: list[Any] = []
        self.sent: Counter[int] = Counter()  # sequence numbers
        self.to_caller: list[bytes] = []
        self.seen: Counter[str] = Counter()
        self.offered: set[int] = set()
        for kind, now, *rest in events:
            if kind == "links":
                specs = [LinkSpec(f"link{n}", address) for n, address in enumerate(rest[0])]
                self.sender.set_links(specs, now)
            elif kind == "opened":
                self.sender.link_opened(rest[0], now)
            elif kind == "caller":
                data = bytes.fromhex(rest[0])
                sequence = wire.data_sequence(data)
                if sequence is not None:
                    self.offered.add(sequence)
                self.sender.datagram_from_caller(data, now)
            elif kind == "receiver":
                data = bytes.fromhex(rest[1])
                self.seen[name(data)] += 1
                self.sender.datagram_from_receiver(rest[0], data, now)
            self.sender.handle_timer(now)
            self.drain()
            self.now = now

    def drain(self) -> None:
        self.events += self.sender.events()
        for _, data in self.sender.datagrams_to_links():
            sequence = wire.data_sequence(data)
            if sequence is not None:
                self.sent[sequence] += 1
        self.to_caller += self.sender.datagrams_to_caller()


NAMES = {
    wire.SRT_HANDSHAKE: "handshake",
    wire.SRT_KEEPALIVE: "SRT keepalive",
    wire.SRT_ACK: "ACK",
    wire.SRT_NAK: "NAK",
    wire.SRT_SHUTDOWN: "shutdown",
    wire.SRT_ACKACK: "ACKACK",
    wire.KEEPALIVE: "KEEPALIVE",
    wire.SRTLA_ACK: "SRTLA ACK",
    wire.REG1: "REG1",
    wire.REG2: "REG2",
    wire.REG3: "REG3",
    wire.REG_ERR: "REG_ERR",
    wire.REG_NGP: "REG_NGP",
}


def name(data: bytes) -> str:
    kind = wire.packet_type(data)
    return NAMES[kind] if kind & 0x8000 else "data"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", recordings("sender"))
def test_our_sender(path: Path, mode: str) -> None:
    recording = load(path)
    played = Played(recording, mode)
    assert {"REG_NGP", "REG2", "REG3", "REG_ERR", "KEEPALIVE", "SRTLA ACK"} <= set(played.seen)
    assert {"handshake", "ACK", "NAK"} <= set(played.seen)
    links = sum(isinstance(event, LinkAdded) for event in played.events)
    assert links == 3
    assert sum(isinstance(event, LinkUp) for event in played.events) == links
    assert not any(isinstance(event, LinkDown) for event in played.events)
    assert len(played.offered) > 300
    stats = played.sender.stats(played.now)
    lost = sum(link["lost"] for link in stats["links"])
    if mode == "classic":
        assert set(played.sent) == played.offered
        assert stats["dropped"] == 0
        assert 3 < lost < 30, "one packet in 61 was lost"
        assert sum(played.sent.values()) <= 1.1 * len(played.offered)
    else:
        # The links that this scheduler chooses are not those of the day of the recording, so what was proven
        # on them then seems lost now, and what it holds back may be acknowledged before it has left.
        assert set(played.sent) <= played.offered
        assert len(played.sent) >= 0.6 * len(played.offered)
        assert stats["dropped"] <= 0.02 * len(played.offered)
        assert 3 < lost < 0.45 * len(played.offered)
        assert sum(played.sent.values()) <= 1.25 * len(played.offered)
    assert all(link["rtt_ms"] is not None and link["rtt_ms"] < 100 for link in stats["links"])
    assert sum(link["in_flight"] for link in stats["links"]) < 40, "acknowledgements are understood"
    told = Counter(name(data) for data in played.to_caller)
    assert told["handshake"] == 2
    assert 0 < told["ACK"] <= played.seen["ACK"] // 2, "copies reach the caller once"
    assert len(set(played.to_caller)) == len(played.to_caller)


@pytest.mark.parametrize("path", recordings("receiver"))
def test_our_receiver(path: Path) -> None:
    recording = load(path)
    receiver = Receiver(given(recording), recording["events"][0][1])
    seen: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    arrived: list[int] = []
    forwarded: list[int] = []
    acknowledged: Counter[int] = Counter()
    events: list[Event] = []
    back: set[Any] = set()
    for kind, now, *rest in recording["events"]:
        if kind == "peer":
            data = bytes.fromhex(rest[1])
            seen[name(data)] += 1
            sequence = wire.data_sequence(data)
            if sequence is not None:
                arrived.append(sequence)
            receiver.datagram_from_peer(tuple(rest[0]), data, now)
        elif kind == "srt":
            receiver.datagram_from_srt(rest[0], bytes.fromhex(rest[1]), now)
        receiver.handle_timer(now)
        events += receiver.events()
        for _, data in receiver.datagrams_to_srt():
            sequence = wire.data_sequence(data)
            if sequence is not None:
                forwarded.append(sequence)
        for address, data in receiver.datagrams_to_peers():
            answered[name(data)] += 1
            acknowledged.update(wire.parse_srtla_ack(data) or ())
            if name(data) == "ACK":
                back.add(address)
    assert {"REG1", "REG2", "data", "handshake", "ACKACK"} <= set(seen)
    assert {"REG2", "REG3", "SRTLA ACK", "handshake", "ACK"} <= set(answered)
    assert sum(isinstance(event, GroupCreated) for event in events) == 1
    assert sum(isinstance(event, LinkJoined) for event in events) == 3
    assert not any(isinstance(event, LinkLeft) for event in events)
    assert len(arrived) > 300
    assert forwarded == arrived
    assert acknowledged == Counter(arrived), "each once"
    assert len(back) == 3, "SRT's ACKs take turns"
    assert answered["KEEPALIVE"] == seen["KEEPALIVE"]
    refused = dict(receiver.refused)
    del refused["unknown_peer"]  # BELABOX's sends keepalives on links that have not joined yet
    assert refused == dict.fromkeys(refused, 0)


def test_every_kind_of_packet_decodes() -> None:
    """All that programs of others have said, and what an SRT caller and an SRT server have."""
    seen: Counter[str] = Counter()
    lengths: dict[str, set[int]] = {}
    newest = -1
    for path in sorted(RECORDINGS.glob("*.json.xz")):
        for kind, _, *rest in load(path)["events"]:
            if kind not in ("caller", "receiver", "peer", "srt"):
                continue
            data = bytes.fromhex(rest[-1])
            said = name(data)
            seen[said] += 1
            lengths.setdefault(said, set()).add(len(data))
            sequence = wire.data_sequence(data)
            newest = newest if sequence is None else sequence
            acknowledged, lost = wire.parse_srt_ack(data), wire.parse_srt_nak(data)
            named, group = wire.parse_srtla_ack(data), wire.parse_registration(data)
            assert (sequence is not None) == (said == "data")
            assert (acknowledged is not None) == (said == "ACK")
            assert (lost is not None) == (said == "NAK")
            assert (named is not None) == (said == "SRTLA ACK")
            assert (group is not None) == (said in ("REG1", "REG2"))
            assert wire.is_handshake(data) == (said == "handshake")
            if said == "data" and wire.is_retransmission(data):
                seen["data, sent again"] += 1
            if wire.is_induction(data):
                seen["induction"] += 1
            if wire.parse_latency(data) is not None:
                seen["latency"] += 1
                assert wire.parse_latency(data) == 0.2
            if wire.parse_keepalive(data) is not None:
                seen["KEEPALIVE, extended"] += 1
            if acknowledged is not None and newest >= 0:
                assert abs(wire.distance(newest, acknowledged)) < 2000
            for first, last in lost or ():
                assert 0 <= wire.distance(first, last) < 100
                assert abs(wire.distance(newest, first)) < 2000
            for sequence in named or ():
                assert abs(wire.distance(newest, sequence)) < 2000
    assert set(seen) == {
        *NAMES.values(),
        "data",
        "data, sent again",
        "induction",
        "latency",
        "KEEPALIVE, extended",
    }
    assert lengths["SRTLA ACK"] == {44}
    assert lengths["REG1"] == lengths["REG2"] == {wire.REG_LENGTH}
    assert min(lengths["REG3"]) == 2
