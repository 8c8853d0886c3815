"""What both engines share."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import cast

import pytest

from netbond import __version__
from netbond.errors import EXIT_UNAVAILABLE, UnavailableError
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.engine import GC_THRESHOLD, Engine, prepare, serve, set_up_logging
from netbond.srtla.process.loop import PacketLoop
from netbond.srtla.process.protocol import Links, Message, ResumeData, encode
from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics


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
    end = engine.loop.time() + 1.05
    while engine.loop.time() < end:
        engine.publish_resume()
        await asyncio.sleep(0.003)
    assert 2 <= len(told) <= 11
    assert all(after - before >= 0.099 for before, after in itertools.pairwise(told))
    assert len(agent.recv(65536).splitlines()) == len(told)
    channel.close()
    agent.close()


class Minimal(Engine):
    """An engine that does next to nothing, and keeps a record of it."""

    def __init__(self, channel: Channel | None, stats_file: Path | None = None) -> None:
        super().__init__(channel, {}, stats_file)
        self.calls: list[str] = []
        self.due: float | None = None
        self.fails = False
        self.written = ""  # the file with the statistics

    def open(self) -> None:
        self.calls.append("open")
        if self.fails:
            raise UnavailableError("the port is taken", "choose another")

    def maintain(self, now: float) -> None:
        self.calls.append("maintain")

    async def drain(self) -> None:
        self.calls.append("drain")

    def close(self) -> None:
        self.calls.append("close")

    def message(self, message: Message) -> None:
        self.calls.append(message.key)
        self.due = time.monotonic()
        self.arm()

    def on_sighup(self) -> None:
        self.calls.append("sighup")

    def next_timer(self) -> float | None:
        return self.due

    def handle_timer(self, now: float) -> None:
        self.due = None
        self.calls.append("timer")
        os.kill(os.getpid(), signal.SIGHUP)
        if self._stats_path is not None:
            self.written = self._stats_path.read_text()
        self.loop.call_later(0.02, os.kill, os.getpid(), signal.SIGTERM)

    def resume_data(self) -> ResumeData:
        return {"calls": len(self.calls)}

    def stats(self, now: float) -> ReceiverStatistics:
        group = GroupStatistics("0a", False, 1, 1, 1, 1, (), 5, stream="live/~3f2a", stream_id="live/feed1")
        return ReceiverStatistics("receiver", "127.0.0.1:5000", "127.0.0.1:5002", (group,), 0, refused={})


@pytest.fixture(autouse=True)
def collector(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the garbage collector is told; it would last for all tests, and take seconds after thousands."""
    told: list[object] = []
    monkeypatch.setattr(gc, "collect", lambda: told.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: told.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", told.append)
    return told


def channel_pair() -> tuple[Channel, socket.socket]:
    ours, agent = socket.socketpair()
    return Channel(ours.detach()), agent


def test_a_life_from_ready_to_sigterm(tmp_path: Path, collector: list[object]) -> None:
    channel, agent = channel_pair()
    path = tmp_path / "stats.json"
    engine = Minimal(channel, path)
    agent.sendall(encode(Links(())))
    assert serve(engine) == 0
    assert engine.calls == ["open", "maintain", "links", "timer", "sighup", "drain", "close"]
    assert collector == ["collect", "freeze", GC_THRESHOLD]
    lines = [json.loads(line) for line in agent.recv(65536).splitlines()]
    said = [key for line in lines for key in line]
    assert said[:2] == ["ready", "stats"]
    assert "resume" in said
    (group,) = lines[1]["stats"]["groups"]
    assert (group["stream"], group["stream_id"]) == ("live/~3f2a", "live/feed1"), "for the agent"
    assert not path.exists(), "it goes with the engine"
    assert "live/~3f2a" in engine.written
    assert "feed1" not in engine.written, "everybody may read it"
    channel.close()
    agent.close()


def test_nothing_is_served_after_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its loop ended, a sender wrote its encoder's file once more, which then kept the last advice."""
    monkeypatch.setattr("netbond.srtla.process.engine.MAINTENANCE_INTERVAL_S", 0.0)

    class Late(Minimal):
        def open(self) -> None:
            self.near, self.far = socket.socketpair()
            self.loop.add_packets(self.near.fileno(), self.read)
            self.loop.call_later(0.02, os.kill, os.getpid(), signal.SIGTERM)

        def read(self, now: float) -> int:
            self.calls.append("packet")
            return len(self.near.recv(1))

        async def drain(self) -> None:
            self.far.send(b"x")
            self.due = time.monotonic()
            self.arm()

        def handle_timer(self, now: float) -> None:
            self.due = None
            self.calls.append("timer")

    engine = Late(None)
    assert serve(engine) == 0
    with engine.near, engine.far:
        assert engine.calls[-2:] == ["maintain", "close"]


def test_when_the_agent_is_gone_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, agent = channel_pair()
    engine = Minimal(channel)
    agent.close()
    assert serve(engine) == 0
    assert engine.calls == ["open", "maintain", "close"]
    channel.close()


def test_what_is_fatal_is_told_to_the_agent_or_raised() -> None:
    channel, agent = channel_pair()
    engine = Minimal(channel)
    engine.fails = True
    with pytest.raises(SystemExit) as exit_:
        serve(engine)
    assert exit_.value.code == EXIT_UNAVAILABLE
    assert agent.recv(999) == b'{"fatal":"the port is taken; choose another"}\n'
    channel.close()
    agent.close()
    alone = Minimal(None)
    alone.fails = True
    with pytest.raises(UnavailableError, match="the port is taken"):
        serve(alone)


def test_an_engine_that_cannot_become_its_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, agent = channel_pair()
    monkeypatch.setattr("netbond.srtla.process.engine.Channel", lambda fd: channel)
    with pytest.raises(SystemExit):
        prepare("no-such-user", 99)
    assert b"there is no user 'no-such-user'" in agent.recv(999)
    channel.close()
    agent.close()
    with pytest.raises(UnavailableError):
        prepare("no-such-user", None)


def test_what_is_to_be_resumed_is_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netbond.srtla.process.privileges.shed", lambda: None)
    monkeypatch.setattr("netbond.srtla.process.seccomp.install", lambda: "no filter for tests")
    ours, agent = socket.socketpair()
    agent.sendall(b'{"resume":{"group":null}}\n')
    channel, resume = prepare(None, ours.detach())
    assert resume == {"group": None}
    assert channel is not None
    channel.close()
    agent.close()
    for handler in logging.getLogger("netbond").handlers:
        record = logging.LogRecord("netbond", logging.WARNING, "x", 1, "link usb0: down", (), None)
        assert handler.format(record) == "<4>link usb0: down", "the agent logs it at its level"
    assert prepare(None, None) == (None, {})


def test_an_engine_says_which_flavour_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    for why, is_worker in (("", False), ("nothing was compiled", False), ("nothing was compiled", True)):
        monkeypatch.setattr("netbond.srtla.process.engine.why_pure", lambda why=why: why)
        channel, agent = channel_pair()
        engine = Minimal(channel, tmp_path / "stats.json")
        engine.is_worker = is_worker
        agent.close()
        with caplog.at_level("INFO", logger="netbond"):
            assert serve(engine) == 0
        said += [record for record in caplog.records if record.message.startswith(f"netbond {__version__}")]
        channel.close()
        caplog.clear()
    cost = "packets cost two to four times the CPU time"
    assert [(record.levelname, record.message) for record in said] == [
        ("INFO", f"netbond {__version__}, compiled"),
        ("WARNING", f"netbond {__version__}, pure: {cost}: nothing was compiled"),
    ]


def test_the_log_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger("netbond")
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging("warning")
        root.warning("a warning")
        root.info("not shown")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    shown = capsys.readouterr().err
    assert shown.endswith(" a warning\n")
    assert shown.count("\n") == 1
