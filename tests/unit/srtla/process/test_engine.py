"""What both engines share."""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import cast

from netbond.srtla.process.channel import Channel
from netbond.srtla.process.engine import Engine
from netbond.srtla.process.loop import PacketLoop
from netbond.srtla.process.protocol import ResumeData


async def test_resumes_are_told_at_most_ten_times_a_second() -> None:
    ours, agent = socket.socketpair()
    channel = Channel(ours.detach())
    told: list[float] = []

    class Changing(Engine):
        def resume_data(self) -> ResumeData:
            told.append(self.loop.time())
            return {"changed": len(told)}

    engine = Changing(channel, {})
    engine.loop = cast("PacketLoop", asyncio.get_running_loop())
    end = engine.loop.time() + 0.35
    while engine.loop.time() < end:
        engine.publish_resume()
        await asyncio.sleep(0.003)
    assert 2 <= len(told) <= 4
    assert all(after - before >= 0.099 for before, after in itertools.pairwise(told))
    assert len(agent.recv(65536).splitlines()) == len(told)
    channel.close()
    agent.close()
