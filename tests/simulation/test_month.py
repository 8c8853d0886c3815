"""Some hours of a simulated box, and that each thing that is checked there is noticed when it is broken."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from netbond import desired, plan, reconciler, rules, usability
from netbond.model import Route, Rule
from netbond.outputs import engines
from netbond.sources import data_plans, overrides
from netbond.srtla.sender import Sender
from tests.simulation import box, month
from tests.simulation.month import DisturbedError, WrongError, live
from tests.simulation.virtual_time import Clock, running

HOURS = float(os.environ.get("NETBOND_MONTH_HOURS", "2"))


@pytest.mark.timeout(600)
def test_some_hours_of_a_box(tmp_path: Path) -> None:
    found = live(HOURS / 24, 1, tmp_path)
    assert found.checks > 10 * HOURS
    assert found.surely
    assert found.box.delivered


def test_who_removes_its_files_is_told_from_a_fault_of_netbond(tmp_path: Path) -> None:
    def removes(self: Any, text: str) -> None:
        SAY(self, text)
        shutil.rmtree(self.box.folder, ignore_errors=True)

    with (
        mock.patch.object(month.Month, "say", removes),
        pytest.raises(DisturbedError, match="removed") as caught,
    ):
        live(0.25, 1, tmp_path, ["quality"])
    assert "the last events" in caught.value.__notes__[0]


def test_what_work_costs_the_machine_changes_nothing() -> None:
    with running(Clock(0.0)):
        began = time.thread_time()
        sum(range(100_000))
        assert time.thread_time() == began


def no_rules_for_addresses(*args: Any, **options: Any) -> list[Rule]:
    return [rule for rule in RULES(*args, **options) if not rule.source]


def no_rules_for_devices(*args: Any, **options: Any) -> list[Rule]:
    return [rule for rule in RULES(*args, **options) if not rule.oif]


def no_way_out(*args: Any, **options: Any) -> tuple[Route, ...]:
    found = TABLE(*args, **options)
    return tuple(route for route in found if route.destination.prefixlen or route.kind != "unicast")


def nothing_is_dead(*_: Any) -> None:
    return None


def usb1_is_dead(uplink: Any, _facts: Any) -> str | None:
    return "so it is" if uplink.device == "usb1" else None


def no_link_over_usb0(uplinks: Any) -> Any:
    return tuple(link for link in SPECS(uplinks) if link.device != "usb0")


def deletes_a_foreign_route(facts: Any, *args: Any, **options: Any) -> list[plan.Operation]:
    theirs = [route for route in facts.routes if route.protocol not in (2, 78)]
    return [
        *PLAN(facts, *args, **options),
        *(plan.Operation("delete", route, "wrong") for route in theirs[:1]),
    ]


def deletes_nothing(*args: Any, **options: Any) -> list[plan.Operation]:
    return [each for each in PLAN(*args, **options) if each.verb != "delete"]


def keeps_what_there_is(facts: Any, config: Any) -> desired.Desired:
    goal = DESIRED(facts, config)
    own = [rule for rule in facts.rules if rule.protocol == 78 and rule not in goal.rules]
    return replace(goal, rules=(*goal.rules, *own))


def nothing_is_set(_settings: Any) -> tuple[Any, ...]:
    return ()


def counts_twice(*args: Any) -> int:
    return 2 * SINCE(*args)


def counts_less(old: Any, link: Any, boot: str) -> int:
    return min(SINCE(old, link, boot), 1000)


def counts_backwards(old: Any, link: Any, boot: str) -> int:
    return -(old.used // 2) if old.index != link.index else SINCE(old, link, boot)


def raises(*_: Any) -> None:
    raise KeyError("a bug")


def loses_some(sender: Sender) -> list[tuple[int, bytes]]:
    found = TO_LINKS(sender)
    return [each for each in found if len(each[1]) < 1000]


RULES, TABLE, SPECS, PLAN = rules.rules, desired._table, engines.link_specs, plan.plan
DESIRED, SINCE, TO_LINKS, SAY = desired.desired, data_plans._since, Sender.datagrams_to_links, month.Month.say


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("where", "name", "wrong", "only", "said"),
    [
        (desired, "rules", no_rules_for_addresses, "stream", "leaves by"),
        (desired, "rules", no_rules_for_devices, "stream", "no rule for its device"),
        (desired, "_table", no_way_out, "stream", "is routed by"),
        (usability, "_why_dead", nothing_is_dead, "gateway", "has not worked for"),
        (usability, "_why_dead", usb1_is_dead, "foreign_rule", "usb1 has worked for"),
        (box, "link_specs", no_link_over_usb0, "foreign_rule", "the stream has no link over it"),
        (reconciler, "plan", deletes_a_foreign_route, "stream", "has changed what is not its own"),
        (reconciler, "plan", deletes_nothing, "renumbered", "left to do"),
        ((reconciler, month), "desired", keeps_what_there_is, "renumbered", "a fresh start would differ"),
        (overrides, "overrides", nothing_is_set, "override", "is set off, and is used"),
        (data_plans, "_since", counts_twice, "traffic", "counted"),
        (data_plans, "_since", counts_less, "traffic", "were counted"),
        (data_plans, "_since", counts_backwards, "traffic plugging", "was [0-9]+ and is"),
        (data_plans, "section", raises, "stream", "a bug"),
        (Sender, "datagrams_to_links", loses_some, "stream", "packets have arrived"),
    ],
    ids=lambda value: value.__name__ if callable(value) and not isinstance(value, type) else "",
)
def test_what_is_broken_is_noticed(
    where: Any, name: str, wrong: Callable[..., Any], only: str, said: str, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        for each in where if isinstance(where, tuple) else (where,):
            stack.enter_context(mock.patch.object(each, name, wrong))
        with pytest.raises(WrongError, match=said):
            live(0.25, 5, tmp_path, only.split())
