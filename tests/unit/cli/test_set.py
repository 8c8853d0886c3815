"""`netbond set`: what it asks the agent for, what it says, and what it lists."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netbond.cli import main
from netbond.cli.set import lines, seconds, understood, who
from netbond.cli.words import words
from netbond.errors import UnavailableError, UsageError
from netbond.status.control import Command, ControlServer, Peer
from netbond.status.protocol import (
    SetReply,
    SetRequest,
    StatusReply,
    StatusRequest,
    UnsetRequest,
)
from netbond.status.schema import OverrideStatus, from_json
from tests.unit.status.faults import at_home

OFF = OverrideStatus("usb1", "mode", "off", "root", 1020.0, 2580.0, "normal")
WEIGHT = OverrideStatus("lte roof", "weight", 3, "alice", 3600.0, None, None)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (["off"], ("mode", "off")),
        (["mode", "backup"], ("mode", "backup")),
        (["weight", "3"], ("weight", 3)),
        (["priority", "0"], ("priority", 0)),
        (["weight", "auto"], ("weight", "auto")),  # the value's own check says what it may be
        (["weight", "-3"], ("weight", "-3")),
        (["weight", "٣"], ("weight", "٣")),
    ],
)
def test_what_is_to_be_set(said: list[str], meant: tuple[str, object]) -> None:
    assert understood(said) == meant


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (["on"], "'on' cannot be set; it is normal, backup, off, weight N or priority N"),
        (["weight"], "weight needs a number; as in: weight 256"),
        (["colour", "3"], "'colour' cannot be set; it is"),
        (["mode", "3"], "'3' cannot be set; it is"),
        (["off", "weight", "3"], "one thing at a time; it is normal"),
    ],
)
def test_what_is_not(said: list[str], error: str) -> None:
    with pytest.raises(UsageError) as raised:
        understood(said)
    assert str(raised.value).startswith(error)


@pytest.mark.parametrize(
    ("text", "time_s"),
    [("90s", 90), ("10min", 600), ("10m", 600), ("1h30min", 5400), ("1h 30min", 5400), ("2d", 172800)],
)
def test_times(text: str, time_s: float) -> None:
    assert seconds(text) == time_s


@pytest.mark.parametrize("text", ["", "90", "h", "1.5h", "-1h", "1h30", "tomorrow", "1h and"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time; write 90s, 10min, 1h30min or 2d"):
        seconds(text)


def test_who_asks() -> None:
    assert who({}) == ""
    assert who({"SUDO_USER": "alice"}) == "alice"
    assert who({"DOAS_USER": "bob"}) == "bob"


def test_what_is_set_in_lines() -> None:
    assert lines([OFF, WEIGHT]) == [
        "usb1      off       for 43 min more  by root 17 min ago  configured: normal",
        "lte roof  weight 3  until unset      by alice 1 h ago    not there now",
    ]
    assert lines([replace(OFF, uplink="a\x1b")])[0].startswith("a\\x1b  off")


Answer = Callable[[Any], object]


def run(folder: Path, line: list[str], answer: Answer | None = None) -> int:
    """Run netbond while an agent answers so, to all that is asked."""
    socket = folder / "c.sock"
    config = folder / "netbond.toml"
    config.write_text(f'[agent]\ncontrol_socket = "{socket}"\n')

    async def both() -> int:
        def handle(request: Any, _peer: Peer) -> object:
            assert answer is not None
            return answer(request)

        server = ControlServer(
            socket,
            {
                "set": Command.typed(SetRequest, handle),
                "unset": Command.typed(UnsetRequest, handle),
                "status": Command.typed(StatusRequest, handle, anybody=True),
            },
        )
        if answer is not None:
            await server.start()
        try:
            return await asyncio.to_thread(main, [line[0], "--config", str(config), *line[1:]])
        finally:
            if answer is not None:
                await server.stop()

    return asyncio.run(both())


def test_it_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SetRequest] = []

    def answer(request: SetRequest) -> SetReply:
        asked.append(request)
        return SetReply("usb1 set off by alice for 1 h", "netbond unset usb1 mode", (), ("beware",))

    monkeypatch.setenv("SUDO_USER", "alice")
    assert run(tmp_path, ["set", "usb1", "off", "--for", "1h", "--yes"], answer) == 0
    assert asked == [SetRequest("usb1", "mode", "off", 3600.0, "alice", yes=True)]
    said = capsys.readouterr()
    assert said.out == "usb1 set off by alice for 1 h\nto undo: netbond unset usb1 mode\n"
    assert said.err == "netbond set: beware\n"


def test_what_the_agent_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_request: SetRequest) -> SetReply:
        raise UnavailableError("there is no uplink 'usb7'", "did you mean usb1?")

    assert run(tmp_path, ["set", "usb7", "off"], refuse) == 1
    assert capsys.readouterr().err == "netbond set: there is no uplink 'usb7'; did you mean usb1?\n"


def test_only_root_may(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_request: SetRequest) -> SetReply:
        raise UnavailableError("the command 'set' is for root")

    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4711)
    assert run(tmp_path, ["set", "usb1", "off"], refuse) == 77
    assert capsys.readouterr().err == "netbond set: only root can change uplinks; sudo netbond set ...\n"


def test_without_an_agent_nothing_is_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, ["set", "usb1", "off"]) == 3
    assert "and only the agent can do this; start it, and set it then" in capsys.readouterr().err
    assert run(tmp_path, ["set"]) == 3


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (["usb1", "on"], "'on' cannot be set"),
        (["usb1", "weight", "300"], "'300' is no weight; it is a whole number from 1 to 256"),
        (["usb1", "off", "--for", "9999d"], "the time is from 1 s to 366 d"),
        (["usb1", "--yes"], "nothing is said to set; as in: netbond set usb1 off --for 1h"),
    ],
)
def test_what_the_command_line_lacks(
    said: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, ["set", *said]) == 64
    assert error in capsys.readouterr().err


def test_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = replace(from_json(at_home()), overrides=(OFF, WEIGHT))

    def answer(_request: StatusRequest) -> StatusReply:
        return StatusReply(snapshot)

    assert run(tmp_path, ["set"], answer) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["usb1", "lte"]
    assert run(tmp_path, ["set", "usb0"], answer) == 0
    assert capsys.readouterr().out == "nothing is set of usb0\n"
    assert run(tmp_path, ["set", "usb1", "--json"], answer) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["value"], one["left_s"], one["configured"]) == ("off", 2580.0, "normal")


def test_an_agent_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, ["set", "usb1", "off"], lambda _request: OFF) == 1
    assert "the agent's answer is not understood" in capsys.readouterr().err
    assert run(tmp_path, ["set"], lambda _request: OFF) == 1


def test_a_shell_knows_what_may_be_set() -> None:
    (command,) = [each for each in words() if each.name == "set"]
    assert command.arguments[1].choices == ("normal", "backup", "off", "weight", "priority")
