"""The datagrams of a wake-up, read and sent on real sockets over loopback."""

from __future__ import annotations

import random
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla.process import batch
from netbond.srtla.process.batch import MAX_STRANGERS, Inbox
from netbond.srtla.receiver.receiver import Receiver
from tests.srtla_util import data_packet
from tests.unit.srtla.process.asked import asked

FAMILIES = [socket.AF_INET, socket.AF_INET6]


@pytest.fixture(params=FAMILIES)
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A non-blocking socket on every address; with AF_INET6 for IPv4, too."""
    with socket.socket(request.param, socket.SOCK_DGRAM) as sock:
        if request.param == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("", 0))
        sock.setblocking(False)
        yield sock


def peer_of(sock: socket.socket, host: str = "127.0.0.1") -> socket.socket:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.connect((host, sock.getsockname()[1]))
    peer.settimeout(2)
    return peer


def read_all(inbox: Inbox, sock: socket.socket) -> list[tuple[batch.Address, bytes]]:
    out = []
    while got := inbox.read_from(sock):
        out += got
    return out


def test_an_inbox_reads_what_recvfrom_would(listener: socket.socket) -> None:
    inbox = Inbox(8)
    with peer_of(listener) as one, peer_of(listener) as two:
        sent = []
        for number in range(20):
            peer = (one, two)[number % 3 == 0]
            data = bytes([number]) * (number * 70)
            peer.send(data)
            sent.append((peer.getsockname(), data))
        got = [
            ((host.removeprefix("::ffff:"), port), data)
            for (host, port, *_), data in read_all(inbox, listener)
        ]
        assert got == sent
        one.send(b"again")
        ((address, _),) = inbox.read_from(listener)
        one.send(b"again")
        assert listener.recvfrom(9)[1] == address


def test_an_ipv6_peer_with_everything_in_its_address() -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer,
    ):
        sock.bind(("::1", 0))
        sock.setblocking(False)
        peer.connect(sock.getsockname())
        for _ in range(2):
            peer.send(b"!")
        assert Inbox(1).read_from(sock) == [(peer.getsockname(), b"!")]
        assert sock.recvfrom(9)[1] == peer.getsockname()


def test_packed_datagrams_are_taken_apart(listener: socket.socket) -> None:
    if not batch.enable_gro(listener):
        pytest.skip("this kernel does not pack datagrams (UDP_GRO, Linux 5.0)")
    batch.enable_pktinfo(listener)
    inbox = Inbox(8, gro=True)
    rng = random.Random(2)
    with peer_of(listener) as one, peer_of(listener) as two:
        sent = []
        for peer in (one, two, one):
            datagrams = [rng.randbytes(1332) for _ in range(30)] + [rng.randbytes(100)]
            assert batch.send(peer, datagrams) == (31, None)
            peer.send(b"alone")
            sent += [(peer.getsockname()[1], data) for data in [*datagrams, b"alone"]]
        got = read_all(inbox, listener)
        assert [(address[1], data) for address, data in got] == sent
        assert len(inbox.local) == 2
        assert all(local is not None for local in inbox.local.values())


def test_a_length_of_packed_datagrams_that_the_kernel_cut_is_no_length() -> None:
    name = socket.AF_INET.to_bytes(2, sys.byteorder) + (5000).to_bytes(2) + bytes([127, 0, 0, 1])
    cut = struct.pack("@Nii", 16 + 2, socket.IPPROTO_UDP, 104) + bytes(8)  # UDP_GRO
    inbox = Inbox(1)
    assert inbox.resolve(name.ljust(32, b"\0") + cut) == ("127.0.0.1", 5000)
    assert inbox.local == {("127.0.0.1", 5000): None}
    assert batch._segment([(socket.IPPROTO_UDP, 104, b"\x34\x05")]) == 0


def test_datagrams_of_any_length_arrive_in_order() -> None:
    lengths = st.lists(st.sampled_from([1332, 1332, 1332, 700, 16, 0, 1, 1500]), min_size=1, max_size=200)

    @settings(max_examples=60, deadline=None)
    @given(lengths)
    def check(wanted: list[int]) -> None:
        with ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            peer = stack.enter_context(peer_of(sock))
            datagrams = [bytes([number & 255]) * length for number, length in enumerate(wanted)]
            assert batch.send(peer, datagrams) == (len(datagrams), None)
            inbox = Inbox()
            got: list[bytes] = []
            while (read := inbox.read(sock))[0]:
                got += read[0]
            assert got == datagrams

    check()


def test_a_peer_that_writes_to_another_of_our_addresses_is_answered_from_there(
    listener: socket.socket,
) -> None:
    batch.enable_pktinfo(listener)
    inbox = Inbox()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(2)
        for host in ("127.0.0.9", "127.0.0.8", "127.0.0.9", "127.0.0.9"):
            peer.sendto(b"?", (host, listener.getsockname()[1]))
            ((address, _),) = inbox.read_from(listener)
            assert batch.send_to(listener, [(address, b"!")], inbox.local) == 0
            assert peer.recvfrom(9)[1][0] == host


def test_an_inbox_forgets_strangers(listener: socket.socket) -> None:
    inbox = Inbox()
    with peer_of(listener) as known:
        known.send(b"k")
        ((address, _),) = inbox.read_from(listener)
    for number in range(MAX_STRANGERS + 10):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((f"127.1.{number >> 8}.{number & 255}", 0))
            stranger.sendto(b"s", ("127.0.0.1", listener.getsockname()[1]))
        inbox.read_from(listener)
        if inbox.crowded:
            inbox.forget_all_but({address})
    assert address in inbox.local
    assert len(inbox.local) < 20


def test_a_refusal_is_told_and_reading_goes_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            sock.connect(server.getsockname())
            sock.setblocking(False)
        sock.send(b"refused")
        inbox = Inbox()
        datagrams, error = inbox.read(sock)
        assert datagrams == []
        assert isinstance(error, ConnectionRefusedError)
        assert inbox.read(sock) == ([], None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["data", "ack", "junk", "reg2"])), max_size=60))
def test_a_batch_does_what_its_datagrams_do_one_by_one(kinds: list[tuple[int, str]]) -> None:
    links = [("192.0.2.1", port) for port in (1, 2, 3)]
    receivers = []
    for _ in range(2):
        receiver = Receiver(random.Random(1).randbytes, 0.0)
        receiver.restore([(bytes(256), links[:2])], 0.0)
        receivers.append(receiver)
    content = {"ack": b"\x80\x06" + bytes(30), "junk": b"\x90\x00abc", "reg2": b"\x92\x01" + bytes(256)}
    datagrams = [
        (links[link], content.get(kind) or data_packet(number)) for number, (link, kind) in enumerate(kinds)
    ]
    receivers[0].datagrams_from_peers(datagrams, 1.0)
    for address, data in datagrams:
        receivers[1].datagram_from_peer(address, data, 1.0)
    assert receivers[0].datagrams_to_srt() == receivers[1].datagrams_to_srt()
    ours, theirs = receivers[0].datagrams_to_peers(), receivers[1].datagrams_to_peers()
    assert sorted(ours) == sorted(theirs)
    assert receivers[0].next_timer() == receivers[1].next_timer()
    assert receivers[0].stats(2.0) == receivers[1].stats(2.0)


def test_a_refusal_from_before_costs_no_datagram() -> None:
    """The ICMP answer to one datagram makes the next send fail; that one goes out all the same."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        peer.close()
        sock.send(b"refused")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", port))
            again.settimeout(2)
            assert batch.send(sock, [b"1", b"2"]) == (2, None)
            assert [again.recv(9), again.recv(9)] == [b"1", b"2"]


def test_a_datagram_too_long_for_any_packet_is_left_out() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sender.connect(sock.getsockname())
        for size in (1500, 1501, 3000, 0, 5):
            sender.send(bytes(size))
        datagrams, error = batch.Inbox().read(sock)
        assert [len(data) for data in datagrams] == [1500, 0, 5]
        assert error is None


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_answer_leaves_from_the_address_that_was_asked(family: socket.AddressFamily) -> None:
    """127.0.0.1 asks 127.0.0.9; the kernel on its own would answer from 127.0.0.1."""
    with asked(family) as (sock, peer):
        inbox = batch.Inbox()
        ((address, data),) = inbox.read_from(sock)
        assert data == b"?"
        assert batch.send_to(sock, [(address, b"!")], inbox.local) == 0
        assert peer.recvfrom(9)[1][0] == "127.0.0.9"
