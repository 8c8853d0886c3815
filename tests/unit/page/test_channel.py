"""The page's end of the channel: connections that it makes, and how it hears of the agent's end."""

from __future__ import annotations

import asyncio
import socket

import pytest

from netbond.page.channel import CONNECT, READY, Channel


async def test_a_connection_is_made_over_it() -> None:
    agent, page = socket.socketpair()
    with agent:
        channel = Channel(page.detach())
        channel.ready()
        assert agent.recv(1) == READY
        reader, writer = await channel.connect()
        said, [descriptor], _, _ = socket.recv_fds(agent, 1, 1)
        assert said == CONNECT
        with socket.socket(fileno=descriptor) as other:
            writer.write(b"hello\n")
            assert other.recv(10) == b"hello\n"
            other.send(b"well\n")
        assert await reader.readline() == b"well\n"
        assert await reader.readline() == b""
        writer.close()
        assert not channel.ended.is_set()
        channel.close()


async def test_the_agent_goes() -> None:
    agent, page = socket.socketpair()
    channel = Channel(page.detach())
    agent.send(b"what the page does not know")
    await asyncio.sleep(0.01)
    assert not channel.ended.is_set()
    agent.close()
    async with asyncio.timeout(20):
        await channel.ended.wait()
    with pytest.raises(OSError, match="Broken pipe"):
        await channel.connect()
    channel.close()
