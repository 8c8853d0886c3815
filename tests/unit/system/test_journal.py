"""Levels of lines, written and read."""

from __future__ import annotations

import logging
import sys

import pytest

from netbond.system.journal import Formatter, prefixed, split


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (logging.DEBUG, "<7>text"),
        (logging.INFO, "<6>text"),
        (logging.WARNING, "<4>text"),
        (logging.ERROR, "<3>text"),
        (logging.CRITICAL, "<2>text"),
    ],
)
def test_there_and_back(level: int, line: str) -> None:
    assert prefixed(level, "text") == line
    assert split(line) == (level, "text")


@pytest.mark.parametrize("line", ["", "text", "<", "<4", "<9>text", "<44>text", "<x>text", "Traceback (most"])
def test_what_has_no_level_is_a_warning_as_it_is(line: str) -> None:
    assert split(line) == (logging.WARNING, line)


def test_an_unknown_level_is_information() -> None:
    assert prefixed(25, "text") == "<6>text"


def test_each_line_of_a_traceback_has_its_level() -> None:
    try:
        raise ValueError("what")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "%s failed", ("it",), sys.exc_info())
    lines = Formatter().format(record).splitlines()
    assert lines[0] == "<3>it failed"
    assert lines[-1] == "<3>ValueError: what"
    assert all(line.startswith("<3>") for line in lines)
