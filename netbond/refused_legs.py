"""Finds the uplinks that the kernel refuses as legs of the shared default, so that the others stay. Pure.

The kernel refuses a whole group, or a whole multipath route, for one leg of it. If it refuses the nexthop
object of a leg, that leg is the culprit. Else each leg is tried alone, in a place that carries no traffic. If
the kernel takes each of them, but not all together, those that it did not hold before join one by one.

A culprit is left out, and tried again after a pause that doubles each time. A change of links or addresses
makes the pause short again.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netbond.config.schema import RoutingConfig
from netbond.desired import Desired
from netbond.ecmp import group_ids, leg, nexthop_id
from netbond.model import Leg, NexthopGroup, NexthopObject, Route
from netbond.plan import Object, Operation
from netbond.refusals import Refusal
from netbond.tables import LAST_METRIC

FIRST_PAUSE_S = 1.0  # until a culprit is tried again; doubles with each time
LONGEST_PAUSE_S = 600.0
# Of a default that is only tried: no packet takes it while there is another one.
TRIAL_METRIC = LAST_METRIC - 1
TRIAL_S = 0.05  # until the next pass while legs are being tried


@dataclass(slots=True)
class _Culprit:
    """A leg that the kernel refuses. Times are in seconds of a monotonic clock."""

    name: str  # of its uplink
    reason: str
    pause_s: float
    due: float


@dataclass(slots=True)
class RefusedLegs:
    """Remembers which legs the kernel holds, which it refuses, and which are still to be tried."""

    _held: dict[int, frozenset[Leg]] = field(default_factory=dict)  # by family
    _waiting: dict[int, tuple[Leg, ...]] = field(default_factory=dict)  # by family; the first is being tried
    _culprits: dict[Leg, _Culprit] = field(default_factory=dict)
    # Between learn() and tried(), by family: the refusal of the whole; the legs with their uplinks' names.
    _doubts: dict[int, tuple[Refusal, dict[Leg, str]]] = field(default_factory=dict)
    _trials: dict[Object, Leg] = field(default_factory=dict)

    def left_out(self, now: float) -> frozenset[Leg]:
        """The legs that must stay out of the shared default in this pass: `Facts.left_out`."""
        waiting = {leg for legs in self._waiting.values() for leg in legs[1:]}
        return frozenset(waiting | {leg for leg, found in self._culprits.items() if now < found.due})

    def learn(
        self,
        goal: Desired,
        left_out: Collection[Leg],
        planned: Iterable[Operation],
        lasting: Sequence[Refusal],
        routing: RoutingConfig,
        now: float,
    ) -> list[Refusal]:
        """Learn from a pass; return the lasting refusals that this does not explain.

        `left_out` are the legs that were left out of `goal`, `planned` all operations that it needed, and
        `lasting` those that the kernel has refused more than once (netbond.refusals).
        """
        names = {leg(uplink): uplink.name for uplink in goal.uplinks if uplink.usable}
        self._forget_others(names)
        explained: list[Refusal] = []
        changed = [operation.what for operation in planned if operation.verb != "delete"]
        for family in (4, 6):
            offered = [each for each in names if each.family == family and each not in left_out]
            members = {nexthop_id(each.table, family, routing): each for each in offered}
            refused = [r for r in lasting if _is_part(r.operation.what, family, members, routing)]
            if not any(_is_part(what, family, members, routing) for what in changed):
                self._accept(family, offered)
                continue
            # Another program's route or nexthop in that place says nothing of a leg.
            refused = [refusal for refusal in refused if refusal.error != errno.EEXIST]
            own = [
                (members[r.operation.what.id], r)
                for r in refused
                if isinstance(r.operation.what, NexthopObject)
            ]
            for each, refusal in own:
                self._refuse(each, names[each], refusal, now)
            if refused and not own:
                self._doubts[family] = (refused[0], {each: names[each] for each in offered})
            explained += refused
        return [refusal for refusal in lasting if refusal not in explained]

    def trials(self, goal: Desired, routing: RoutingConfig) -> list[Operation]:
        """What to ask of the kernel, after learn(), to find the culprits; tried() takes what it refuses."""
        self._trials = {}
        for family, (_, legs) in self._doubts.items():
            groups = {
                group.id: dict(group.members) for group in goal.nexthops if isinstance(group, NexthopGroup)
            }
            weights = next((groups[each] for each in group_ids(family, routing) if each in groups), {})
            for route in goal.routes:
                if (route.table, route.family) != (routing.ecmp_table, family):
                    continue
                for each, hop in zip(legs, route.nexthops, strict=True):
                    number = nexthop_id(each.table, family, routing)
                    alone: Object = replace(
                        route,
                        nexthops=(replace(hop, weight=1),),
                        metric=TRIAL_METRIC,
                        scope="link" if family == 4 and hop.gateway is None else "global",
                    )
                    if number in weights:
                        members = ((number, weights[number]),)
                        alone = NexthopGroup(
                            nexthop_id(0, family, routing), family, members, routing.protocol
                        )
                    self._trials[alone] = each
        return [Operation(verb, what, "a trial") for what in self._trials for verb in ("add", "delete")]

    def tried(self, refusals: Iterable[Refusal], now: float) -> None:
        """Learn from the trials."""
        found = {self._trials[r.operation.what]: r for r in refusals if r.error != errno.EEXIST}
        for family, (whole, names) in self._doubts.items():
            culprits = [each for each in names if each in found]
            for each in culprits:
                self._refuse(each, names[each], found[each], now)
            if not culprits:
                self._search(family, names, whole, now)
        self._doubts, self._trials = {}, {}

    def moved(self, now: float) -> None:
        """Links or addresses have changed: what the kernel refused, it may take soon."""
        for found in self._culprits.values():
            found.pause_s, found.due = FIRST_PAUSE_S, min(found.due, now + FIRST_PAUSE_S)

    def next_trial_s(self, now: float) -> float | None:
        """The seconds until a leg is to be tried; None if no leg is."""
        if self._waiting:
            return TRIAL_S
        due = min((found.due for found in self._culprits.values()), default=None)
        return None if due is None else max(TRIAL_S, due - now)

    def problems(self) -> list[str]:
        """One line for each uplink that the kernel refuses."""
        return sorted(
            f"{found.name} is not in the shared default of IPv{leg.family}:"
            f" the kernel refuses it: {found.reason}"
            for leg, found in self._culprits.items()
        )

    def _forget_others(self, legs: Collection[Leg]) -> None:
        self._held = {family: held & frozenset(legs) for family, held in self._held.items()}
        waiting = {f: tuple(leg for leg in found if leg in legs) for f, found in self._waiting.items()}
        self._waiting = {family: found for family, found in waiting.items() if found}
        self._culprits = {leg: found for leg, found in self._culprits.items() if leg in legs}

    def _accept(self, family: int, offered: Sequence[Leg]) -> None:
        """The kernel holds what was offered."""
        self._held[family] = frozenset(offered)
        rest = tuple(each for each in self._waiting.pop(family, ()) if each not in offered)
        if rest:
            self._waiting[family] = rest
        for each in offered:
            self._culprits.pop(each, None)

    def _search(self, family: int, names: Mapping[Leg, str], refusal: Refusal, now: float) -> None:
        """The kernel takes each leg, but not all of them."""
        held = self._held.get(family, frozenset())
        suspects = [each for each in names if each not in held]
        if not suspects:  # it does not take any more what it took
            self._held[family] = frozenset()
            suspects = list(names)
        if len(suspects) == 1:
            self._refuse(suspects[0], names[suspects[0]], refusal, now)
        else:
            # Those without a gateway come last: IPv6 takes none of them in a multipath route with others.
            self._waiting[family] = tuple(sorted(suspects, key=lambda each: each.gateway == ""))

    def _refuse(self, culprit: Leg, name: str, refusal: Refusal, now: float) -> None:
        before = self._culprits.get(culprit)
        pause_s = FIRST_PAUSE_S if before is None else min(LONGEST_PAUSE_S, 2 * before.pause_s)
        self._culprits[culprit] = _Culprit(name, refusal.reason, pause_s, now + pause_s)
        waiting = tuple(each for each in self._waiting.pop(culprit.family, ()) if each != culprit)
        if waiting:
            self._waiting[culprit.family] = waiting


def _is_part(what: Object, family: int, members: Collection[int], routing: RoutingConfig) -> bool:
    """Whether it is the shared default of this family, its group, or one of the group's members."""
    if isinstance(what, NexthopObject):
        return what.id in members
    if isinstance(what, NexthopGroup):
        return what.id in group_ids(family, routing)
    return isinstance(what, Route) and (what.table, what.family) == (routing.ecmp_table, family)
