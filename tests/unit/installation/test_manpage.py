"""The manual page."""

import shutil
import subprocess

import pytest

from netbond.installation.manpage import manpage
from netbond.installation.words import CommandWords, Option
from tests.unit.installation.test_words import CONFIG, SEND

PAGE = manpage((CONFIG, SEND), "0.2.0", {64: "the command line is wrong", 0: "done"})


def test_commands_and_their_options_are_there() -> None:
    assert ".SS netbond config check \\fIFILE\\fR\n" in PAGE
    assert ".SS netbond send [\\fIOPTION\\fR...] \\fIARGUMENT\\fR...\n" in PAGE
    assert "\\fB\\-\\-mode\\fR \\fIMODE\\fR\nhow (adaptive, classic)\n" in PAGE
    assert PAGE.index(".B 0\n") < PAGE.index(".B 64\n")


def test_text_is_no_request() -> None:
    page = manpage((CommandWords("x", "'so' it is \\ here", (Option(("-x",), "", ".de x"),)),), "1", {})
    assert "\n\\&'so' it is \\e here\n" in page
    assert "\n\\&.de x\n" in page


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_a_reader_of_manual_pages_takes_it() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"], input=PAGE, capture_output=True, text=True, timeout=20
    )
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []
