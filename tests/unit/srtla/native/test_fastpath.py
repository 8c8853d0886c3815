"""The compiled data path against the state machine: the same datagrams, the same result, on real sockets."""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla import wire
from netbond.srtla.native import fastpath
from netbond.srtla.native.bypass import Bypass
from netbond.srtla.process import batch
from netbond.srtla.process.wakeup import ENOUGH_PACKETS, LISTENER, PAUSE_S
from netbond.srtla.receiver.figures import HEAD, WINDOW
from netbond.srtla.receiver.groups import RESERVE, UDP_OVERHEAD
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import FLUSH_AFTER_S, Receiver
from tests.srtla_util import CONCLUSION, data_packet, handshake, srt_ack, srt_control, srt_nak
from tests.unit.srtla.process.asked import asked

pytestmark = pytest.mark.skipif(not fastpath.available(), reason="the data path is not compiled here")


class Rig:
    """Peers, a listener with the data path behind it, an SRT server for each of two groups."""

    def __init__(
        self, stack: ExitStack, family: socket.AddressFamily = socket.AF_INET, peers: int = 3
    ) -> None:
        self.listener = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        if family == socket.AF_INET6:
            self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.listener.bind(("", 0))
        self.listener.setblocking(False)
        batch.enable_pktinfo(self.listener)
        batch.enable_gro(self.listener)
        self.inbox = batch.Inbox(gro=True)
        self.peers = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(peers)
        ]
        mapped = "::ffff:" if family == socket.AF_INET6 else ""
        rest = (0, 0) if family == socket.AF_INET6 else ()
        self.addresses: list[PeerAddress] = []
        for peer in self.peers:
            peer.bind(("127.0.0.1", 0))
            peer.connect(("127.0.0.1", self.listener.getsockname()[1]))
            peer.setblocking(False)
            self.addresses.append((mapped + "127.0.0.1", peer.getsockname()[1], *rest))
        self.servers, self.towards = [], {}
        epoll = stack.enter_context(select.epoll())
        epoll.register(self.listener, select.EPOLLIN)
        self.epoll = epoll
        for number in (1, 2):
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            towards = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            towards.connect(server.getsockname())
            towards.setblocking(False)
            epoll.register(towards, select.EPOLLIN)
            self.servers.append(server)
            self.towards[number] = towards
        self.receiver = Receiver(random.Random(1).randbytes, 0.0)
        groups = [(bytes(256), self.addresses[: peers - 1]), (b"x" * 256, self.addresses[peers - 1 :])]
        self.receiver.restore(groups, time.monotonic())
        self.bypass = Bypass(self.listener.fileno(), epoll.fileno(), self.receiver)
        for peer in self.peers:  # the first packet of a link is Python's
            peer.send(b"\x90\x00")
        self.run()
        for peer in self.peers:
            assert peer.recv(9) == b"\x90\x00"

    def run(self, seconds: float = 0.002) -> int:
        """Serve for a moment, and until all is read; how many datagrams came to Python."""
        fast, receiver = self.bypass.fast, self.receiver
        left = 0
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until or self.epoll.poll(0):
            _, reports, _ = fast.run(max(until, now + 0.001), PAUSE_S)
            records = {}
            self.bypass.settle()
            for descriptor, record, data, _ in reports:
                left += 1
                if descriptor == LISTENER:
                    address = self.inbox.resolve(record)
                    records[address] = record
                    receiver.datagram_from_peer(address, data, time.monotonic())
                else:
                    (number,) = [n for n, s in self.towards.items() if s.fileno() == descriptor]
                    receiver.datagram_from_srt(number, data, time.monotonic())
            for number, datagrams in receiver.batches_to_srt():
                batch.send(self.towards[number], datagrams)
            batch.send_to(self.listener, receiver.datagrams_to_peers(), self.inbox.local)
            receiver.events()
            for address, record in records.items():
                self.bypass.take(address, record, self.inbox.local.get(address), self.towards, now)
        return left

    @staticmethod
    def drain(sock: socket.socket) -> list[bytes]:
        out = []
        while True:
            try:
                out.append(sock.recv(2048))
            except BlockingIOError:
                return out


@pytest.fixture(params=["ipv4", "ipv6"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with ExitStack() as stack:
        yield Rig(stack, socket.AF_INET6 if request.param == "ipv6" else socket.AF_INET)


content = {
    "ack": b"\x80\x06" + bytes(30),
    "keepalive": b"\x90\x00" + bytes(8),
    "short": b"\x00" * 15,
    "empty": b"",
    "long": bytes(1501),
    "srtla": b"\x91\x00" + bytes(42),
    "high": b"\xc0" + bytes(20),
}
kinds = st.sampled_from(["data", "data", "data", "small", *content])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), kinds), max_size=80))
def test_it_does_what_the_state_machine_does(wanted: list[tuple[int, str]]) -> None:
    with ExitStack() as stack:
        rig = Rig(stack)
        model = Receiver(random.Random(1).randbytes, 0.0)
        now = 100.0
        model.restore([(bytes(256), rig.addresses[:2]), (b"x" * 256, rig.addresses[2:])], now)
        for address in rig.addresses:
            model.datagram_from_peer(address, b"\x90\x00", now)
        model.datagrams_to_peers()
        for number, (sender, kind) in enumerate(wanted):
            data = content.get(kind)
            if data is None:
                data = data_packet(number, size=1316 if kind == "data" else 100)
            rig.peers[sender].send(data)
            if len(data) <= wire.MTU:
                model.datagram_from_peer(rig.addresses[sender], data, now)
        rig.run()
        rig.run(FLUSH_AFTER_S + 0.005)
        model.handle_timer(now + 2 * FLUSH_AFTER_S)
        forwarded = model.datagrams_to_srt()
        for group, server in enumerate(rig.servers, 1):
            assert rig.drain(server) == [data for to, data in forwarded if to == group]
        answers = model.datagrams_to_peers()
        for peer, address in zip(rig.peers, rig.addresses, strict=True):
            assert sorted(rig.drain(peer)) == sorted(data for to, data in answers if to == address)
        rig.bypass.settle()
        ours, theirs = rig.receiver.stats(time.monotonic()), model.stats(now)
        for got, expected in zip(ours, theirs, strict=True):
            assert (got["packets"], got["bytes"]) == (expected["packets"], expected["bytes"])
            for one, other in zip(got["links"], expected["links"], strict=True):
                assert (one["packets"], one["bytes"]) == (other["packets"], other["bytes"])


def test_links_that_are_up_need_no_python(rig: Rig) -> None:
    for number in range(20):
        rig.peers[0].send(data_packet(number))
    assert rig.run() == 0
    assert rig.drain(rig.servers[0]) == [data_packet(n) for n in range(20)]
    assert rig.drain(rig.peers[0]) == [wire.build_srtla_ack(list(range(s, s + 10))) for s in (0, 10)]


@pytest.mark.parametrize("filtered", [False, True])
def test_it_notes_the_packets_of_a_stream_as_the_state_machine_does(rig: Rig, filtered: bool) -> None:
    model = Receiver(random.Random(1).randbytes, 0.0)
    model.restore([(bytes(256), rig.addresses[:2])], 0.0)
    chosen, number = random.Random(4), (WINDOW - 150) & wire.SEQUENCE_MASK
    for receiver in (rig.receiver, model):
        figures = receiver._by_number[1].figures
        first = bytearray(handshake(CONCLUSION, 5))
        first[24:28] = number.to_bytes(4, "big")
        figures.asked(bytes(first))
        figures.begin(b"" if not filtered else bytes(first) + b"\0\7\0\0", 1.0)
    address = rig.towards[1].getsockname()
    for turn in range(12):
        some = [number + n for n in range(40) if chosen.random() < 0.8]
        chosen.shuffle(some)
        for each in some + some[:3]:
            link = chosen.randrange(2)
            rig.peers[link].send(data_packet(each, size=1316 if each % 3 else 100))
            model.datagram_from_peer(
                rig.addresses[link], data_packet(each, size=1316 if each % 3 else 100), 1.0
            )
        assert rig.run(0.0005) == 0
        missing = sorted(set(range(number, number + 40)) - set(some))
        for receiver in (rig.receiver, model):
            receiver._by_number[1].figures.missed(srt_nak(*((each, each) for each in missing[::2])))
        number += 40
        told = [chosen.getrandbits(32) for _ in range(chosen.choice([0, 3, 6]))]
        end = number if turn != 9 else number + 5 * WINDOW
        ack = srt_control(wire.SRT_ACK, struct.pack(f"!{1 + len(told)}I", end, *told))
        rig.servers[0].sendto(ack, address)
        assert rig.run(0.0005) == 0
        model.datagram_from_srt(1, ack, 1.0)
        ours, theirs = rig.receiver.tally_of(1), model.tally_of(1)
        head, other = (list(HEAD.unpack_from(tally, WINDOW)) for tally in (ours, theirs))
        assert head[3] > other[3]  # when that was
        head[3] = other[3]
        assert (head, ours[:WINDOW]) == (other, theirs[:WINDOW])
    assert other[2] > 20, "there were losses"


def test_a_tally_is_let_go_with_its_group(rig: Rig) -> None:
    tally = rig.receiver.tally_of(1)
    with pytest.raises(BufferError):
        tally.append(0)
    rig.bypass.group_gone(1)
    tally.append(0)
    for wrong in (
        (0,),
        (0, tally),
        (0, b"x"),
        (0, bytes(len(tally) - 1)),
        (500, tally[:-1]),
        (-1, tally[:-1]),
    ):
        with pytest.raises((TypeError, ValueError, BufferError)):
            rig.bypass.fast.tally(*wrong)


def test_packed_datagrams(rig: Rig) -> None:
    datagrams = [data_packet(number) for number in range(40)] + [data_packet(40, size=10)]
    assert batch.send(rig.peers[1], datagrams) == (41, None)
    assert rig.run() == 0
    assert rig.drain(rig.servers[0]) == datagrams


def test_acks_go_over_two_links_of_their_group_as_far_as_they_have_earned_them(rig: Rig) -> None:
    address = rig.towards[1].getsockname()
    for peer in rig.peers:
        peer.send(data_packet(1))
    rig.run(FLUSH_AFTER_S + 0.005)
    for peer in rig.peers:
        assert rig.drain(peer) == [wire.build_srtla_ack([1])]
    for number in range(200):
        rig.servers[0].sendto(srt_ack(2, stamp=number), address)
        rig.run(0.0005)
    # Of three times what came, less what was answered: Python has sent the last of it.
    earned = 3 * sum(
        len(data) + UDP_OVERHEAD for data in (data_packet(1), b"\x90\x00", bytes(wire.REG_LENGTH))
    )
    spent = sum(len(data) + UDP_OVERHEAD for data in (b"\x90\x00", wire.build_srtla_ack([1])))
    cost = len(srt_ack(2)) + UDP_OVERHEAD
    copies = [len(rig.drain(peer)) for peer in rig.peers]
    assert copies[2] == 0
    for count in copies[:2]:
        assert earned - spent - 2 * RESERVE - 2 * cost < count * cost <= earned - spent


def test_acks_take_turns_as_the_state_machine_has_them() -> None:
    """Over two of the links heard within half a second, or of all if fewer were."""
    with ExitStack() as stack:
        rig = Rig(stack, peers=7)
        model = Receiver(random.Random(1).randbytes, 0.0)
        now = time.monotonic()
        model.restore([(bytes(256), rig.addresses[:6]), (b"x" * 256, rig.addresses[6:])], now)
        chance = random.Random(3)
        for number in range(60):
            quiet = number in (20, 40)
            if quiet:
                time.sleep(0.55)
            for sender in chance.sample(range(7), 1 if quiet else chance.choice((0, 1, 3))):
                rig.peers[sender].send(data_packet(number))
                rig.run(0.0)
                model.datagram_from_peer(rig.addresses[sender], data_packet(number), time.monotonic())
            ack = srt_ack(2, stamp=number)
            rig.servers[0].sendto(ack, rig.towards[1].getsockname())
            rig.run(0.0)
            model.datagram_from_srt(1, ack, time.monotonic())
            wanted = {address for address, data in model.datagrams_to_peers() if data == ack}
            both = zip(rig.addresses, rig.peers, strict=True)
            assert {address for address, peer in both if ack in rig.drain(peer)} == wanted
            assert len(wanted) == 2


def test_everything_else_from_the_srt_server_is_pythons(rig: Rig) -> None:
    rig.peers[1].send(data_packet(1))
    rig.run(FLUSH_AFTER_S + 0.005)
    rig.drain(rig.peers[1])
    for data in (srt_nak((0, 0)), srt_control(wire.SRT_HANDSHAKE, bytes(48)), data_packet(5)):
        rig.servers[0].sendto(data, rig.towards[1].getsockname())
        assert rig.run() == 1
        assert [rig.drain(peer) for peer in rig.peers] == [[], [data], []]


def test_links_and_groups_come_and_go(rig: Rig) -> None:
    rig.bypass.link_gone(rig.addresses[0])
    rig.peers[0].send(data_packet(1))
    assert rig.run() == 1
    rig.peers[0].send(data_packet(2))
    assert rig.run() == 0, "taken again"
    rig.bypass.group_gone(1)
    rig.peers[1].send(data_packet(3))
    rig.peers[2].send(data_packet(4))
    assert rig.run() == 1
    assert rig.drain(rig.servers[0]) == [data_packet(n) for n in (1, 2, 3)]
    assert rig.drain(rig.servers[1]) == [data_packet(4)]


def test_a_dead_srt_server_is_reported_and_does_no_harm(rig: Rig) -> None:
    rig.servers[0].close()
    errors = 0
    for number in range(5):
        rig.peers[0].send(data_packet(number))
        _, reports, _ = rig.bypass.fast.run(time.monotonic() + 0.002, PAUSE_S)
        errors += sum(error != 0 for *_, error in reports)
    assert errors
    rig.peers[2].send(data_packet(9))
    rig.run()
    assert rig.drain(rig.servers[1]) == [data_packet(9)]


def test_a_descriptor_that_is_not_its_own_is_handed_back(rig: Rig) -> None:
    with select.epoll() as epoll, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        epoll.register(sock, select.EPOLLIN)
        fast = fastpath.open_path(rig.listener.fileno(), epoll.fileno(), FLUSH_AFTER_S)
        assert fast.run(time.monotonic() + 0.001, PAUSE_S) == ([], [], [])
        sock.send(b"!")
        assert fast.run(time.monotonic() + 5, PAUSE_S) == ([sock.fileno()], [], [])


def looks(rig: Rig, interval: float, patience: float) -> float:
    """How many of a link's packets, one each `interval` s, a look finds in the end, on average."""
    fast, found, rounds = rig.bypass.fast, 0, 0
    start = time.monotonic()
    over = threading.Event()

    def send() -> None:
        count = 0
        while not over.wait(interval):
            while time.monotonic() >= start + count * interval:
                rig.peers[0].send(b"\x90\x00" + bytes(20))  # Python's, so that a look ends
                count += 1

    thread = threading.Thread(target=send)
    thread.start()
    while (now := time.monotonic()) < start + 0.5:
        _, reports, _ = fast.run(now + 0.1, patience)
        if reports and now > start + 0.2:
            found, rounds = found + len(reports), rounds + 1
    over.set()
    thread.join()
    return found / max(rounds, 1)


def test_a_look_waits_for_enough_packets_if_it_may(rig: Rig) -> None:
    rig.bypass.group_gone(1)
    rig.bypass.group_gone(2)
    # One at a time, or ENOUGH_PACKETS of them; on a busy machine they come in heaps to both.
    assert any(looks(rig, 0.004, 0.2) > looks(rig, 0.004, PAUSE_S) + ENOUGH_PACKETS / 3 for _ in range(5))


def test_of_the_copies_of_an_ack_one_is_reported() -> None:
    with ExitStack() as stack:
        rig = Rig(stack)
        fast = rig.bypass.fast
        rig.bypass.group_gone(1)
        rig.bypass.group_gone(2)
        number = fast.add_group(rig.towards[1].fileno())
        other = fast.add_group(rig.towards[2].fileno())
        ends = [towards.getsockname() for towards in rig.towards.values()]
        assert number >= 0
        assert other >= 0

        def reported() -> list[bytes]:
            for ack in (srt_ack(7), srt_ack(8), srt_ack(7)):
                for server, end in zip(rig.servers, ends, strict=True):
                    server.sendto(ack, end)
            nak = srt_nak((1, 2))
            for server, end in zip(rig.servers, ends, strict=True):
                server.sendto(nak, end)
            found: list[bytes] = []
            for _ in range(10):
                found += [data for _, _, data, _ in fast.run(time.monotonic() + 0.002, PAUSE_S)[1]]
            return sorted(found)

        naks = [srt_nak((1, 2))] * 2
        assert reported() == sorted([srt_ack(7)] * 4 + [srt_ack(8)] * 2 + naks)
        fast.drop_copies()
        assert reported() == sorted([srt_ack(7), srt_ack(8), *naks])
        assert reported() == naks  # long after they are no copies any more: their time stamps differ


def test_what_the_expected_writer_sends_needs_no_record(rig: Rig) -> None:
    fast, first, second = rig.bypass.fast, rig.peers[0], rig.peers[2]
    for group in (1, 2):
        rig.bypass.group_gone(group)

    def read() -> tuple[list[bytes], list[bytes]]:
        first.send(b"1")
        second.send(b"2")
        first.send(b"3")
        apart: list[bytes] = []
        stream: list[bytes] = []
        until = time.monotonic() + 2
        while len(apart) + len(stream) < 3 and time.monotonic() < until:
            _, reports, some = fast.run(time.monotonic() + 0.01, PAUSE_S)
            apart += [data for _, _, data, _ in reports]
            stream += some
            records.update({rig.inbox.resolve(record): record for _, record, _, _ in reports})
        return sorted(apart), stream

    records: dict[Any, bytes] = {}
    assert read() == ([b"1", b"2", b"3"], [])
    fast.expect(records[rig.addresses[0]])
    assert read() == ([b"2"], [b"1", b"3"])
    fast.expect(records[rig.addresses[2]])
    assert read() == ([b"1", b"3"], [b"2"])
    fast.expect(b"")
    assert read() == ([b"1", b"2", b"3"], [])
    with pytest.raises(ValueError, match="too long"):
        fast.expect(bytes(97))
    with pytest.raises(TypeError):
        fast.expect("caller")  # type: ignore[arg-type]


# --- sending -----------------------------------------------------------------------------------------------


def test_the_extension_sends_what_python_sends() -> None:
    lengths = st.lists(st.sampled_from([1332, 1332, 1332, 700, 16, 0, 1, 1500]), max_size=200)

    @settings(max_examples=60, deadline=None)
    @given(lengths)
    def check(wanted: list[int]) -> None:
        datagrams = [bytes([number & 255]) * length for number, length in enumerate(wanted)]
        with ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            peer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            peer.connect(sock.getsockname())
            seen = []
            ways: list[Callable[[], object]] = [
                lambda: fastpath.extension.send(peer.fileno(), datagrams) if fastpath.extension else None,
                lambda: batch.send_by_python(peer, datagrams),
            ]
            for way, said in zip(ways, [0, None], strict=True):
                assert way() == (len(datagrams), said)
                inbox = batch.Inbox()
                got: list[bytes] = []
                while (read := inbox.read(sock))[0]:
                    got += read[0]
                seen.append(got)
            assert seen == [datagrams, datagrams]

    check()


def test_the_extension_names_what_went_wrong() -> None:
    assert fastpath.extension is not None
    send: Callable[..., tuple[int, int]] = fastpath.extension.send
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        assert send(sock.fileno(), [b"1" * 100, b"2" * 100, b"3" * 70000, b"4"]) == (2, 90)  # EMSGSIZE
        assert send(sock.fileno(), []) == (0, 0)
        wrong: tuple[object, ...]
        for wrong in ((sock.fileno(),), (sock.fileno(), b"x"), (sock.fileno(), ["x"]), ("x", [])):
            with pytest.raises(TypeError):
                send(*wrong)
        gone = os.dup(sock.fileno())
        os.close(gone)
        assert send(gone, [b"x"]) == (0, 9)  # EBADF
    wrong_call: tuple[object, ...]
    for wrong_call in ((), (1, b"", b"", b""), (1, "", b"", []), ("1", b"", b"", [])):
        with pytest.raises(TypeError):
            fastpath.extension.send_to(*wrong_call)


def test_of_each_link_control_packets_leave_last(rig: Rig) -> None:
    assert fastpath.extension is not None
    send_links = fastpath.extension.send_links
    descriptors = {1: rig.peers[0].fileno(), 2: rig.peers[1].fileno()}
    control, data = srt_control(wire.SRT_ACKACK), [data_packet(number) for number in range(70)]
    rig.bypass.group_gone(1)  # so that all comes to Python as it is
    first = [(1, control), *((1, each) for each in data), (2, data[0]), (1, b""), (9, data[1])]
    assert send_links(descriptors, first) == []
    found: list[tuple[int, bytes]] = []
    while len(found) < 74:
        _, reports, _ = rig.bypass.fast.run(time.monotonic() + 0.05, PAUSE_S)
        if not reports:
            break
        found += [(rig.inbox.resolve(record)[1], each) for _, record, each, _ in reports]
    one, two = (peer.getsockname()[1] for peer in rig.peers[:2])
    assert [each for port, each in found if port == one] == [*data, b"", control]
    assert [each for port, each in found if port == two] == [data[0]]


def test_what_links_do_not_take_is_handed_back(rig: Rig) -> None:
    assert fastpath.extension is not None
    send_links = fastpath.extension.send_links
    gone = os.dup(rig.listener.fileno())
    os.close(gone)
    long = b"3" * 70000
    pairs = [
        (1, srt_control(wire.SRT_ACKACK)),
        (2, b"x"),
        (1, data_packet(1)),
        (1, long),
        (1, data_packet(2)),
    ]
    assert send_links({1: rig.peers[0].fileno(), 2: gone}, pairs) == [
        (1, 90, [long, data_packet(2), srt_control(wire.SRT_ACKACK)]),  # EMSGSIZE
        (2, 9, [b"x"]),  # EBADF
    ]
    assert send_links({}, []) == []
    assert send_links({}, pairs) == []
    wrong: tuple[Any, ...]
    for wrong in (
        (),
        ({},),
        ([], []),
        ({}, ()),
        ({}, [1]),
        ({}, [(1,)]),
        ({}, [(1, "x")]),
        ({}, [("1", b"")]),
    ):
        with pytest.raises(TypeError):
            send_links(*wrong)
    with pytest.raises(TypeError):
        send_links({1: "x"}, [(1, b"")])


# --- whatever Python says, memory stays whole ---------------------------------------------------------------


def test_wrong_arguments_are_refused(rig: Rig) -> None:
    fast: Any = rig.bypass.fast
    record, now = bytes(16), time.monotonic()
    wrong: list[tuple[str, tuple[object, ...]]] = [
        ("run", (1.0,)),
        ("run", ("x", 1.0)),
        ("add_group", (-1,)),
        ("drop_group", (-1,)),
        ("drop_group", (1 << 40,)),
        ("drop_link", (1 << 20,)),
        ("drop_link", ("x",)),
        ("add_link", (0, record, 16, b"", 0)),
        ("add_link", (500, record, 16, b"", 0, now)),  # there is no such group
        ("add_link", (1 << 20, record, 16, b"", 0, now)),
        ("add_link", (0, record, 17, b"", 0, now)),  # a name longer than the record
        ("add_link", (0, bytes(97), 16, b"", 0, now)),
        ("add_link", (0, record, 16, bytes(97), 0, now)),
        ("add_link", (0, "record", 16, b"", 0, now)),
        ("add_link", (0, record, 16, b"", -1, now)),
        ("add_link", (0, record, 16, b"", 0, "now")),
    ]
    for name, arguments in wrong:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            getattr(fast, name)(*arguments)
    for arguments in ((), (1, 2, "x", 1, 1, 1), (1, 2, 3, 4, 5, 6, 7)):
        with pytest.raises(TypeError):
            type(fast)(*arguments)
    fast.drop_link(99)  # there was none
    rig.peers[0].send(data_packet(1))
    assert rig.run() == 0


def test_while_it_runs_nobody_else_may_use_it(rig: Rig) -> None:
    fast = rig.bypass.fast
    thread = threading.Thread(target=fast.run, args=(time.monotonic() + 0.3, PAUSE_S))
    thread.start()
    refused = ""
    while thread.is_alive() and not refused:
        try:
            fast.heard()
        except RuntimeError as error:
            refused = str(error)
    assert refused == "the data path runs in another thread"
    thread.join()
    assert fast.heard() == []


def test_its_memory_goes_with_it() -> None:
    def mapped_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE") / 2**20

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, select.epoll() as epoll:
        before = mapped_mb()
        for _ in range(100):  # of 15 MB each
            fastpath.open_path(sock.fileno(), epoll.fileno()).add_group(sock.fileno())
        assert mapped_mb() < before + 100


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_extension_answers_from_the_address_that_was_asked(family: socket.AddressFamily) -> None:
    assert fastpath.extension is not None
    with asked(family) as (sock, peer):
        inbox = batch.Inbox()
        with select.epoll() as epoll:
            epoll.register(sock, select.EPOLLIN)
            _, ((_, record, _, _),), _ = fastpath.open_path(sock.fileno(), epoll.fileno()).run(
                time.monotonic() + 2, PAUSE_S
            )
        address = inbox.resolve(record)
        name, control = fastpath.name_and_control(record, inbox.local[address])
        assert fastpath.extension.send_to(sock.fileno(), name, control, [b"1", b"2"]) == 0
        assert [peer.recvfrom(9) for _ in range(2)] == [
            (data, ("127.0.0.9", sock.getsockname()[1])) for data in (b"1", b"2")
        ]
        assert fastpath.extension.send_to(sock.fileno(), b"nonsense", b"", [b"1"]) == 1
