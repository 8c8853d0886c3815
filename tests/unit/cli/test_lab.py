"""`netbond lab`: the options as a lab, and a lab as a table."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netbond.cli import lab as command
from netbond.cli import main
from netbond.errors import NotRunningError
from netbond.lab.lab import Lab

DIRECTION = {"words": ["rate=20"], "packets": 5, "lost": 1, "dropped": 0}


def uplink(device: str, **more: object) -> dict[str, object]:
    return {
        "device": device, "plugged": True, "carrier": True, "addresses": ["10.0.0.10/24"],
        "gateway": "10.0.0.1", "twin": False, "radio": {"up": DIRECTION, "down": DIRECTION}, **more,
    }  # fmt: skip


STATE: dict[str, Any] = {
    "uplinks": [
        uplink("usb0"),
        uplink("usb1", plugged=False, addresses=[], twin=True),
        uplink("usb2", carrier=False, radio={"up": DIRECTION, "down": {**DIRECTION, "words": []}}),
    ],
    "processes": {"cable": {"pid": 7, "alive": True}},
    "logs": "/run/logs",
}


@pytest.fixture(autouse=True)
def sigterm_as_before() -> Iterator[None]:
    """`up` makes SIGTERM an interrupt, of its own process, which here is pytest's."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What a lab is told to do; it does nothing of it."""
    calls: list[tuple[object, ...]] = []

    def method(name: str) -> Any:
        def tell(lab: Lab, *words: object, **more: object) -> None:
            calls.append((name, *words, *more.values()))

        return tell

    for name in ("up", "down", "plug", "unplug", "impair"):
        monkeypatch.setattr(Lab, name, method(name))
    monkeypatch.setattr(Lab, "attach", classmethod(lambda cls, name="nblab": Lab(name, 2)))
    monkeypatch.setattr(command, "all_labs", list)
    return calls


def described(monkeypatch: pytest.MonkeyPatch, *words: str) -> Lab:
    """The lab that `up` would make."""
    found: list[Lab] = []
    monkeypatch.setattr(Lab, "up", lambda lab, wait: found.append(lab))
    assert main(["lab", "up", *words]) == 0
    return found[0]


def test_the_options_of_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = described(monkeypatch, "--modems", "3", "--twins", "2", "--link", "usb0:rate=6,delay=40")
    assert [modem.device for modem in lab.topology.modems] == ["usb0", "usb1", "usb2"]
    assert [modem.twin for modem in lab.topology.modems] == [False, True, True]
    assert lab.modem("usb0").words == ("rate=6", "delay=40")
    named = described(monkeypatch, "--names", "wlan0,usb0", "--twins", "wlan0,usb0", "--name", "b")
    assert [modem.device for modem in named.topology.modems] == ["wlan0", "usb0"]
    assert named.name == "b"
    assert len(described(monkeypatch).topology.modems) == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--names", "a", "--modems", "1"], "--names and --modems exclude each other"),
        (["--twins", "9"], "--twins 9 is not possible; choose from 2 to 4, or give names"),
        (["--twins", "1"], "--twins 1 is not possible"),
        (["--link", "usb0"], "--link usb0: no colon"),
        (["--modems", "0"], "0 modems are not possible"),
    ],
)
def test_mistakes(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "up", *words]) == 64
    assert says in capsys.readouterr().err


def test_what_it_says_when_it_is_up(
    told: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "up", "--modems", "2", "--name", "b", "--no-wait"]) == 0
    assert told == [("up", False)]
    assert capsys.readouterr().out == (
        "lab 'b' is up: usb0, usb1\ntry: netbond lab exec --name b -- ip rule\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["down"], ("down",)),
        (["unplug", "usb1"], ("unplug", "usb1")),
        (["plug", "usb1"], ("plug", "usb1")),
        (["impair", "usb1", "rate=4", "up.loss=1"], ("impair", "usb1", "rate=4", "up.loss=1")),
    ],
)
def test_what_happens_to_modems(
    told: list[tuple[object, ...]], words: list[str], call: tuple[object, ...]
) -> None:
    assert main(["lab", *words]) == 0
    assert told == [call]


def test_a_command_in_a_namespace(
    told: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[object] = []
    monkeypatch.setattr("os.execvpe", lambda file, argv, _: ran.extend([file, *argv]))
    main(["lab", "exec", "--in", "net", "--", "ip", "rule"])
    assert ran == ["ip", "ip", "netns", "exec", "nblab-net", "ip", "rule"]
    assert main(["lab", "exec"]) == 64
    assert "nothing to run; netbond lab exec -- COMMAND ..." in capsys.readouterr().err


def test_status_as_a_table(
    told: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Lab, "status", lambda _: STATE)
    monkeypatch.setattr(command, "all_labs", lambda: ["nblab", "other"])
    assert main(["lab", "status"]) == 0
    head, *rows, others = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:4] == ["uplink", "socket", "address", "modem"]
    assert rows == [
        ["usb0", "in", "10.0.0.10/24", "10.0.0.1", "rate=20", "same", "5/5", "1/1", "0/0"],
        ["usb1", "unplugged", "-", "10.0.0.1", "twin", "rate=20", "same", "5/5", "1/1", "0/0"],
        ["usb2", "no", "carrier", "10.0.0.10/24", "10.0.0.1", "rate=20", "perfect", "5/5", "1/1", "0/0"],
    ]
    assert others == ["other", "labs:", "other"]


def test_a_program_that_has_ended_is_a_failure(
    told: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = {**STATE, "processes": {"cable": {"pid": 7, "alive": False}}}
    monkeypatch.setattr(Lab, "status", lambda _: dead)
    assert main(["lab", "status"]) == 1
    assert "cable has ended; see /run/logs/cable.log" in capsys.readouterr().out
    assert main(["lab", "status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == dead


def test_a_lab_that_is_not_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_cls: type[Lab], name: str) -> Lab:
        raise NotRunningError(f"lab {name!r} is not up", "start it: netbond lab up")

    monkeypatch.setattr(Lab, "attach", classmethod(missing))
    assert main(["lab", "status"]) == 3
    assert capsys.readouterr().err == "netbond lab: lab 'nblab' is not up; start it: netbond lab up\n"


def test_ctrl_c_takes_down_what_was_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    def up(lab: Lab, wait: bool) -> None:
        lab.made = True
        raise KeyboardInterrupt

    monkeypatch.setattr(Lab, "up", up)
    monkeypatch.setattr(Lab, "down", lambda _: calls.append("down"))
    args = argparse.Namespace(
        name="b", names=None, modems=1, twins="", link=[], lease=600, no_receiver=True, agent=False,
        no_wait=False, foreground=False,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        command._up(args)
    assert calls == ["down"]
