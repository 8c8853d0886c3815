"""`netbond unset`: what it asks the agent for."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbond.status.protocol import SetReply, UnsetRequest
from tests.unit.cli.test_set import run


@pytest.mark.parametrize(
    ("words", "what"), [([], ""), (["mode"], "mode"), (["off"], "mode"), (["weight"], "weight")]
)
def test_it_is_unset(
    words: list[str],
    what: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    asked: list[UnsetRequest] = []

    def answer(request: UnsetRequest) -> SetReply:
        asked.append(request)
        return SetReply("usb1: off unset by root", "netbond set usb1 off", ())

    assert run(tmp_path, ["unset", "usb1", *words], answer) == 0
    assert asked == [UnsetRequest("usb1", what)]
    assert capsys.readouterr().out == "usb1: off unset by root\nto undo: netbond set usb1 off\n"


def test_nothing_was_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, ["unset", "usb1"], lambda _request: SetReply("nothing is set of usb1", "", ())) == 0
    assert capsys.readouterr().out == "nothing is set of usb1\n"


def test_what_cannot_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, ["unset", "usb1", "colour"]) == 64
    assert capsys.readouterr().err == "netbond unset: 'colour' cannot be set; it is mode, weight, priority\n"
