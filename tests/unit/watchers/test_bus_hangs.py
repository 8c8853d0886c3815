"""A bus or a service that hangs, or is not there: the event loop must not wait for it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from dbus_next import Message

from netbond.cli.run import raise_descriptor_limit
from netbond.watchers.bus import Follower
from netbond.watchers.modemmanager import (
    NAME,
)
from tests.buses import PrivateBus, StandIn, until
from tests.unit.watchers.modems import LATE, lag, watching


async def test_a_service_that_never_answers(bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Follower._ask.__kwdefaults__ is not None
    monkeypatch.setitem(Follower._ask.__kwdefaults__, "within_s", 0.1)  # instead of CALL_TIMEOUT_S
    calls: list[Message] = []

    def silent(message: Message) -> None:
        calls.append(message)

    async with watching(bus.address) as watcher, StandIn(bus, NAME, silent):
        await until(lambda: watcher.status() == "not answering", "not answering")
        assert "GetManagedObjects: no answer within" in watcher.reason()
        calls.clear()
        assert await lag(1.0) < LATE
        # 0.1 s each, and pauses that double: no hail of calls.
        assert 1 <= len(calls) <= 3
    assert watcher.facts() == ()


@pytest.mark.parametrize("hangs", ["the service", "the bus"])
async def test_what_begins_to_hang_while_it_is_followed(
    bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    """It says nothing, like one to which nothing happens; so it is asked now and then."""
    monkeypatch.setattr("netbond.watchers.bus.ASK_INTERVAL_S", 0.05)
    assert Follower._ask.__kwdefaults__ is not None
    monkeypatch.setitem(Follower._ask.__kwdefaults__, "within_s", 0.5)
    silent = False

    def answer(message: Message) -> Message | None:
        if silent:
            return None
        if message.member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [{}])
        return Message.new_method_return(message, "s", [""])

    assert bus.process is not None
    async with watching(bus.address) as watcher, StandIn(bus, NAME, answer):
        await until(lambda: watcher.status() == "running", "running")
        await asyncio.sleep(0.3)
        assert watcher.status() == "running"
        silent = hangs == "the service"
        if not silent:
            os.kill(bus.process.pid, signal.SIGSTOP)
        try:
            await until(lambda: watcher.status() == "not answering", "not answering")
        finally:
            os.kill(bus.process.pid, signal.SIGCONT)
        silent = False
        await until(lambda: watcher.status() == "running", "running again")


async def test_a_bus_that_begins_to_hang_without_the_service(
    bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netbond.watchers.bus.ASK_INTERVAL_S", 0.05)
    assert Follower._ask.__kwdefaults__ is not None
    monkeypatch.setitem(Follower._ask.__kwdefaults__, "within_s", 0.5)
    assert bus.process is not None
    async with watching(bus.address) as watcher:
        await until(lambda: watcher.status() == "absent", "absent")
        os.kill(bus.process.pid, signal.SIGSTOP)
        try:
            await until(lambda: watcher.status() == "not answering", "not answering")
        finally:
            os.kill(bus.process.pid, signal.SIGCONT)
        await until(lambda: watcher.status() == "absent", "absent again")


async def test_no_bus_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "netbond"):
        async with watching(f"unix:path={tmp_path}/none") as watcher:
            await until(lambda: watcher.status() == "no bus", "no bus")
            assert watcher.reason() == f"unix:path={tmp_path}/none: No such file or directory"
            await asyncio.sleep(0.8)  # a few attempts
            assert len(caplog.records) == 1


async def test_a_bus_that_closes_while_it_is_greeted(tmp_path: Path) -> None:
    """dbus-next 0.2.3 reads the end of the connection for ever then, and nothing else runs any more."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    async with (
        await asyncio.start_unix_server(greet, tmp_path / "bus"),
        watching(f"unix:path={tmp_path}/bus") as watcher,
    ):
        await until(lambda: watcher.status() == "no bus", "no bus")
        assert "closed the connection" in watcher.reason()
        assert await lag(0.5) < LATE


def crowd(bus: PrivateBus) -> list[socket.socket]:
    """Connections that greet nobody, until the backlog is full."""
    raise_descriptor_limit()  # the backlog may be 4,096, and the usual limit is 1,024
    clients: list[socket.socket] = []
    for _ in range(10_000):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.setblocking(False)
        try:
            client.connect(str(bus.socket))
        except BlockingIOError:
            client.close()
            return clients
        clients.append(client)
    pytest.fail("the backlog never filled")


async def test_a_bus_that_hangs(bus: PrivateBus) -> None:
    """With its backlog full, connect(2) would wait for ever; the event loop must not."""

    assert bus.process is not None
    os.kill(bus.process.pid, signal.SIGSTOP)
    clients = []
    try:
        clients = crowd(bus)
        async with watching(bus.address) as watcher:
            assert await lag(0.5) < LATE
            assert watcher.status() == "no bus"
            os.kill(bus.process.pid, signal.SIGCONT)
            for client in clients:
                client.close()
            await until(lambda: watcher.status() == "absent", "the bus goes on")
    finally:
        os.kill(bus.process.pid, signal.SIGCONT)
        for client in clients:
            client.close()
