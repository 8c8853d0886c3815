"""Repairs come at once, but never in a fight."""

from __future__ import annotations

import itertools
from ipaddress import ip_network

from netbond.model import Route, Rule
from netbond.plan import Operation
from netbond.repair_backoff import FORGET_AFTER_S, FREE_REPAIRS, LONGEST_PAUSE_S, RepairBackoff

RULE = Rule(100, 4, table=100, protocol=78)
OTHER = Rule(101, 4, table=101, protocol=78)
REPAIR = Operation("add", RULE, "missing")


def fight(backoff: RepairBackoff, seconds: float, step: float = 0.01) -> list[float]:
    """When the repair is made, if a rival undoes it at once, every time."""
    made = []
    for tick in range(int(seconds / step)):
        now = tick * step
        admitted, _ = backoff.admit([REPAIR], {RULE}, now)
        if admitted:
            made.append(now)
    return made


def test_the_first_repairs_are_made_at_once() -> None:
    assert fight(RepairBackoff(), 0.055) == [0.0, 0.01, 0.02, 0.03, 0.04]


def test_a_rival_is_met_with_growing_pauses() -> None:
    made = fight(RepairBackoff(), 60.0)
    pauses = [b - a for a, b in zip(made[FREE_REPAIRS - 1 :], made[FREE_REPAIRS:], strict=False)]
    assert len(made) < 20
    assert pauses[0] < 0.3
    assert all(a <= b + 0.02 for a, b in itertools.pairwise(pauses))
    assert abs(pauses[-1] - LONGEST_PAUSE_S) < 0.02


def test_it_says_when_to_come_back_and_names_the_fight() -> None:
    backoff = RepairBackoff()
    for _ in range(FREE_REPAIRS):
        backoff.admit([REPAIR], {RULE}, 1.0)
    assert backoff.contested() == []
    assert backoff.admit([REPAIR], {RULE}, 1.0) == ([], 1.2)
    assert backoff.admit([REPAIR], {RULE}, 1.3) == ([REPAIR], None)
    assert backoff.contested() == [RULE]


def test_the_others_do_not_wait() -> None:
    backoff = RepairBackoff()
    fight(backoff, 1.0)
    other = Operation("add", OTHER, "missing")
    assert backoff.admit([REPAIR, other], {RULE, OTHER}, 1.0)[0] == [other]


def test_what_the_kernel_refuses_is_no_fight() -> None:
    """Nobody undoes it, and it is tried and reported in each pass."""
    backoff = RepairBackoff()
    for tick in range(20):
        assert backoff.admit([REPAIR], {RULE}, tick * 0.01) == ([REPAIR], None)
        backoff.refused([REPAIR])
    assert backoff.contested() == []
    # Once the kernel takes it, a rival is a rival.
    fight(backoff, 1.0)
    assert backoff.contested() == [RULE]


def test_what_changes_by_itself_is_followed_at_full_speed() -> None:
    backoff = RepairBackoff()
    for tick in range(100):
        assert backoff.admit([REPAIR], {RULE}, tick * 0.01)[0] == [REPAIR]
        backoff.admit([Operation("delete", RULE, "no longer wanted")], set(), tick * 0.01)


def test_what_the_kernel_drops_with_a_link_is_put_back_at_full_speed() -> None:
    backoff = RepairBackoff()
    route = Route(100, ip_network("0.0.0.0/0"), protocol=78)
    repair = Operation("add", route, "missing")
    for tick in range(100):
        assert backoff.admit([repair], {route}, tick * 0.01, moved=True) == ([repair], None)
    assert backoff.contested() == []


def test_rules_do_not_go_with_a_link() -> None:
    backoff = RepairBackoff()
    for tick in range(100):
        backoff.admit([REPAIR], {RULE}, tick * 0.01, moved=True)
    assert backoff.contested() == [RULE]


def test_peace_is_remembered_too() -> None:
    backoff = RepairBackoff()
    fight(backoff, 1.0)
    assert backoff.admit([REPAIR], {RULE}, 1.0 + FORGET_AFTER_S + 1) == ([REPAIR], None)
    assert backoff.contested() == []
