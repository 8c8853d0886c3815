"""The parser of all commands: a wrong command line is one line and status 64."""

from __future__ import annotations

import pytest

from netbond.cli.parser import Parser


def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="netbond plan")
    parser.add_argument("--json", action="store_true")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--jsn"])
    assert caught.value.code == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert (
        shown.err
        == "netbond plan: unrecognized arguments: --jsn; did you mean --json? or see 'netbond plan --help'\n"
    )


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Parser(prog="netbond plan").parse_args(["--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: netbond plan")
