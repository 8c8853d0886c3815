"""`netbond recv`: the drop-in's arguments and the agent's, and what the engine is made of."""

from __future__ import annotations

from typing import Any

import pytest

from netbond.cli import main
from netbond.config.values import HostPort
from netbond.srtla.process import engine, receiving
from netbond.srtla.receiver import workers


class Started(Exception):  # noqa: N818 - not an error: it ends the command where the engine would begin
    """With what the engine is made of, and whether it has several workers."""


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(options: Any, *_: object) -> None:
        raise Started(options, False)

    def several(options: Any, *_: object) -> int:
        raise Started(options, True)

    monkeypatch.setattr(engine, "prepare", lambda _user, _fd: (None, {}))
    monkeypatch.setattr(engine, "set_up_logging", lambda _level: None)
    monkeypatch.setattr(receiving, "RecvEngine", one)
    monkeypatch.setattr(workers, "run", several)


def started(*words: str) -> tuple[receiving.RecvOptions, bool]:
    with pytest.raises(Started) as caught:
        main(["recv", *words])
    options, several = caught.value.args
    assert isinstance(options, receiving.RecvOptions)
    return options, several


@pytest.mark.parametrize(
    "words",
    [
        ("--srtla_port", "5000", "--srt_hostname", "127.0.0.1", "--srt_port", "5002"),  # as srtla_rec's
        ("--srtla-port", "5000", "--srt-port", "5002"),
    ],
)
def test_as_srtla_rec_is_called(words: tuple[str, ...]) -> None:
    options, several = started(*words)
    assert options.config.listen == HostPort("", 5000)
    assert options.config.srt == HostPort("127.0.0.1", 5002)
    assert not several


def test_as_the_agent_calls_it() -> None:
    options, _ = started("--listen", "0.0.0.0:5000", "--srt", "srt.example:5002", "--control-fd", "3")
    assert options.config.listen == HostPort("0.0.0.0", 5000)
    assert options.config.srt == HostPort("srt.example", 5002)


def test_several_workers() -> None:
    options, several = started("--srtla-port", "5000", "--srt-port", "5002", "--workers", "3")
    assert several
    assert options.config.workers == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--srt", "h:1"], "the port for senders is not clear"),
        (
            ["--srt-port", "1", "--srtla-port", "1", "--listen", "0.0.0.0:1"],
            "the port for senders is not clear",
        ),
        (["--listen", "0.0.0.0:1"], "the SRT server is not clear"),
        (["--listen", "0.0.0.0:1", "--srt", "h:1", "--srt-port", "1"], "the SRT server is not clear"),
        (["1", "h"], "2 arguments given; expected LISTEN_PORT SRT_HOST SRT_PORT"),
        (["1", "h", "1", "--srt-port", "1"], "the ports are given twice"),
        (["--srtla-port", "1", "--srt-port", "70000"], "--srt-port '70000' is not a port"),
    ],
)
def test_mistakes(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recv", *words]) == 64
    assert capsys.readouterr().err.startswith(f"netbond recv: {says}")
