"""What is wrong at present, and logged once."""

from __future__ import annotations

import pytest

from netbond.problems import Problems


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
