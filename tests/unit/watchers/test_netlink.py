"""What pyroute2 makes of a broken socket must not end the watch: nobody would hear of a modem that goes."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from pyroute2 import NetlinkError

from netbond.kernel import rtnetlink
from netbond.model import IPAddress
from netbond.watchers import netlink


class Events:
    """A socket for events that fails as told, once, and then has one more."""

    script: list[Exception | None]
    opened = 0

    def __init__(self, **_options: Any) -> None:
        Events.opened += 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    def set_marshal(self, marshal: object) -> None:
        assert isinstance(marshal, netlink.Headers)

    async def bind(self, groups: int) -> None:
        assert groups == netlink.GROUPS

    async def get(self) -> AsyncIterator[dict[str, Any]]:
        if not self.script:
            await asyncio.Event().wait()
        found = self.script.pop(0)
        if found is not None:
            raise found
        yield {"header": {"type": 24}}


def nobody(_device: str, _address: IPAddress, _reached: bool) -> None:
    """Nobody asked about neighbours."""


@pytest.mark.parametrize(
    ("error", "sockets"),
    [
        (NetlinkError(errno.ECONNRESET, "reset"), 2),
        (OSError(errno.ECONNRESET, "reset"), 2),
        (OSError(errno.ENOBUFS, "overrun"), 1),
        (KeyError("no free address available"), 2),
    ],
)
async def test_events_go_on_after_whatever_failed(
    error: Exception, sockets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "AsyncIPRoute", Events)
    monkeypatch.setattr(netlink, "REOPEN_AFTER_S", 0.0)
    Events.script, Events.opened = [error, None], 0

    routes = asyncio.Event()
    watch = asyncio.create_task(
        netlink.watch(lambda moved: None if moved else routes.set(), nobody, asyncio.Event())
    )
    heard = asyncio.create_task(routes.wait())
    await asyncio.wait({watch, heard}, timeout=5.0, return_when=asyncio.FIRST_COMPLETED)
    assert heard.done()
    for task in (watch, heard):
        task.cancel()
    assert Events.opened == sockets


def neighbour(index: int, address: str, state: int, kind: int = rtnetlink.NEWNEIGH) -> dict[str, Any]:
    packed = ipaddress.ip_address(address).packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    payload = struct.pack("=BxxxiHBBHH", family, index, state, 0, 1, 4 + len(packed), 1) + packed
    return next(iter(netlink.Headers().parse(rtnetlink.message(kind, 0, 0, payload))))


async def test_of_neighbours_only_who_was_reached_and_who_was_not_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And none of it is a reason to look at the routes: a LAN has neighbours by the hundred."""
    reachable, stale, failed, no_arp = 0x02, 0x04, 0x20, 0x40
    news = [
        *(neighbour(1, "127.0.0.9", state) for state in (stale, reachable, no_arp, failed)),
        neighbour(1, "fe80::1", reachable),
        neighbour(1, "127.0.0.9", failed, kind=29),  # RTM_DELNEIGH
        neighbour(1 << 30, "127.0.0.9", failed),  # no such device
        {"header": {"type": rtnetlink.NEWNEIGH}, "payload": b"cut"},
        {"header": {"type": rtnetlink.NEWROUTE}, "payload": b""},
    ]

    class Told(Events):
        async def get(self) -> AsyncIterator[dict[str, Any]]:
            while news:
                yield news.pop(0)
            await asyncio.Event().wait()

    monkeypatch.setattr(netlink, "AsyncIPRoute", Told)

    heard: list[tuple[str, str, bool]] = []
    looks: list[bool] = []
    ready = asyncio.Event()
    task = asyncio.create_task(
        netlink.watch(looks.append, lambda d, a, r: heard.append((d, str(a), r)), ready)
    )
    while len(looks) < 2:
        assert not task.done()
        await asyncio.sleep(0)
    task.cancel()
    assert heard == [
        ("lo", "127.0.0.9", True),
        ("lo", "127.0.0.9", False),
        ("lo", "fe80::1", True),
    ]
    assert looks == [True, False]


# --- what stands in for pyroute2's decoder ----------------------------------------------------------------


def types(data: bytes) -> list[int]:
    return [message["header"]["type"] for message in netlink.Headers().parse(data, 0, None)]


def test_of_a_message_only_its_header_is_read() -> None:
    address = rtnetlink.message(rtnetlink.NEWADDR, 0, 0, b"whatever this is")
    route = rtnetlink.message(rtnetlink.NEWROUTE, 0, 0, b"")
    assert types(address + route) == [rtnetlink.NEWADDR, rtnetlink.NEWROUTE]


@pytest.mark.parametrize("cut", range(0, 36, 3))
def test_a_message_cut_off_is_none(cut: int) -> None:
    message = rtnetlink.message(rtnetlink.NEWADDR, 0, 0, b"20 bytes of payload.")
    assert types(message[:cut]) == []
    assert types(message + message[:cut]) == [rtnetlink.NEWADDR]


def test_what_pyroute2_says_of_its_socket_is_an_error() -> None:
    """CoreProtocol.enqueue_error puts it between the messages, in this form."""
    data = struct.pack("IHHQIQQ", 28, 2, 0, 0, errno.ENOBUFS, 0, 0)
    (message,) = netlink.Headers().parse(data)
    assert message["header"]["error"].errno == errno.ENOBUFS
