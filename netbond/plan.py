"""From what the kernel holds to what it should hold: an ordered list of operations. Pure.

Adds come before deletes, so that there is no moment without a way out; routes come before the rules that lead
to them, and rules go before the routes they led to. What carries another protocol number than netbond's is
never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from netbond.balance import ecmp
from netbond.config import Config
from netbond.model import MAIN_TABLE, Desired, Facts, Nexthop, Route, Rule
from netbond.rules import rules
from netbond.tables import DEFAULT, routes
from netbond.uplinks import find


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: `verb` is add, replace or delete; `why` is for people."""

    verb: str
    what: Route | Rule
    why: str

    def command(self) -> str:
        """The same as an iproute2 command."""
        words = rule_words(self.what) if isinstance(self.what, Rule) else route_words(self.what)
        kind = "rule" if isinstance(self.what, Rule) else "route"
        family = self.what.family if isinstance(self.what, Rule) else self.what.destination.version
        return f"ip {'-6 ' if family == 6 else ''}{kind} {self.verb} {words}"


def tables_in_use(facts: Facts, protocol: int) -> dict[str, int]:
    """Which table each device has in the kernel now: netbond's own `oif` rules say it."""
    return {rule.oif: rule.table for rule in facts.rules if rule.oif and rule.protocol == protocol}


def desired(facts: Facts, config: Config) -> Desired:
    """What the kernel should hold, given the facts."""
    protocol = config.routing.protocol
    uplinks, idle = find(facts, config, tables_in_use(facts, protocol))
    wanted = [route for uplink in uplinks for route in routes(uplink, protocol)]
    wanted += ecmp(uplinks, config.routing)
    return Desired(tuple(uplinks), tuple(wanted), tuple(rules(uplinks, config.routing)), tuple(idle))


def _place(route: Route) -> tuple[object, ...]:
    """What makes two IPv4 routes the same one to `ip route replace`."""
    return (route.table, route.destination, route.metric)


def _comparable(route: Route) -> Route:
    """Brings both sides to one form: the order of ECMP legs says nothing."""
    return replace(
        route, nexthops=tuple(sorted(route.nexthops, key=lambda hop: (hop.device, str(hop.gateway))))
    )


def plan(facts: Facts, goal: Desired, protocol: int) -> list[Operation]:
    """The operations that make netbond's part of the kernel equal to `goal`; empty if it is."""
    add_routes, delete_routes = _plan_routes(facts.routes, goal.routes, protocol)
    add_rules, delete_rules = _plan_rules(facts.rules, goal.rules, protocol)
    return add_routes + add_rules + delete_rules + delete_routes


def _plan_routes(
    observed: Iterable[Route], wanted: Iterable[Route], protocol: int
) -> tuple[list[Operation], list[Operation]]:
    own = [route for route in observed if route.protocol == protocol]
    foreign = {_place(route) for route in observed if route.protocol != protocol}
    there = Counter(_comparable(route) for route in own)
    places = Counter(_place(route) for route in own)
    adds: list[Operation] = []
    kept: set[Route] = set()
    replaced: set[tuple[object, ...]] = set()
    for route in wanted:
        place = _place(route)
        if there[_comparable(route)]:
            kept.add(_comparable(route))
        elif places[place] == 1 and place not in foreign:
            adds.append(Operation("replace", route, "differs from what is there"))
            replaced.add(place)
        else:
            # Where a foreign route has this place, the kernel refuses (EEXIST) and the agent reports it:
            # `replace` would overwrite what is not ours.
            adds.append(Operation("add", route, "missing"))
    deletes = [
        Operation("delete", route, "no longer wanted")
        for route in own
        if _comparable(route) not in kept and _place(route) not in replaced
    ]
    return adds, deletes


def _plan_rules(
    observed: Iterable[Rule], wanted: Iterable[Rule], protocol: int
) -> tuple[list[Operation], list[Operation]]:
    own = Counter(rule for rule in observed if rule.protocol == protocol)
    goal = list(wanted)
    adds = [Operation("add", rule, "missing") for rule in goal if not own[rule]]
    deletes = [
        Operation("delete", rule, "twice" if rule in goal else "no longer wanted")
        for rule, count in own.items()
        for _ in range(count - (rule in goal))
    ]
    return adds, deletes


# --- as iproute2 would write it ---------------------------------------------------------------------------


def _hop_words(hop: Nexthop) -> list[str]:
    words = [] if hop.gateway is None else ["via", str(hop.gateway)]
    words += ["dev", hop.device]
    return words


def route_words(route: Route) -> str:
    """A route as arguments of `ip route`, numbers instead of names."""
    words = [] if route.kind == "unicast" else [route.kind]
    words.append(
        "default" if route.destination == DEFAULT[route.destination.version] else str(route.destination)
    )
    if len(route.nexthops) == 1:
        words += _hop_words(route.nexthops[0])
    words += ["table", "main" if route.table == MAIN_TABLE else str(route.table)]
    words += ["proto", str(route.protocol)]
    if route.scope == "link":
        words += ["scope", "link"]
    if route.source is not None:
        words += ["src", str(route.source)]
    if route.metric:
        words += ["metric", str(route.metric)]
    if len(route.nexthops) == 1 and route.nexthops[0].onlink:
        words.append("onlink")
    if len(route.nexthops) > 1:
        for hop in route.nexthops:
            words += ["nexthop", *_hop_words(hop), "weight", str(hop.weight)]
            words += ["onlink"] if hop.onlink else []
    return " ".join(words)


def rule_words(rule: Rule) -> str:
    """A rule as arguments of `ip rule`, numbers instead of names."""
    words = [
        "priority",
        str(rule.priority),
        "from",
        "all" if rule.source is None else str(rule.source.network_address),
    ]
    if rule.iif:
        words += ["iif", rule.iif]
    if rule.oif:
        words += ["oif", rule.oif]
    if rule.action == "table":
        words += ["lookup", "main" if rule.table == MAIN_TABLE else str(rule.table)]
    else:
        words.append(rule.action)
    if rule.suppress_prefixlength is not None:
        words += ["suppress_prefixlength", str(rule.suppress_prefixlength)]
    return " ".join([*words, "protocol", str(rule.protocol)])
