"""Fuzzes all code of the SRTLA engines that reads packets from the network: `one_input`.

scripts/fuzz runs it under atheris, which looks for inputs that reach new code; what it found is kept
(tests/fuzz_corpus.py) and replayed by tests/unit/across/test_corpus.py.

An input: one byte that chooses the target, then what the target reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence

from netbond.srtla import wire
from netbond.srtla.process import batch, linklist, receiving
from netbond.srtla.process.protocol import FROM_AGENT, FROM_FRONT, ChannelError, encode, parse
from netbond.srtla.receiver import passage
from netbond.srtla.receiver.groups import AMPLIFICATION, UDP_OVERHEAD
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.receiver.room import Limits
from netbond.srtla.registration import psk
from netbond.srtla.streamid import stream_id_of
from netbond.system import strict_json
from tests.srtla_util import (
    FakeLink,
    Network,
    data_packet,
    handshake,
    induction,
    srt_ack,
    srt_control,
    srt_nak,
)


def one_input(data: bytes) -> None:
    """Run one input; any exception is a defect."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def parsers(data: bytes) -> None:
    """Call each function that reads a datagram; it returns a result or None."""
    for read in (
        wire.data_sequence,
        wire.is_retransmission,
        wire.is_filter_packet,
        wire.is_handshake,
        wire.is_induction,
        wire.parse_options,
        wire.parse_stream_id,
        stream_id_of,
        wire.handshake_socket,
        wire.accepting_socket,
        wire.is_conclusion,
        wire.destination_of,
        wire.parse_srt_ack,
        wire.parse_registration,
        wire.packet_type,
    ):
        read(data)
    if len(data) >= wire.SRT_HEADER:
        wire.destination_of(data)
    for first, last in wire.parse_srt_nak(data) or ():
        assert 0 <= first <= wire.SEQUENCE_MASK
        assert 0 <= last <= wire.SEQUENCE_MASK
    acknowledged = wire.parse_srtla_ack(data)
    assert acknowledged is None or 4 * len(acknowledged) <= len(data)
    keepalive = wire.parse_keepalive(data)
    if keepalive is not None:
        assert wire.build_keepalive(keepalive) == data[:38]
    wire.parse_refusal(data)
    passage.parse(data)
    psk.is_keyed_half(b"key", data)
    group = wire.parse_registration(data)
    if group is not None:
        psk.is_claimed(group)
        assert not psk.is_answered(b"key", group)
        assert psk.issued_id(b"key", group) is None


def steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (choice, datagram): a byte, a length of two bytes (bit 15: insert a group's id), the datagram."""
    position = 0
    while position + 3 <= len(data):
        choice, length = data[position], int.from_bytes(data[position + 1 : position + 3], "big") & 0x7FF
        yield choice | (data[position + 1] & 0x80) << 1, data[position + 3 : position + 3 + length]
        position += 3 + length


PEERS: list[PeerAddress] = [
    ("192.0.2.1", 1),
    ("192.0.2.1", 2),
    ("198.51.100.1", 1),
    ("2001:db8::1", 5, 0, 0),
    ("::ffff:192.0.2.9", 5, 0, 0),
]


def receiver_session(data: bytes) -> None:
    """Run a receiver with two groups; peers, strangers and the SRT server send it packets. Once more with
    several SRT servers."""
    _receiver_session(data, None)
    _receiver_session(data, len)


def _receiver_session(data: bytes, route: Callable[[str], int] | None) -> None:
    limits = Limits(groups=4, groups_per_source=3, links=3)
    now = 100.0
    receiver = Receiver(random.Random(7).randbytes, now, limits=limits, route=route)
    receiver.datagram_from_peer(PEERS[0], wire.build_registration(wire.REG1, bytes(256)), now)
    ((_, answer),) = receiver.datagrams_to_peers()
    group = answer[2:]
    receiver.datagram_from_peer(PEERS[0], wire.build_registration(wire.REG2, group), now)
    received: dict[PeerAddress, int] = {}
    sent: dict[PeerAddress, int] = {}
    proven = {PEERS[0]}  # this peer has got the id from us
    for choice, datagram in steps(data):
        if choice & 0x100:
            datagram = datagram[:2] + group  # noqa: PLW2901  # a fuzzer does not find a REG2 with a valid id by chance
        if receiver._handshakes is not None and wire.is_conclusion(datagram) and len(datagram) >= 48:
            cookie = receiver._handshakes._cookie(group, wire.handshake_socket(datagram))
            datagram = wire.with_cookie(datagram, cookie)  # noqa: PLW2901  # nor one with the cookie
        now += (0.0, 0.001, 0.03, 6.0)[choice >> 3 & 3]
        target = choice & 7
        if target < len(PEERS):
            peer = PEERS[target]
            received[peer] = received.get(peer, 0) + len(datagram) + UDP_OVERHEAD
            if len(datagram) == wire.REG_LENGTH and datagram[:2] == b"\x92\x00":
                proven.add(peer)  # it may learn an id
            receiver.datagrams_from_peers([(peer, datagram)], now)
        elif target == 5:
            newest = max(receiver._by_number, default=1)
            receiver.datagram_from_srt(newest - (choice >> 5 & 1), datagram, now)
        else:
            receiver.handle_timer(now)
        receiver.events()
        receiver.datagrams_to_srt()
        for address, out in receiver.datagrams_to_peers():
            sent[address] = sent.get(address, 0) + len(out) + UDP_OVERHEAD
        assert len(receiver._groups) <= limits.groups
        assert {each.number: each for each in receiver._groups.values()} == receiver._by_number
        assert all(len(each.links) <= limits.links for each in receiver._groups.values())
        assert {a for each in receiver._groups.values() for a in each.links} == set(receiver._peers)
    for address in sent.keys() - proven:
        assert sent[address] <= AMPLIFICATION * received[address], address
    json.dumps(receiver.stats(now))


def sender_session(data: bytes) -> None:
    """Run a sender with two links up; the receiver, impostors and the SRT caller send it packets."""
    _sender_session(data, "classic")


def adaptive_session(data: bytes) -> None:
    """Run the same in mode adaptive."""
    _sender_session(data, "adaptive")


def _sender_session(data: bytes, mode: str) -> None:
    network = Network([FakeLink(0.01), FakeLink(0.02)], mode=mode)
    network.run(1.0)
    sender, now = network.sender, network.now
    for number in range(20):
        sender.datagram_from_caller(data_packet(number, size=20), now)
    for choice, datagram in steps(data):
        now += (0.0, 0.001, 0.3, 5.0)[choice >> 3 & 3]
        if choice & 7 < 4:
            sender.datagram_from_receiver(1 + (choice & 1), datagram, now)
        elif choice & 7 < 6:
            sender.datagram_from_caller(datagram, now)
        else:
            sender.handle_timer(now)
        sender.events()
        out = sender.datagrams_to_links()
        assert len(out) < 2000, "a datagram must not set off a flood"
        sender.datagrams_to_caller()
    json.dumps(sender.stats(now))


def resumed(data: bytes) -> None:
    """Read the state of an earlier engine, from the agent's file or over the channel."""
    for expected in (FROM_AGENT, FROM_FRONT):
        with contextlib.suppress(ChannelError):
            for message in parse(data, expected):
                encode(message)
    try:
        value = strict_json.parse(data)
    except ValueError:
        return
    resume = value if isinstance(value, dict) else {}
    for dual in (False, True):
        groups = receiving._resumed_groups(resume, Limits(), dual=dual)
        receiver = Receiver(random.Random(7).randbytes, 0.0)
        receiver.restore([(group.id, group.links) for group in groups], 0.0)


def texts(data: bytes) -> None:
    """Read a list file of addresses."""
    linklist.parse(data.decode(errors="replace"), "list")


def kernel_records(data: bytes) -> None:
    """Read ancillary data as recvmmsg(2) returns it."""
    record = data.ljust(batch._NAME, b"\0")
    if record[0] in (2, 10) and record[1] == 0:
        batch.Inbox(1).resolve(record)


TARGETS = (
    parsers,
    receiver_session,
    sender_session,
    resumed,
    texts,
    kernel_records,
    adaptive_session,
)


def seeds() -> list[bytes]:
    """Return each kind of packet, for each target."""
    keepalive = wire.build_keepalive(wire.Keepalive(1, 1, 20000, 1, 1, 1, 1))
    packets = [
        wire.build_registration(wire.REG1, bytes(range(256))),
        wire.build_registration(wire.REG2, bytes(range(256))),
        wire.build_srtla_ack(list(range(10))),
        wire.REG3_PACKET,
        wire.REG_ERR_PACKET,
        wire.REG_NGP_PACKET,
        wire.REG3_PACKET[:2],
        wire.REG_ERR_PACKET[:2],
        wire.REG_NGP_PACKET[:2],
        wire.build_refusal(wire.REFUSED_KEY),
        b"\x90\x00",
        b"\x90\x00" + bytes(8),
        keepalive,
        keepalive + bytes(20),
        srt_ack(5),
        srt_nak((1, 1), (3, 9), (0, 2**31 - 1)),
        data_packet(7, size=20),
        data_packet(7, again=True, size=2),
        data_packet(7, size=20)[:4] + b"\xc0\0\0\0" + bytes(28),  # of a packet filter
        induction(),
        induction(501),
        handshake(0xFFFFFFFF, 9001),
        srt_control(wire.SRT_HANDSHAKE, bytes(48) + bytes.fromhex("00020003 00010501 000000bf 00780078")),
        srt_control(wire.SRT_KEEPALIVE),
        srt_control(wire.SRT_SHUTDOWN),
        srt_control(wire.SRT_ACKACK),
    ]
    out = [b"\0" + packet for packet in packets]
    for target in (1, 2, 6):
        for choice in range(6):
            session = b"".join(bytes([choice]) + len(each).to_bytes(2, "big") + each for each in packets)
            out.append(bytes([target]) + session)
    out.append(
        b"\1" + b"\1\x80\x02\x92\x01" + b"\1\0\x02\x90\0" + b"\1\x80\x02\x92\x01" + b"\2\x80\x02\x92\x01"
    )
    group = {"id": "00" * 256, "srt_port": 5, "links": [["192.0.2.1", 5], ["2001:db8::1", 5, 0, 0]]}
    out.append(b"\3" + json.dumps({"groups": [group, group]}).encode())
    out.append(b"\4" + b"10.0.0.10\n# x\n2001:db8::5%wlan0\n10.0.1.10%usb1\n10.0.0\n")
    out.append(b"\5" + b"\2\0\x13\x88\xc0\0\2\1".ljust(32, b"\0") + bytes([28, *bytes(11), 8, *bytes(27)]))
    return out


def fuzz(one_input: Callable[[bytes], None], targets: Sequence[str]) -> None:
    """Run under atheris, with libFuzzer's arguments. NETBOND_FUZZ_TARGET names the only target to run."""
    import atheris

    chosen = os.environ.get("NETBOND_FUZZ_TARGET", "")

    def forced(data: bytes) -> None:
        if data and data[0] % len(targets) == number:
            one_input(data)

    if chosen:
        number = list(targets).index(chosen)
    atheris.instrument_all()
    program = os.environ.get("NETBOND_FUZZER", sys.argv[0])
    atheris.Setup([program, *sys.argv[1:]], forced if chosen else one_input)
    atheris.Fuzz()


def main() -> None:
    """Fuzz the engines' targets."""
    fuzz(one_input, [target.__name__ for target in TARGETS])


if __name__ == "__main__":
    main()
