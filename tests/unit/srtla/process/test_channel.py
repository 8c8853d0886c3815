"""The engine's end of the channel, over a real socket pair."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.errors import UsageError
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process import channel as channel_module
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.protocol import (
    FROM_FRONT,
    MAX_LINE_BYTES,
    Forget,
    Links,
    Message,
    Ready,
    Resume,
    Stats,
    encode,
)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """The engine's channel and the agent's end."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours.detach())
    yield channel, theirs
    channel._socket.close()
    theirs.close()


def links(number: int) -> Links:
    return Links((LinkSpec(f"usb{number}", "10.0.0.10", "usb0"),))


async def test_the_first_line_may_bring_more_with_it(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    agent.sendall(encode(Resume({"group": None})) + encode(links(1)) + b"not json\n[]\n" + encode(links(2)))
    assert channel.receive_resume() == {"group": None}
    got: list[Message] = []

    ended = asyncio.Event()
    channel.start(got.append, ended.set)
    await asyncio.sleep(0)
    line = encode(links(3))
    agent.sendall(line[:9])
    await asyncio.sleep(0)
    agent.sendall(line[9:])
    agent.shutdown(socket.SHUT_WR)
    await ended.wait()
    assert got == [links(1), links(2), links(3)]


async def test_messages_that_are_not_the_agents_are_ignored(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    got: list[Message] = []

    ended = asyncio.Event()
    channel.start(got.append, ended.set)
    agent.sendall(b'{"ready":true}\n{"forget":["192.0.2.1",5]}\n{"links":7}\n' + encode(links(1)))
    agent.shutdown(socket.SHUT_WR)
    await ended.wait()
    assert got == [links(1)]


async def test_a_line_without_end_is_dropped_and_the_next_one_read(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, agent = ends
    got: list[Message] = []

    ended = asyncio.Event()
    channel.start(got.append, ended.set)
    loop = asyncio.get_running_loop()
    agent.setblocking(False)
    await loop.sock_sendall(agent, b"x" * (MAX_LINE_BYTES + 200_000))
    await loop.sock_sendall(agent, b"\n" + encode(links(1)))
    agent.shutdown(socket.SHUT_WR)
    await ended.wait()
    assert got == [links(1)]


def test_an_agent_that_says_nothing_and_goes(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    agent.close()
    assert channel.receive_resume() == {}


def test_an_agent_that_says_nothing_and_stays(
    ends: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "RESUME_WITHIN_S", 0.01)
    channel, agent = ends
    agent.sendall(b'{"resume":')
    assert channel.receive_resume() == {}


def test_only_the_first_lines_may_have_the_resume() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours.detach(), FROM_FRONT)
    theirs.sendall(encode(Forget(["192.0.2.1", 5])) + b"rubbish\n" + encode(Resume({"groups": []})))
    theirs.close()
    assert channel.receive_resume(lines=2) == {}
    assert channel.receive_resume(lines=2) == {"groups": []}
    channel.close()


async def test_for_an_agent_that_does_not_read_only_the_newest_waits(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, agent = ends

    channel.start(lambda message: None, lambda: None)
    for number in range(5000):
        channel.show(Stats({"number": number, "fill": "x" * 1000}))
        channel.show(Resume({"number": number}))
    channel.send(Ready())
    assert len(channel._out) < 4096
    received = b""
    agent.setblocking(False)
    while b'{"resume":{"number":4999}}' not in received or b'{"stats":{"number":4999' not in received:
        try:
            received += agent.recv(65536)
        except BlockingIOError:
            await asyncio.sleep(0.001)
    lines = [json.loads(line) for line in received.splitlines()]
    assert {"ready": True} in lines
    assert len(lines) < 5000


def test_a_line_that_the_agent_would_not_take_is_not_sent(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    channel.show(Stats({"fill": "x" * MAX_LINE_BYTES}))
    channel.send(Ready())
    assert agent.recv(65536) == b'{"ready":true}\n'


def test_a_half_written_line_is_ended(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    channel._socket.sendall(b'{"stats":')
    channel.end_line()
    channel.send(Ready())
    assert agent.recv(65536) == b'{"stats":\n{"ready":true}\n'


def test_what_is_sent_to_an_agent_that_has_gone_is_dropped(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    agent.close()
    channel.send(Ready())
    channel.show(Stats({}))
    assert not channel._out
    assert not channel._newest


def test_a_control_fd_that_is_none() -> None:
    with Path(os.devnull).open() as file, pytest.raises(UsageError, match="is not a socket"):
        Channel(file.fileno())
