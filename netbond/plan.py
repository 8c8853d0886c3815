"""Compares what the kernel holds with what it should hold: an ordered list of operations. Pure.

Adds come before deletes, so that there is always a way out. What others refer to is added before them and
deleted after them: nexthops, groups, routes, rules. Objects with another protocol number than netbond's are
never touched, with one exception that is asked for: `take_over_default`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from shlex import quote
from typing import Generic, TypeVar

from netbond.desired import Desired
from netbond.foreign_rules import comes_first
from netbond.model import (
    GROUP_BUCKETS,
    GROUP_IDLE_S,
    MAIN_TABLE,
    PATH_ATTRIBUTES,
    Facts,
    IPNetwork,
    Nexthop,
    NexthopGroup,
    NexthopObject,
    PathAttributes,
    Route,
    Rule,
)
from netbond.tables import DEFAULT

_AFTER_LAST = 2**32  # above every priority of a rule
Object = Route | Rule | NexthopObject | NexthopGroup
Compared = TypeVar("Compared", Route, Rule)


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: `verb` is add, replace or delete; `why` is for people."""

    verb: str
    what: Object
    why: str

    def command(self) -> str:
        """The same as an iproute2 command."""
        what = self.what
        if isinstance(what, NexthopObject | NexthopGroup):
            # `ip` takes the family from the gateway; without one it would be IPv4.
            alone = isinstance(what, NexthopObject) and what.gateway is None and self.verb != "delete"
            family = "-6 " if alone and what.family == 6 else ""
            return f"ip {family}nexthop {self.verb} {nexthop_words(what, whole=self.verb != 'delete')}"
        kind, words = object_words(what).split(" ", 1)
        family = "-6 " if what.family == 6 else ""
        if isinstance(what, Route) and what.family == 4 and not what.nexthop_id:
            # `ip` takes a route with an IPv6 gateway for an IPv6 route, unless it is told.
            family = "-4 " if any(hop.gateway and hop.gateway.version == 6 for hop in what.nexthops) else ""
        return f"ip {family}{kind} {self.verb} {words}"


# --- comparing ---------------------------------------------------------------------------------------------


def _place(route: Route) -> tuple[object, ...]:
    """Two routes with the same of this replace each other in `ip route replace`."""
    return (route.table, route.destination, route.metric)


def _comparable(route: Route) -> Route:
    """Brings both sides to one form: the order of ECMP legs does not count, and of a group only its id."""
    if route.nexthop_id:
        return replace(route, nexthops=())
    if len(route.nexthops) < 2:
        return route
    return replace(
        route, nexthops=tuple(sorted(route.nexthops, key=lambda hop: (hop.device, str(hop.gateway))))
    )


def plan(facts: Facts, goal: Desired, protocol: int, *, prune: bool = True) -> list[Operation]:
    """The operations that make netbond's part of the kernel equal to `goal`; none if it is.

    Without `prune` nothing is deleted, unless it stands in the way. That is for a start: until all sources
    have reported, what looks stale may be what carries the traffic.
    """
    add_nexthops, delete_nexthops = _plan_nexthops(facts, goal, protocol, prune=prune)
    add_routes, delete_routes = _plan_routes(facts.routes, goal.routes, protocol)
    add_rules, delete_rules = _plan_rules(facts.rules, goal.rules, protocol)
    names = {policy.table: policy.name for policy in goal.policies}
    if names:
        add_routes, delete_routes = _naming(add_routes, names), _naming(delete_routes, names)
        add_rules, delete_rules = _naming(add_rules, names), _naming(delete_rules, names)
    if not prune:
        added = {_place(o.what) for o in add_routes if o.verb == "add" and isinstance(o.what, Route)}
        delete_routes = [o for o in delete_routes if isinstance(o.what, Route) and _place(o.what) in added]
        return add_nexthops + add_routes + add_rules + delete_routes
    take = [Operation("delete", route, "take_over_default") for route in goal.take]
    return add_nexthops + add_routes + add_rules + take + delete_rules + delete_routes + delete_nexthops


def _naming(operations: Iterable[Operation], policies: Mapping[int, str]) -> list[Operation]:
    """The operations, with the name of the policy in the reasons of those about its table."""
    return [
        replace(operation, why=f"policy {name}: {operation.why}")
        if isinstance(what := operation.what, Route | Rule) and (name := policies.get(what.table))
        else operation
        for operation in operations
    ]


def _plan_nexthops(
    facts: Facts, goal: Desired, protocol: int, *, prune: bool
) -> tuple[list[Operation], list[Operation]]:
    there = {found.id: found for found in facts.nexthops or ()}
    wanted = {found.id: found for found in goal.nexthops}
    adds = []
    for number, nexthop in wanted.items():
        old = there.get(number)
        if isinstance(nexthop, NexthopGroup):
            # The kernel does not tell the family of a group.
            same = isinstance(old, NexthopGroup) and old.members == nexthop.members
            fewer = isinstance(old, NexthopGroup) and {m for m, _ in nexthop.members} < {
                m for m, _ in old.members
            }
            if same or (fewer and not prune):
                continue
        elif old == nexthop:
            continue
        verb, why = ("add", "missing") if old is None else ("replace", "differs from what is there")
        adds.append(Operation(verb, nexthop, why))
    stale = [found for number, found in there.items() if found.protocol == protocol and number not in wanted]
    stale.sort(key=lambda found: isinstance(found, NexthopObject))  # groups first
    return adds, [Operation("delete", found, "no longer wanted") for found in stale]


class _Pairs(Generic[Compared]):
    """Which of the kernel's objects was found to be which wanted one, so that it is not compared again.

    By identity: these objects cannot change, and are kept, so that no other one gets their ids.
    """

    def __init__(self, part: Callable[[Compared], int]) -> None:
        """`part`: equal objects are of one part, and what is to do in one part is no matter of the others."""
        self._part: Callable[[Compared], int] = part
        self._found: dict[int, tuple[Compared, Compared]] = {}  # by the id of the wanted one

    def open_parts(self, own: Iterable[Compared], wanted: Iterable[Compared]) -> set[int]:
        """The parts with an object that has no counterpart yet; in all others everything is as wanted."""
        found = set()
        there: dict[int, Compared] = {}
        for each in own:
            if id(each) in there:  # what the kernel has twice is read once
                found.add(self._part(each))
            there[id(each)] = each
        paired = set()
        for each in wanted:
            pair = self._found.get(id(each))
            if pair is None or id(pair[1]) not in there:
                found.add(self._part(each))
            else:
                paired.add(id(pair[1]))
        return found | {self._part(there[number]) for number in there.keys() - paired}

    def learn(self, pairs: Iterable[tuple[Compared, Compared]], wanted: Iterable[Compared]) -> None:
        """Keep these pairs of wanted and own objects, and those of before that are `wanted` still."""
        new = {id(pair[0]): pair for pair in pairs}
        self._found = {
            id(each): pair
            for each in wanted
            if (pair := new.get(id(each)) or self._found.get(id(each))) is not None
        }


_ROUTES = _Pairs[Route](lambda route: route.table)
_RULES = _Pairs[Rule](lambda rule: rule.priority)


def _plan_routes(
    observed: Iterable[Route], wanted: Collection[Route], protocol: int
) -> tuple[list[Operation], list[Operation]]:
    tables = _ROUTES.open_parts((route for route in observed if route.protocol == protocol), wanted)
    if not tables:
        return [], []
    observed = [route for route in observed if route.table in tables]
    own = [route for route in observed if route.protocol == protocol]
    foreign = {_place(route) for route in observed if route.protocol != protocol}
    there = {_comparable(route): route for route in own}
    places = Counter(_place(route) for route in own)
    adds: list[Operation] = []
    kept: dict[Route, tuple[Route, Route]] = {}
    replaced: set[tuple[object, ...]] = set()
    for route in wanted:
        if route.table not in tables:
            continue
        place, comparable = _place(route), _comparable(route)
        if comparable in there:
            kept[comparable] = (route, there[comparable])
        elif places[place] == 1 and place not in foreign:
            adds.append(Operation("replace", route, "differs from what is there"))
            replaced.add(place)
        else:
            # If a foreign route is in this place, the kernel refuses (EEXIST) and the agent reports it:
            # `replace` would overwrite another program's route.
            adds.append(Operation("add", route, "missing"))
    deletes = [
        Operation("delete", route, "no longer wanted")
        for route in own
        if _comparable(route) not in kept and _place(route) not in replaced
    ]
    _ROUTES.learn(kept.values(), wanted)
    return adds, deletes


def _plan_rules(
    observed: Iterable[Rule], wanted: Collection[Rule], protocol: int
) -> tuple[list[Operation], list[Operation]]:
    priorities = _RULES.open_parts((rule for rule in observed if rule.protocol == protocol), wanted)
    if not priorities:
        return [], []
    there = [rule for rule in observed if rule.protocol == protocol and rule.priority in priorities]
    own, known = Counter(there), {rule: rule for rule in there}
    goal = {rule: rule for rule in wanted if rule.priority in priorities}  # in their order
    adds = [Operation("add", rule, "missing") for rule in goal if not own[rule]]
    deletes = [
        Operation("delete", rule, "twice" if rule in goal else "no longer wanted")
        for rule, count in own.items()
        for _ in range(count - (rule in goal))
    ]
    # The first are the last to go: the box's own addresses and VRFs are needed all the time.
    deletes.sort(key=lambda delete: _first_priority(delete.what))
    _RULES.learn(((rule, known[rule]) for rule in goal.values() if rule in known), wanted)
    return adds, deletes


def _first_priority(what: Object) -> int:
    """0; of a rule that has to be ahead of all others the more, the further ahead it is."""
    return _AFTER_LAST - what.priority if isinstance(what, Rule) and comes_first(what) else 0


# --- as iproute2 writes it ---------------------------------------------------------------------------------
# Quoted, because people copy these lines into a shell, and the kernel accepts $(reboot) as the name of an
# interface.


def object_words(what: Object) -> str:
    """What an operation is about: "rule priority 100 from ...", without the verb."""
    if isinstance(what, Rule):
        return f"rule {rule_words(what)}"
    if isinstance(what, Route):
        return f"route {route_words(what)}"
    return f"nexthop {nexthop_words(what)}"


def hop_words(hop: Nexthop, family: int = 0) -> list[str]:
    """A way out as arguments of `ip`, of a route of this family; 0: the gateway's family is no matter."""
    words = [] if hop.gateway is None else ["via", str(hop.gateway)]
    if hop.gateway is not None and family not in (0, hop.gateway.version):
        words.insert(1, "inet6" if hop.gateway.version == 6 else "inet")
    words += ["dev", quote(hop.device)]
    return words


def route_words(route: Route) -> str:
    """A route as arguments of `ip route`, numbers instead of names."""
    words = [] if route.kind == "unicast" else [route.kind]
    words.append(
        "default" if route.destination == DEFAULT[route.destination.version] else str(route.destination)
    )
    hops = () if route.nexthop_id else route.nexthops
    if route.nexthop_id:
        words += ["nhid", str(route.nexthop_id)]
    if len(hops) == 1:
        words += hop_words(hops[0], route.family)
    words += ["table", "main" if route.table == MAIN_TABLE else str(route.table)]
    words += ["proto", str(route.protocol)]
    if route.scope != "global":
        words += ["scope", route.scope]
    if route.source is not None:
        words += ["src", str(route.source)]
    if route.metric:
        words += ["metric", str(route.metric)]
    words += path_words(route.attributes)
    if len(hops) == 1 and hops[0].onlink:
        words.append("onlink")
    if len(hops) > 1:
        for hop in hops:
            words += ["nexthop", *hop_words(hop, route.family), "weight", str(hop.weight)]
            words += ["onlink"] if hop.onlink else []
    return " ".join(words)


_FEATURES = {1: "ecn", 16: "tcp_usec_ts"}


def path_words(attributes: PathAttributes) -> list[str]:
    """Attributes of a path as arguments of `ip route`."""
    locks = dict(attributes).get("lock", 0)
    locked = {
        name
        for number, name in enumerate(PATH_ATTRIBUTES, 1)
        if isinstance(locks, int) and locks >> number & 1
    }
    words = []
    for name, value in attributes:
        if name == "features" and isinstance(value, int):
            words += [word for bit, word in _FEATURES.items() if value & bit for word in ("features", word)]
        elif name != "lock":
            # Without a unit `ip` takes the kernel's. It locks rto_min by itself, and does not take the word.
            lock = ["lock"] if name in locked and name != "rto_min" else []
            words += [name, *lock, quote(str(value))]
    return words


def nexthop_words(nexthop: NexthopObject | NexthopGroup, *, whole: bool = True) -> str:
    """A nexthop as arguments of `ip nexthop`; not `whole`: what names it."""
    words = ["id", str(nexthop.id)]
    if not whole:
        return " ".join(words)
    if isinstance(nexthop, NexthopGroup):
        words += ["group", "/".join(f"{member},{weight}" for member, weight in nexthop.members)]
        if nexthop.resilient:
            words += f"type resilient buckets {GROUP_BUCKETS} idle_timer {GROUP_IDLE_S}".split()
            words += ["unbalanced_timer", "0"]
    else:
        words += hop_words(Nexthop(nexthop.device, nexthop.gateway))
        words += ["onlink"] if nexthop.onlink else []
    return " ".join([*words, "proto", str(nexthop.protocol)])


def _prefix_word(network: IPNetwork | None) -> str:
    if network is None:
        return "all"
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _selector_words(part: str) -> list[str]:
    """A part of Rule.other as arguments: "dport 443-443" as dport, 443; none of what is no argument."""
    name, _, value = part.partition(" ")
    if name == "l3mdev":
        return [name]
    if name not in _SELECTORS:
        return []
    first, _, last = value.partition("-")
    return [name, first if first == last and name != "uidrange" else value]


_SELECTORS = ("uidrange", "ipproto", "sport", "dport", "dscp")


def rule_words(rule: Rule, *, selectors: bool = True) -> str:
    """A rule as arguments of `ip rule`, numbers instead of names; without the `selectors` of Rule.other."""
    words = ["priority", str(rule.priority), "from", _prefix_word(rule.source)]
    if rule.destination is not None:
        words += ["to", _prefix_word(rule.destination)]
    if rule.mark:
        words += ["fwmark", f"{rule.mark:#x}/{rule.mask:#x}"]
    if rule.iif:
        words += ["iif", quote(rule.iif)]
    if rule.oif:
        words += ["oif", quote(rule.oif)]
    if selectors:
        words += [word for part in rule.other.split(", ") if part for word in _selector_words(part)]
    if rule.action == "table" and rule.table == 0:
        words += [] if selectors else ["lookup", "a VRF's table"]
    elif rule.action == "table":
        words += ["lookup", "main" if rule.table == MAIN_TABLE else str(rule.table)]
    else:
        words.append(rule.action)
    if rule.action == "goto":
        words += [part.removeprefix("goto ") for part in rule.other.split(", ") if part.startswith("goto ")]
    if rule.suppress_prefixlength is not None:
        words += ["suppress_prefixlength", str(rule.suppress_prefixlength)]
    return " ".join([*words, "protocol", str(rule.protocol)])
