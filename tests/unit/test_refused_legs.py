"""Legs that the kernel refuses: found, left out, tried again; the others stay in the shared default."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.schema import Config, RoutingConfig
from netbond.desired import Desired, desired
from netbond.model import Facts, NexthopGroup, NexthopObject, Route
from netbond.plan import Operation, plan
from netbond.refusals import Refusal, judge
from netbond.refused_legs import FIRST_PAUSE_S, RefusedLegs
from tests.unit.boxes import box

GROUPS, MULTIPATH = RoutingConfig(), RoutingConfig(nexthop_base=0)
Verdict = Callable[[Operation, Sequence[str]], bool]  # by the operation and the devices of the default


@dataclass
class Kernellike:
    """A kernel that holds routes and nexthops, and refuses what `refuses` says, as a real one does."""

    facts: Facts
    refuses: Verdict
    routing: RoutingConfig = GROUPS
    legs: RefusedLegs = field(default_factory=RefusedLegs)
    now: float = 0.0
    before: frozenset[str] | None = None
    unexplained: list[Refusal] = field(default_factory=list)

    def devices(self, what: object) -> list[str]:
        """Those of the shared default, as a route, a group or a group's member; else []."""
        objects = {each.id: each for each in self.facts.nexthops or () if isinstance(each, NexthopObject)}
        if isinstance(what, NexthopGroup):
            return [objects[number].device if number in objects else "?" for number, _ in what.members]
        if isinstance(what, NexthopObject):
            return [what.device]
        shared = isinstance(what, Route) and what.table == self.routing.ecmp_table
        return [hop.device for hop in what.nexthops] if shared and isinstance(what, Route) else []

    def look(self, *, moved: bool = False) -> Desired:
        """One pass."""
        facts = replace(self.facts, left_out=self.legs.left_out(self.now))
        config = Config(routing=self.routing)
        goal = desired(facts, config)
        operations = plan(facts, goal, self.routing.protocol)
        refusals = [refusal for operation in operations for refusal in self._apply(operation)]
        lasting = judge(refusals, self.before, moved=moved).lasting
        self.before = frozenset(map(str, refusals))
        if moved:
            self.legs.moved(self.now)
        self.unexplained = self.legs.learn(goal, facts.left_out, operations, lasting, self.routing, self.now)
        trials = self.legs.trials(goal, self.routing)
        if trials:
            held = self.facts
            self.legs.tried([r for operation in trials for r in self._apply(operation)], self.now)
            assert self.facts == held, "a trial leaves nothing behind"
        self.now += 0.05
        return goal

    def _apply(self, operation: Operation) -> Iterable[Refusal]:
        what, devices = operation.what, self.devices(operation.what)
        if isinstance(what, Route) and what.nexthop_id:
            known = {each.id for each in self.facts.nexthops or ()}
            devices = devices if what.nexthop_id in known else ["?"]
        if operation.verb != "delete" and ("?" in devices or self.refuses(operation, devices)):
            yield Refusal(operation, errno.EINVAL, "no such thing")
            return
        if isinstance(what, NexthopObject | NexthopGroup):
            rest = tuple(each for each in self.facts.nexthops or () if each.id != what.id)
            new = (what,) if operation.verb != "delete" else ()
            self.facts = replace(self.facts, nexthops=(*rest, *new))
        elif isinstance(what, Route):
            place = (what.table, what.destination, what.metric)
            others = tuple(r for r in self.facts.routes if (r.table, r.destination, r.metric) != place)
            self.facts = replace(
                self.facts, routes=(*others, *((what,) if operation.verb != "delete" else ()))
            )
        else:
            self.facts = replace(self.facts, rules=(*self.facts.rules, what))

    def shared(self) -> list[str]:
        """The devices of the shared default that the kernel holds."""
        default = [route for route in self.facts.routes if route.table == self.routing.ecmp_table]
        if not default or not default[0].nexthop_id:
            return sorted(hop.device for route in default for hop in route.nexthops)
        (group,) = [each for each in self.facts.nexthops or () if each.id == default[0].nexthop_id]
        return sorted(self.devices(group))


def kernel(refuses: Verdict, routing: RoutingConfig = GROUPS, *, devices: int = 4) -> Kernellike:
    names = (f"usb{number}" for number in range(devices))
    return Kernellike(replace(box(*names), nexthops=()), refuses, routing)


def has(*bad: str) -> Verdict:
    """The whole is refused, as for a weight, and no single object."""
    return lambda operation, found: not isinstance(operation.what, NexthopObject) and bool({*bad} & {*found})


def member(*bad: str) -> Verdict:
    """The nexthop object is refused; and with it, in the kernel, each group that names it."""
    return lambda operation, found: isinstance(operation.what, NexthopObject) and bool({*bad} & {*found})


@pytest.mark.parametrize("refuses", [has, member])
def test_the_culprit_is_left_out_and_named_and_the_others_stay(refuses: Callable[..., Verdict]) -> None:
    tested = kernel(refuses("usb2"))
    for _ in range(12):
        tested.look()
    assert tested.shared() == ["usb0", "usb1", "usb3"]
    assert tested.legs.problems() == [
        "usb2 is not in the shared default of IPv4: the kernel refuses it: EINVAL (no such thing)"
    ]
    # A modem is pulled.
    rest = tuple(link for link in tested.facts.interfaces if link.name != "usb0")
    tested.facts = replace(tested.facts, interfaces=rest)
    tested.look(moved=True)
    assert tested.shared() == ["usb1", "usb3"]


def test_with_one_new_leg_there_is_no_search() -> None:
    tested = kernel(lambda *_: False)
    everything = tested.facts
    tested.facts = replace(everything, interfaces=everything.interfaces[:-1])
    tested.look()
    tested.look()
    assert tested.shared() == ["usb0", "usb1", "usb2"]
    tested.refuses = has("usb3")
    tested.facts = replace(tested.facts, interfaces=everything.interfaces)
    tested.look(moved=True)
    tested.look()
    assert tested.legs.left_out(tested.now)
    assert tested.legs.next_trial_s(tested.now) == pytest.approx(FIRST_PAUSE_S - 0.05)
    assert tested.shared() == ["usb0", "usb1", "usb2"]


def test_it_is_tried_again_and_less_and_less_often() -> None:
    tested = kernel(has("usb2"))
    for _ in range(400):
        tested.look()
    trials = [leg for leg in [tested.legs.next_trial_s(tested.now)] if leg is not None]
    assert 1.0 < trials[0] <= 16.0  # after 1, 2, 4 and 8 s
    assert tested.shared() == ["usb0", "usb1", "usb3"]
    tested.refuses = lambda *_: False
    tested.look(moved=True)
    for _ in range(25):
        tested.look()
    assert tested.shared() == ["usb0", "usb1", "usb2", "usb3"]
    assert tested.legs.problems() == []
    assert tested.legs.next_trial_s(tested.now) is None


@pytest.mark.parametrize("routing", [GROUPS, MULTIPATH])
def test_an_old_leg_may_be_the_culprit_when_a_new_one_joins(routing: RoutingConfig) -> None:
    """The kernel does not look again at what it holds."""
    tested = kernel(lambda *_: False, routing)
    everything = tested.facts
    tested.facts = replace(everything, interfaces=everything.interfaces[:-1])
    tested.look()
    tested.look()
    tested.refuses = has("usb0")
    tested.facts = replace(tested.facts, interfaces=everything.interfaces)
    for _ in range(5):
        tested.look()
    assert tested.shared() == ["usb1", "usb2", "usb3"]


def test_of_two_that_the_kernel_does_not_take_together_one_stays() -> None:
    tested = kernel(lambda operation, found: {"usb1", "usb2"} <= {*found})
    for _ in range(12):
        tested.look()
    assert tested.shared() == ["usb0", "usb1", "usb3"]
    (problem,) = tested.legs.problems()
    assert problem.startswith("usb2 is not in the shared default")


def test_what_it_took_it_takes_no_longer() -> None:
    tested = kernel(lambda *_: False, MULTIPATH)
    tested.look()
    tested.look()
    tested.refuses = has("usb0")
    tested.facts = replace(
        tested.facts, routes=tuple(route for route in tested.facts.routes if route.table != 222)
    )
    for _ in range(12):
        tested.look()
    assert tested.shared() == ["usb1", "usb2", "usb3"]


def test_other_refusals_are_left_to_others() -> None:
    tested = kernel(lambda operation, _: isinstance(operation.what, Route) and operation.what.table == 101)
    tested.look()
    assert {refusal.operation.what.table for refusal in tested.unexplained} == {101}  # type: ignore[union-attr]
    # Another program's route in the place of the default is no leg's fault.
    taken = kernel(lambda *_: False)
    goal = desired(taken.facts, Config())
    (route,) = [route for route in goal.routes if route.table == 222]
    refusal = Refusal(Operation("add", route, "missing"), errno.EEXIST)
    assert taken.legs.learn(goal, (), [refusal.operation], [refusal], GROUPS, 0.0) == [refusal]
    assert taken.legs.problems() == []


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7),
    st.sets(st.integers(0, 6)),
    st.sets(st.integers(0, 6)),
    st.sampled_from([GROUPS, MULTIPATH]),
)
def test_whoever_is_refused_all_others_get_in(
    count: int, bad: set[int], bad_members: set[int], routing: RoutingConfig
) -> None:
    wholes, members = has(*(f"usb{n}" for n in bad)), member(*(f"usb{n}" for n in bad_members))
    tested = kernel(lambda *x: wholes(*x) or members(*x), routing, devices=count)
    refused = bad | (bad_members if routing is GROUPS else set())
    good = [f"usb{n}" for n in range(count) if n not in refused]
    reached = False
    for _ in range(4 * count + 4):
        tested.look()
        reached |= tested.shared() == good
    assert reached
    assert len(tested.legs.problems()) == count - len(good)
