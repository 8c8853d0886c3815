"""Each option of other projects' programs, as they were in November 2026, held against netbond's.

The tables are facts about BELABOX/srtla 37862da, OpenIRL/srtla e9ba6a3 (0.9) and c923b5b (1.0),
irlserver/srtla 39e324a, irlserver/srtla_send 86b90aa, CERALIVE/srtla c9ac15a, CERALIVE/srtla-send-rs 06f698b,
and what former versions of these had. Where the programs are at hand (NETBOND_FOREIGN_SRTLA), the tables are
held against them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netbond import __version__
from netbond.cli import main
from netbond.cli.dropin import LOG_LEVELS
from netbond.config.values import HostPort
from netbond.srtla import flavour
from netbond.srtla.process import engine, receiving, sending
from tests import foreign

PLACES = ("6000", "bond.example", "5000", "/nonexistent/ips")

# Program: its options, with a value each; "" for a flag.
RECEIVERS: dict[str, dict[str, str]] = {
    "BELABOX": {},
    "OpenIRL 0.9": {
        "--srtla_port": "5000", "--srt_hostname": "srt_server", "--srt_port": "4001", "--verbose": "",
    },
    "OpenIRL 1.0": {
        "--srtla_port": "5000", "--srt_hostname": "srt_server", "--srt_port": "4001", "--log_level": "trace",
    },
    "irlserver": {
        "--srtla_port": "5000", "--srt_hostname": "srt_server", "--srt_port": "4001", "--log_level": "warn",
    },
    "irlserver, former versions": {"--verbose": "", "--debug": ""},
    "CERALIVE": {
        "--srtla_port": "5000", "--srt_hostname": "srt_server", "--srt_port": "4001",
        "--log_level": "critical",
    },
}  # fmt: skip
SENDERS: dict[str, dict[str, str]] = {
    "BELABOX": {},
    "irlserver": {"--verbose": ""},
    "CERALIVE": {"--verbose": "", "--stats-file": "/tmp/stats"},
    "irlserver, Rust": {
        "--control-socket": "/tmp/s.sock", "--config": "/etc/s.toml", "--mode": "enhanced",
        "--no-quality": "",
        "--no-stall-deselect": "", "--stall-min-in-flight": "32", "--stall-ack-stale-ms": "3000",
        "--conn-timeout-ms": "5000", "--priority-bind": "127.0.0.1:7000", "--metrics-bind": "127.0.0.1:9099",
    },
    "irlserver, Rust, former versions": {
        "--classic": "", "--no-stickiness": "", "--priority": "", "--exploration": "", "--rtt-threshold": "",
        "--rtt-delta-ms": "30",
    },
    "CERALIVE, Rust": {
        "--verbose": "", "--dry-run": "", "--stats-file": "/tmp/stats", "--stats-file-interval": "1000",
        "--control-socket": "/tmp/s.sock", "--mode": "edpf", "--no-quality": "", "--exploration": "",
        "--rtt-delta-ms": "30", "--earned-ack-window": "", "--stall-deselect": "",
        "--stall-min-in-flight": "32", "--stall-ack-stale-ms": "3000", "--stall-reprobe-ms": "1000",
    },
}  # fmt: skip
REPLACED = {"--control-socket": "--stats-file", "--config": "[[sender]]", "--metrics-bind": "docs/metrics.md"}
SILENT = {"--verbose", "--stats-file", "--classic", "--dry-run"}  # netbond's own, or the same by another name


class Started(Exception):  # noqa: N818 - not an error: it ends the command where the engine would begin
    """With what the engine is made of."""


@pytest.fixture(autouse=True)
def levels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No engine starts; the levels of the log."""
    found: list[str] = []

    def start(options: Any, *_: object) -> None:
        raise Started(options)

    monkeypatch.setattr(engine, "prepare", lambda _user, _fd: (None, {}))
    monkeypatch.setattr(engine, "set_up_logging", found.append)
    monkeypatch.setattr(sending, "SendEngine", start)
    monkeypatch.setattr(receiving, "RecvEngine", start)
    return found


def started(*words: str) -> Any:
    with pytest.raises(Started) as caught:
        main(list(words))
    return caught.value.args[0]


def each(programs: dict[str, dict[str, str]]) -> list[Any]:
    return [
        pytest.param(option, value, id=f"{program} {option}")
        for program, options in programs.items()
        for option, value in options.items()
    ]


def test_the_arguments_of_all_senders() -> None:
    config = started("send", *PLACES).config
    assert (config.listen, config.receiver) == (HostPort("", 6000), HostPort("bond.example", 5000))


@pytest.mark.parametrize(("option", "value"), each(SENDERS))
def test_each_option_of_a_sender(
    option: str,
    value: str,
    levels: list[str],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["send", *PLACES[:2], option, *([value] if value else []), *PLACES[2:]]
    if option in REPLACED:
        assert main(words) == 64
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"netbond send: {option} is not an option of netbond's; ")
        assert REPLACED[option] in line
    elif option == "--dry-run":
        assert main(words) == 69  # there is no such list
        assert capsys.readouterr().err.startswith("netbond send: /nonexistent/ips: No such file")
    else:
        found = started(*words)
        assert found.list_file == Path("/nonexistent/ips")
        assert found.config.mode == ("classic" if option == "--classic" else "adaptive")
        assert levels == ["debug" if option == "--verbose" else "info"]
        lines = [record.getMessage() for record in caplog.records]
        if option in SILENT:
            assert lines == []
        elif option in ("--mode", "--rtt-threshold"):
            mode = value or "rtt-threshold"
            assert lines == [f"mode {mode!r} is another program's; using mode 'adaptive' instead"]
        else:
            assert lines == [f"without effect in netbond: {option}"]


def test_what_has_no_effect_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    started("send", "--no-quality", "--stall-min-in-flight=4", *PLACES, "--no-quality")
    (record,) = caplog.records
    assert record.getMessage() == "without effect in netbond: --no-quality, --stall-min-in-flight"


@pytest.mark.parametrize(
    "words",
    [
        ("5000", "srt_server", "4001"),  # BELABOX
        ("--srt_hostname", "srt_server"),  # all others: their defaults
        ("--srtla_port=5000", "--srt_hostname=srt_server", "--srt_port=4001"),
    ],
)
def test_the_arguments_of_all_receivers(words: tuple[str, ...]) -> None:
    config = started("recv", *words).config
    assert (config.listen, config.srt) == (HostPort("", 5000), HostPort("srt_server", 4001))


def test_a_receiver_that_is_told_nothing_has_the_ports_of_srtla_rec() -> None:
    assert started("recv").config.srt == HostPort("127.0.0.1", 4001)


@pytest.mark.parametrize(("option", "value"), each(RECEIVERS))
def test_each_option_of_a_receiver(option: str, value: str, levels: list[str]) -> None:
    config = started("recv", option, *([value] if value else [])).config
    assert config.listen.port == 5000
    debug = option in ("--verbose", "--debug") or value == "trace"
    assert levels == ["debug" if debug else value if option == "--log_level" else "info"]


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error", "critical"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("role", ["send", "recv"])
def test_each_level_of_the_log(role: str, case: Callable[[str], str], level: str, levels: list[str]) -> None:
    assert level in LOG_LEVELS
    started(role, "--log_level", case(level), *(PLACES if role == "send" else ()))
    assert levels == ["debug" if level == "trace" else level]


@pytest.mark.parametrize("role", ["send", "recv"])
@pytest.mark.parametrize("option", ["-v", "--version"])
def test_the_version(role: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([role, option])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"netbond {__version__} ({flavour()})\n"


def test_a_dry_run_says_what_would_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ips"
    path.write_text("10.0.0.10\nnonsense\n10.0.0.11%usb1\n")
    assert main(["send", "6000", "127.0.0.1", "5000", str(path), "--dry-run"]) == 0
    complaint, links, receiver = capsys.readouterr().out.splitlines()
    assert complaint.startswith(f"{path}:2: 'nonsense' is not ADDRESS")
    assert (links, receiver) == ("links: 10.0.0.10, 10.0.0.11%usb1", "receiver 127.0.0.1:5000: 127.0.0.1")
    path.write_text("\n")
    assert main(["send", "6000", "127.0.0.1", "5000", str(path), "--dry-run"]) == 69
    assert capsys.readouterr().err == f"netbond send: {path} has no links; see docs/send.md\n"
    path.write_text("10.0.0.10\n")
    assert main(["send", "6000", "no.such.name.invalid", "5000", str(path), "--dry-run"]) == 69
    assert capsys.readouterr().err.startswith("netbond send: receiver no.such.name.invalid:5000: ")


@pytest.mark.parametrize("folder", foreign.folders() or [None], ids=str)
def test_the_programs_at_hand_have_no_other_options(folder: Path | None) -> None:
    if folder is None:
        pytest.skip("NETBOND_FOREIGN_SRTLA names no folder of srtla_send and srtla_rec")
    for name in foreign.programs(folder):
        known = {"--help", "--version"}.union(*(SENDERS if name == "srtla_send" else RECEIVERS).values())
        told = subprocess.run([folder / name, "--help"], capture_output=True, text=True, timeout=60)
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", told.stdout + told.stderr)) <= known
