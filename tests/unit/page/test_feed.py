"""Following the agent: only while somebody looks, and through its end and return."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netbond.events import Event
from netbond.page import feed as feed_module
from netbond.page.feed import Feed, SilentError, at, connected
from netbond.srtla.advice import Advice
from netbond.srtla.watch import VERSION, WatchLine
from tests.unit.page.agents import PretendedAgent


async def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "STATUS_S", 0.05)
    monkeypatch.setattr(feed_module, "AGAIN_S", 0.1)
    monkeypatch.setattr(feed_module, "LINGER_S", 0.2)


async def test_nobody_looks_and_nothing_is_asked(tmp_path: Path) -> None:
    agent = PretendedAgent()
    async with agent.at(tmp_path / "c.sock"):
        feed = Feed(at(tmp_path / "c.sock"))
        assert feed.state() == {}
        feed.enter()
        feed.enter()
        await until(lambda: feed.state().get("version") == "0.1.0", "a snapshot")
        await until(lambda: agent.followers, "events are followed")
        feed.leave()
        await until(lambda: agent.asked > 3, "one still looks")
        feed.leave()
        await until(lambda: not agent.followers, "nothing is followed")
        asked = agent.asked
        await asyncio.sleep(0.2)
        assert agent.asked <= asked + 1
        feed.stop()


async def test_who_comes_back_soon_finds_it_going_on(tmp_path: Path) -> None:
    agent = PretendedAgent()
    async with agent.at(tmp_path / "c.sock"):
        feed = Feed(at(tmp_path / "c.sock"))
        feed.enter()
        await until(lambda: agent.asked, "a question")
        feed.leave()
        feed.enter()
        await asyncio.sleep(0.3)
        asked = agent.asked
        await until(lambda: agent.asked > asked, "it goes on")
        feed.stop()


async def test_events_and_advice(tmp_path: Path) -> None:
    agent = PretendedAgent()
    agent.line = WatchLine(
        VERSION, "127.0.0.1:6000", "connected", Advice(1_000_000, 2_000_000, 0, 500, 0.0, 40)
    )

    def sender() -> dict[str, object]:
        found: dict[str, object] = feed.state().get("senders", {}).get("127.0.0.1:6000", {})
        return found

    async with agent.at(tmp_path / "c.sock"):
        feed = Feed(at(tmp_path / "c.sock"))
        feed.enter()
        await until(
            lambda: feed.state().get("events") == {"1": [100, "info", "netbond is running"]}, "an event"
        )
        await until(lambda: sender().get("advised") == 1000, "advice")
        agent.events.append(Event(2, 105.0, "uplink", "usb0", "warning", "usb0 unplugged"))
        await until(
            lambda: feed.state().get("events", {}).get("2") == [105, "warning", "usb0 unplugged"], "another"
        )
        feed.stop()


async def test_the_agent_goes_and_comes_back(tmp_path: Path) -> None:
    agent = PretendedAgent()
    feed = Feed(at(tmp_path / "c.sock"))
    feed.enter()
    await until(lambda: feed.state() == {"silent": "the agent is not running"}, "nobody is there")
    async with agent.at(tmp_path / "c.sock"):
        await until(lambda: "version" in feed.state() and "silent" not in feed.state(), "it is there")
    await until(lambda: "silent" in feed.state(), "it is gone")
    assert feed.state()["version"] == "0.1.0"  # what was known stays readable
    async with agent.at(tmp_path / "c.sock"):
        await until(lambda: "silent" not in feed.state(), "it is back")
        agent.snapshot = None
        asked = agent.asked
        await until(lambda: agent.asked > asked + 1, "it has only just started")
        assert "silent" not in feed.state()
        agent.snapshot = {"version": 1}
        await until(lambda: "silent" in feed.state(), "it makes no sense")
        assert str(feed.state()["silent"]).startswith("the agent's answer is not understood: ")
    feed.stop()


async def test_an_agent_that_hangs(tmp_path: Path) -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(nothing, tmp_path / "c.sock")
    with pytest.raises(SilentError, match="does not answer"):
        async with connected(at(tmp_path / "c.sock"), 0.1) as ask:
            await ask({"command": "status"})
    server.close()
    await asyncio.sleep(0.05)  # for `nothing` to end
