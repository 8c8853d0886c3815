"""`netbond run`: logging, limits, who may run it, and what `--restore` prints."""

from __future__ import annotations

import logging
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.cli import main, run
from netbond.cli.restore import Restored
from netbond.config.schema import Config
from netbond.errors import UnavailableError


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The command blocks SIGHUP and sets up logging for its process, which here is pytest's."""
    root, own = logging.getLogger(), logging.getLogger("netbond")
    before = (root.handlers[:], root.level, own.level)
    yield
    root.handlers[:], root.level, own.level = before
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "netbond.toml"
    path.touch()
    return path


def test_the_agent_needs_root(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["run", "--config", str(config)]) == 77
    assert capsys.readouterr().err == (
        "netbond run: the agent changes routes and needs root; sudo netbond run\n"
    )


@pytest.mark.parametrize(("options", "level"), [([], logging.ERROR), (["--log-level", "INFO"], logging.INFO)])
def test_it_is_run_with_its_configuration_and_file(
    config: Path, options: list[str], level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[object] = []

    class Agent:
        def __init__(self, found: Config, file: Path | None) -> None:
            ran.extend([found, file])

        async def run(self) -> None:
            ran.append("ran")

    config.write_text('[agent]\nlog_level = "error"\n')
    monkeypatch.setattr("netbond.agent.Agent", Agent)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(run, "raise_descriptor_limit", lambda: ran.append("descriptors"))
    assert main(["run", "--config", str(config), *options]) == 0
    assert isinstance(ran[1], Config)
    assert [ran[0], *ran[2:]] == ["descriptors", config, "ran"]
    assert logging.getLogger("netbond").level == level
    assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "it waits until the agent heeds it"


@pytest.mark.parametrize(
    ("restored", "status", "out", "err"),
    [
        (Restored((), ()), 0, "nothing to put back\n", ""),
        (Restored(("sysctl -w a=1",), ()), 0, "sysctl -w a=1\n", ""),
        (Restored((), ("no such file",)), 1, "", "netbond: no such file\n"),
    ],
)
def test_what_was_put_back_is_told(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored: Restored,
    status: int,
    out: str,
    err: str,
) -> None:
    async def restore(_: Config) -> Restored:
        return restored

    monkeypatch.setattr("netbond.cli.restore.restore", restore)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(run, "raise_descriptor_limit", lambda: None)
    assert main(["run", "--restore", "--config", str(config)]) == status
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (out, err)


@pytest.mark.parametrize(
    ("least", "most", "wanted"),
    [
        (1024, 4096, 4096),
        (1024, 1 << 30, 65536),
        (1024, resource.RLIM_INFINITY, 65536),
        (100_000, 1 << 30, 100_000),  # ample already
    ],
)
def test_descriptors_are_ample(monkeypatch: pytest.MonkeyPatch, least: int, most: int, wanted: int) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (least, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    run.raise_descriptor_limit()
    assert limits == [(wanted, most)]


def test_a_box_with_too_few_is_told_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (12, 12))
    with pytest.raises(UnavailableError) as caught:
        run.raise_descriptor_limit()
    assert str(caught.value) == (
        "no more than 12 files may be open at once, and the agent needs 64;"
        " raise the limit: LimitNOFILE= of the unit, or ulimit -Hn"
    )


@pytest.mark.parametrize(("journal", "begins"), [(True, "<4>a"), (False, "")])
def test_one_record_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], journal: bool, begins: str
) -> None:
    if journal:
        monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    else:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    run.set_up_logging("warning")
    logging.getLogger("netbond.x").warning("a\n\x1b[2Jb %s", "c\td")
    logging.getLogger("netbond.x").info("not shown")
    logging.getLogger("pyroute2").info("not shown")
    sys.stderr.flush()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(begins)
    assert line.isprintable()
    assert "WARNING" in line or journal


def test_a_traceback_quotes_nothing_that_harms(capsys: pytest.CaptureFixture[str]) -> None:
    run.set_up_logging("warning")
    try:
        raise ValueError("\x1b[2J" + "A" * 100_000)
    except ValueError:
        logging.getLogger("netbond.x").exception("it failed")
    lines = capsys.readouterr().err.splitlines()
    assert all(line.isprintable() and len(line) < 2500 for line in lines)
    assert lines[-1].startswith("ValueError: \\x1b[2JAAA")


def test_a_traceback_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    run.set_up_logging("warning")
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError:
        logging.getLogger("netbond.x").exception("a mistake")
    assert "Traceback" in capsys.readouterr().err


def test_a_reload_that_comes_during_the_start_does_not_end_it() -> None:
    """systemd takes the service for started, and lets people reload it, as soon as Python runs."""
    code = (
        "import os, signal, argparse\n"
        "from netbond.cli import run\n"
        "from netbond.errors import ConfigError\n"
        "def load(path):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    raise ConfigError('read')\n"
        "run.load = load\n"
        "try:\n"
        "    run.run(argparse.Namespace(config=None))\n"
        "except ConfigError:\n"
        "    print(signal.sigpending())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, "SIGHUP" in done.stdout) == (0, True), done.stderr


def test_it_takes_all_descriptors_that_it_may_have() -> None:
    code = (
        "import resource\n"
        "from netbond.cli.run import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))\n"
        "raise_descriptor_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "(128, 128)\n", done.stderr
