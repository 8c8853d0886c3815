"""What is wrong at present, and logged once."""

from __future__ import annotations

import logging

import pytest

from netbond.problems import BROKEN, NOTICE, Problem, Problems, of_line


def test_a_problem_is_logged_once_and_shown_until_it_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    problems = Problems()
    for _ in range(3):
        problems.report("routes", ["one"])
    assert caplog.messages == ["one"]
    problems.report("router", ["two"])
    assert problems.lines() == ("one", "two")
    assert problems.has("routes", "one")
    assert not problems.has("router", "one")
    problems.report("routes", [])
    assert problems.lines() == ("two",)
    problems.report("routes", ["one"])  # it is back, which is news
    assert caplog.messages == ["one", "two", "one"]


def test_the_worst_comes_first_and_has_its_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problems = Problems()
    problems.report("a", [Problem("x", "a note", severity=NOTICE), "a line"])
    problems.report("b", [Problem("y", "all is lost", severity=BROKEN)])
    problems.report("c", [Problem("z", "told by another line", logged=False)])
    assert problems.lines() == ("all is lost", "a line", "told by another line", "a note")
    assert [(one.levelname, one.message) for one in caplog.records] == [
        ("INFO", "a note"),
        ("WARNING", "a line"),
        ("ERROR", "all is lost"),
    ]


def test_it_knows_since_when() -> None:
    now = [10.0]
    problems = Problems(lambda: now[0])
    problems.report("a", ["line", Problem("x", "known better", since_s=99.0)])
    now[0] = 15.0
    problems.report("a", ["line", Problem("x", "known better", since_s=104.0)])
    assert [(one.text, one.since_s) for one in problems.details()] == [("line", 5.0), ("known better", 104.0)]


@pytest.mark.parametrize(
    ("origin", "line", "code", "subject"),
    [
        ("idle", "usb7: no such interface now", "uplink-missing", "usb7"),
        ("idle", "the only [[uplink]] has no match", "uplink-missing", ""),
        ("routes", "the kernel refuses: ip route add", "route-refused", ""),
        ("source pin_names", "pin: b.example: no answer", "pin-names", ""),
        ("a look at the kernel", "a look at the kernel failed", "a-look-at-the-kernel", ""),
    ],
)
def test_a_line_gets_a_code_by_its_origin(origin: str, line: str, code: str, subject: str) -> None:
    found = of_line(origin, line)
    assert (found.code, found.subject, found.text) == (code, subject, line)


def test_what_comes_from_outside_is_printable() -> None:
    problems = Problems()
    problems.report("a", [Problem("x", "a\x1b[2J", "b\n", "c\r")])
    (detail,) = problems.details()
    assert (detail.text, detail.subject, detail.hint) == (r"a\x1b[2J", r"b\n", r"c\r")
