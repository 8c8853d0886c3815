"""The command line's frame: what a user sees who mistypes, and what is imported."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netbond import __version__, srtla
from netbond.cli import COMMANDS, main


def test_nothing_at_all_is_answered_by_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 64
    shown = capsys.readouterr().err
    assert all(f"  {name}" in shown for name in COMMANDS)


def test_a_mistyped_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["stauts"])
    assert caught.value.code == 64
    assert "there is no command 'stauts'; did you mean 'status'?" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"netbond {__version__} ({srtla.flavour()})\n"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ("help", 0, "usage: netbond [-h] [--version] COMMAND"),
        ("help status", 0, "usage: netbond status"),
        ("version", 0, f"netbond {__version__} ("),
        ("help stauts", 64, "there is no command 'stauts'; did you mean 'status'?"),
        (
            "status --jsno",
            64,
            "unrecognized arguments: --jsno; did you mean --json? or see 'netbond status --help'",
        ),
        ("status --xyzzy", 64, "unrecognized arguments: --xyzzy; see 'netbond status --help'"),
    ],
)
def test_help_in_other_forms(words: str, status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == status
    said = capsys.readouterr()
    assert says in said.out + said.err


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: netbond {command}")


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback() -> None:
    shell = f"{sys.executable} -m netbond config example | true"
    result = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
    assert result.stderr == ""


def run_in_shell(words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f"{sys.executable} -m netbond {words}"], capture_output=True, text=True
    )


def test_a_full_disk_is_said_in_a_line() -> None:
    result = run_in_shell("config example > /dev/full")
    assert (result.returncode, result.stderr) == (1, "netbond config: failed: No space left on device\n")


@pytest.mark.parametrize("words", ["config example", "status --socket /nonexistent"])
def test_closed_streams_are_borne(words: str) -> None:
    assert "Traceback" not in run_in_shell(f"{words} >&-").stderr
    assert "Traceback" not in run_in_shell(f"{words} 2>&1 <&- >&-").stderr
    assert run_in_shell(f"{words} 2>&-").returncode in (0, 3)


@pytest.mark.parametrize("command", ["hook", "send", "recv", "status", "config"])
def test_only_what_a_command_needs_is_imported(command: str) -> None:
    """A DHCP client waits for the hook, and an engine has an upper bound of memory."""
    code = (
        f"import sys, netbond.cli.{command}; print('pyroute2' in sys.modules, 'netbond.agent' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
    )


@pytest.mark.parametrize(("name", "command"), [("srtla_send", "send"), ("srtla_rec", "recv")])
@pytest.mark.parametrize("by_shell", [False, True])
def test_a_link_by_the_name_of_another_program_is_it(
    name: str, command: str, by_shell: bool, tmp_path: Path
) -> None:
    """Scripts start `srtla_send`, and look for a process of that name: `killall -HUP srtla_send`."""
    script = tmp_path / "netbond"
    first_line = f"#!{sys.executable}\n"
    if by_shell:  # as pip writes it if the interpreter's path is too long for the kernel
        first_line = f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n"
    told = "import netbond.cli.send, netbond.cli.recv as recv; from pathlib import Path\n"
    told += "def show(args): print(args.log_level, Path('/proc/self/comm').read_text()); return 0\n"
    told += "netbond.cli.send.run = recv.run = show\n"
    script.write_text(f"{first_line}{told}import sys; from netbond.cli import main; sys.exit(main())\n")
    script.chmod(0o755)
    (tmp_path / name).symlink_to(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}

    def run(*words: str) -> str:
        done = subprocess.run([tmp_path / name, *words], capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert run("--log-level", "debug") == f"debug {name}\n\n"
    assert run("--help").startswith(f"usage: netbond {command} ")


def test_a_drop_in_survives_a_signal_that_comes_before_its_engine() -> None:
    """`killall -HUP srtla_send` must not end one that has just been started."""
    told = "import signal, sys; from netbond import cli; sys.argv[:] = ['/opt/srtla_send', '-v']\n"
    told += "try: cli.main()\nfinally: print(signal.getsignal(signal.SIGHUP).name)\n"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert done.stdout.startswith(f"netbond {__version__}")
    assert done.stdout.endswith("\nSIG_IGN\n")


HUGE = "\x1b[2J" + "A" * 60_000


@pytest.mark.parametrize(
    "words",
    [
        [HUGE],
        ["explain", HUGE],
        ["explain", "192.0.2.1", "--from", HUGE],
        ["status", f"--{HUGE}"],
        ["config", "check", HUGE],
        ["events", "--since", HUGE],
        ["fleet", "sd", HUGE],
    ],
    ids=lambda words: " ".join(words)[:24],
)
def test_an_error_does_not_repeat_what_is_huge(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert main(words) > 0
    said = capsys.readouterr().err
    assert 0 < len(said) < 3000
    assert said.replace("\n", "").isprintable()
