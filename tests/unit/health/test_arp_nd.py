"""Asking a gateway by ARP or neighbour solicitation: what needs no link; with real ones, see tests/netns."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct

import pytest

from netbond.health import arp_nd
from netbond.health.arp_nd import ArpSocket, NoNeighboursError, ask, state
from netbond.kernel import rtnetlink

FOUR, SIX = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("fe80::1")


def test_the_kernel_has_no_entry_for_a_stranger() -> None:
    assert state("lo", FOUR) == ""


def test_states_have_the_names_that_ip_neigh_shows() -> None:
    assert arp_nd.STATES[0x02] == "REACHABLE"
    assert {arp_nd.STATES[0x40], arp_nd.STATES[0x80]} == set(arp_nd.FIXED)


def test_an_entry_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    class Netlink:
        def __enter__(self) -> Netlink:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def setblocking(self, blocking: bool) -> None:
            ours.setblocking(blocking)

        def sendto(self, data: bytes, _to: object) -> None:
            # ndmsg: family, index, state NUD_REACHABLE; then its address (NDA_DST)
            entry = struct.pack("=BxxxiHBB", 2, 1, 0x02, 0, 1) + struct.pack("=HH", 8, 1) + FOUR.packed
            kernels.send(rtnetlink.message(rtnetlink.NEWNEIGH, 0, 1, entry))

        def recv(self, size: int) -> bytes:
            return ours.recv(size)

    with ours, kernels:
        monkeypatch.setattr(socket, "socket", lambda *_: Netlink())
        assert state("lo", FOUR) == "REACHABLE"


def test_a_device_that_is_gone() -> None:
    with pytest.raises(OSError, match="no interface with this name"):
        state("no-such-if", FOUR)


async def test_a_device_without_neighbours_is_not_asked() -> None:
    for address, gateway in ((FOUR, FOUR), (SIX, SIX)):
        with pytest.raises(NoNeighboursError):
            await ask("lo", address, gateway, 1.0, ArpSocket())
    with pytest.raises(OSError, match="No such device"):
        await ask("no-such-if", FOUR, FOUR, 1.0, ArpSocket())


async def test_a_family_cannot_ask_for_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arp_nd, "_hardware", lambda _: bytes(6))
    with pytest.raises(NoNeighboursError, match=r"fe80::1 cannot ask for 192\.0\.2\.1"):
        await ask("lo", SIX, FOUR, 1.0, ArpSocket())


async def test_no_answer_in_time_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> float:
        await asyncio.sleep(60)
        return 0.0

    monkeypatch.setattr(arp_nd, "_hardware", lambda _: bytes(6))
    monkeypatch.setattr(arp_nd, "_arp", silent)
    monkeypatch.setattr(arp_nd, "_solicit", silent)
    assert await ask("lo", FOUR, FOUR, 0.01, ArpSocket()) is None
    assert await ask("lo", SIX, SIX, 0.01, ArpSocket()) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="a packet socket is root's")
async def test_one_packet_socket_serves_all_requests_of_a_device() -> None:
    kept = ArpSocket()
    async with kept.use("lo") as first:
        pass
    async with kept.use("lo") as second:
        assert second is first
    assert [kept.descriptor] == [first.fileno()]
    kept._index += 1  # the interface was made anew under its name
    async with kept.use("lo") as third:
        assert third is not first
    kept.close()
    kept.close()
    assert [kept.descriptor] == [None]
    await asyncio.get_running_loop().shutdown_default_executor()
    assert first.fileno() == third.fileno() == -1


def test_stale_frames_are_dropped_and_a_broken_socket_is_seen() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    for _ in range(5):
        theirs.send(b"old")
    assert arp_nd._emptied(ours)
    with contextlib.suppress(BlockingIOError):
        assert not ours.recv(10)
    ours.close()
    theirs.close()
    assert not arp_nd._emptied(ours)


async def test_a_request_is_repeated_until_its_end_even_if_the_device_goes() -> None:
    sent: list[int] = []
    three = asyncio.Event()

    def send() -> None:
        sent.append(1)
        if len(sent) >= 3:
            three.set()
        if len(sent) > 1:
            raise OSError(19, "No such device")

    with arp_nd.repeated(send, 0.001):
        await asyncio.wait_for(three.wait(), 10)
    count = len(sent)
    await asyncio.sleep(0.01)
    assert len(sent) == count


async def test_a_first_request_that_cannot_be_sent_is_an_error() -> None:
    def send() -> None:
        raise OSError(100, "Network is down")

    with pytest.raises(OSError, match="Network is down"), arp_nd.repeated(send, 1.0):
        pass


def test_the_hop_limit_of_an_advertisement() -> None:
    said = [(socket.SOL_SOCKET, 1, b""), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("=i", 255))]
    assert arp_nd._hop_limit(said) == 255
    assert arp_nd._hop_limit([]) == 0
    assert arp_nd._hop_limit([(socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, b"\xff")]) == 0
