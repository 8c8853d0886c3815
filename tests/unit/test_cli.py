"""The command line's frame: what a user sees who mistypes, and what is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from netbond import __version__
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
    assert capsys.readouterr().out == f"netbond {__version__}\n"


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


@pytest.mark.parametrize("command", ["hook", "send", "recv", "status", "config"])
def test_only_what_a_command_needs_is_imported(command: str) -> None:
    """A DHCP client waits for the hook, and an engine has an upper bound of memory."""
    code = (
        f"import sys, netbond.cli.{command}; print('pyroute2' in sys.modules, 'netbond.agent' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
    )
