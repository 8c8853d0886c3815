"""`netbond events`: of an agent, of one that is gone, and again and again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from netbond.cli import events as tested
from netbond.cli import main
from netbond.errors import UsageError
from netbond.events import WARNING, Event, News
from netbond.status.control import Command, ControlServer, Peer, Subscription
from netbond.status.event_log import EventLog
from netbond.status.protocol import EventsReply, EventsRequest

NOW = datetime(2026, 11, 30, 17, 30, 5).astimezone().timestamp()


@contextmanager
def an_agent(path: Path, log: EventLog) -> Iterator[None]:
    """A control server in a thread that has these events."""
    started, stop = threading.Event(), threading.Event()

    def answer(request: EventsRequest, _peer: Peer) -> EventsReply:
        return EventsReply(log.since(request.since))

    def follow(request: EventsRequest) -> AsyncGenerator[EventsReply, None]:
        return log.follow(request.since)

    async def serve() -> None:
        commands: dict[str, Command | Subscription] = {
            "events": Command.typed(EventsRequest, answer, anybody=True),
            "follow-events": Subscription.typed(EventsRequest, follow, anybody=True),
        }
        server = ControlServer(path, commands)
        await server.start()
        started.set()
        await asyncio.to_thread(stop.wait)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def kept(folder: Path) -> EventLog:
    log = EventLog(folder)
    log.tell(News("started", "", "netbond 0.2.0 running: 1 uplink (usb0)", logged=True), 1.0, NOW - 7200)
    text = "usb0 unplugged; no uplink left"
    log.tell(News("unplugged", "usb0", text, WARNING, logged=True), 2.0, time.time() - 5)
    return log


def test_they_are_told_in_lines_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    asked = ["events", "--socket", str(path)]
    with an_agent(path, kept(tmp_path)):
        assert main(asked) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.endswith(" netbond 0.2.0 running: 1 uplink (usb0)")
        assert second.endswith(" ! usb0 unplugged; no uplink left")
        assert main([*asked, "--since", "1min", "--json"]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert {**json.loads(line), "time": 0} == {
            "number": 2,
            "time": 0,
            "kind": "unplugged",
            "subject": "usb0",
            "level": "warning",
            "text": "usb0 unplugged; no uplink left",
        }
        assert main([*asked, "--since", "soon"]) == 64
    assert "'soon' is no time" in capsys.readouterr().err


def test_an_agent_that_is_gone_has_left_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text(f'[agent]\nstate_dir = "{tmp_path}"\ncontrol_socket = "{tmp_path}/s"\n')
    assert main(["events", "--config", str(file)]) == 3
    capsys.readouterr()
    kept(tmp_path).close(3.0)
    file.write_text(file.read_text() + "[agnet]\n")
    assert main(["events", "--config", str(file)]) == 0
    assert "unknown table 'agnet'" in capsys.readouterr().err
    file.write_text(file.read_text().replace("[agnet]\n", ""))
    assert main(["events", "--config", str(file), "--since", "1h"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("! usb0 unplugged; no uplink left\n")
    assert "the agent is not running" in err
    assert err.endswith("; these are what it has kept\n")


def test_who_follows_hears_them_and_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "s"
    log = kept(tmp_path)
    command = [sys.executable, "-m", "netbond", "events", "--follow", "--json", "--socket", str(path)]
    with an_agent(path, log):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["number"] for _ in range(2)] == [1, 2]
    log.tell(News("back", "usb0", "usb0 back", logged=True), 3.0, time.time())
    with an_agent(path, log):
        assert json.loads(process.stdout.readline())["number"] == 3, "each once"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=40)
    assert process.returncode == 0
    assert "trying again" in err
    alone = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert alone.returncode == 3


@pytest.mark.parametrize(
    ("when", "start"),
    [
        ("", 0.0),
        ("90s", NOW - 90),
        ("10min", NOW - 600),
        ("2h", NOW - 7200),
        ("3d", NOW - 3 * 86400),
        ("17:00", NOW - 1805),
        ("9:30", NOW - 8 * 3600 - 5),
        ("17:30:00", NOW - 5),
        ("2026-11-30T17:30", NOW - 5),
        ("2026-11-30 17:30", NOW - 5),
    ],
)
def test_since_when(when: str, start: float) -> None:
    assert tested.start(when, NOW) == start


@pytest.mark.parametrize("when", ["x", "10", "25:00", "-5min", "1e9d", "2026-13-01"])
def test_what_is_no_time(when: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        tested.start(when, NOW)


def test_a_day_is_named_if_it_is_another() -> None:
    event = Event(1, NOW, "x", "", "info", "usb0 back\x1b")
    assert tested.line(event, NOW + 60).plain == r"17:30:05 usb0 back\x1b"
    assert tested.line(event, NOW + 86400).plain == r"2026-11-30 17:30:05 usb0 back\x1b"
