"""The command line's frame: what a user sees who mistypes, and what is imported."""

from __future__ import annotations

import subprocess
import sys

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
