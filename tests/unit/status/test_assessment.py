"""What the agent makes of its snapshots, one after the other."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from netbond.events import EventFinder
from netbond.problems import Problems
from netbond.status.assessment import HOLDS_S, Assessment, belated
from netbond.status.schema import from_json, to_json
from netbond.status.verdict import LONGEST
from tests.unit.cli.snapshots import SNAPSHOT
from tests.unit.status.faults import backpack, not_registered, one_link, stats_of, studio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_trouble_that_lasts_becomes_a_problem_and_goes(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    problems = Problems(clock)
    tested = Assessment(problems, clock)
    box = backpack()
    not_registered("nothing listens at the receiver's port")(box)
    first = tested.complete(from_json(box))
    assert first.agent.problems == ()
    assert caplog.messages == []
    clock.now = HOLDS_S
    for _ in range(3):
        shown = tested.complete(from_json(box))
        assert shown.agent.problems == ("nothing listens at bond.example.org:5000",)
        clock.now += 10
    assert shown.agent.problem_details[0].since_s == HOLDS_S + 20
    assert shown.verdict is not None
    assert shown.verdict.code == 2
    assert [(one.levelno, one.message) for one in caplog.records] == [
        (logging.ERROR, "nothing listens at bond.example.org:5000")
    ]
    well = tested.complete(from_json(backpack()))
    assert well.agent.problems == ()
    assert well.verdict is not None
    assert well.verdict.code == 0


def test_one_that_knows_its_age_is_as_old_as_it_says(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    tested = Assessment(Problems(clock), clock)
    ages = []
    for silent in (18, 20, 21):
        box = backpack()
        one_link(state="down", reason="silent for 5 s", silent_ms=silent * 1000)(box)
        ages.append([detail.since_s for detail in tested.complete(from_json(box)).agent.problem_details])
        clock.now += HOLDS_S
    assert ages == [[], [20.0], [21.0]]
    assert caplog.messages == ["usb3: no answer"]


def numbers(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in it that holds a number: a container, and the key there."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list):
            yield from numbers(item)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield value, key


@pytest.mark.parametrize("strange", [-1, 10**400, 1e300, -(10**400)], ids=["-1", "huge", "1e300", "-huge"])
def test_no_number_that_an_engine_says_breaks_it(strange: float) -> None:
    """Engines face the internet; a pass of the agent must not fail for what one says."""
    silent = backpack()
    one_link(state="down", reason="silent for 5 s")(silent)
    gone = backpack()
    stats_of(gone)["caller_silent_ms"] = 4000
    clock = Clock()
    for each_box in (backpack(), silent, gone, studio()):
        box = copy.deepcopy(each_box)
        well = from_json(copy.deepcopy(box))
        for place, key in list(numbers(box["engines"][0]["stats"])):
            before, place[key] = place[key], strange
            ill = from_json(box)
            place[key] = before
            finder, tested = EventFinder(), Assessment(Problems(clock), clock)
            for each in (well, ill, well, ill, well):
                for _ in range(4):
                    clock.now += 2.0
                    shown = tested.complete(each)
                    finder.look(shown, clock.now)
                json.dumps(to_json(shown))
                assert shown.verdict is not None
                assert len(shown.verdict.text) <= LONGEST


def test_reported_problems_are_in_it_as_well() -> None:
    problems = Problems()
    problems.report("idle", ["usb7: no such interface now"])
    shown = Assessment(problems, Clock()).complete(from_json(backpack()))
    (detail,) = shown.agent.problem_details
    assert (detail.code, detail.subject, detail.severity) == ("uplink-missing", "usb7", "degraded")
    assert shown.agent.problems == ("usb7: no such interface now",)


def test_what_an_older_agent_shows_gets_its_verdict(caplog: pytest.LogCaptureFixture) -> None:
    shown = belated(from_json(SNAPSHOT))
    assert shown.verdict is not None
    assert shown.verdict.text.startswith("NOT RUNNING: sender 127.0.0.1:6001: port 6001 is taken")
    assert "usb7: no such interface now" in shown.agent.problems
    assert belated(shown) is shown
    assert caplog.messages == []
