"""What others have put where netbond works: named, never touched, and no reason to stop. Pure."""

from __future__ import annotations

from collections import defaultdict

from netbond.balance import foreign_ids
from netbond.config import Config
from netbond.model import Desired, Facts, Route
from netbond.plan import hop_words, main_defaults, route_words, rule_words


def clashes(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """One line for each thing of somebody else's that may change what netbond's routing does."""
    routing = config.routing
    priorities = {(rule.family, rule.priority) for rule in goal.rules}
    tables = {uplink.table for uplink in goal.uplinks} | {routing.ecmp_table, routing.pin_table}
    found = []
    for rule in facts.rules:
        if rule.protocol == routing.protocol:
            continue
        if (rule.family, rule.priority) in priorities:
            found.append(f"another program's rule has a priority of netbond's: {rule_words(rule)}")
        elif rule.action == "table" and rule.table in tables:
            found.append(f"another program's rule leads to a table of netbond's: {rule_words(rule)}")
    strangers: dict[int, list[Route]] = defaultdict(list)
    for route in facts.routes:
        if route.table in tables and route.protocol != routing.protocol:
            strangers[route.table].append(route)
    for table, routes in sorted(strangers.items()):
        more = f", and {len(routes) - 1} more" if len(routes) > 1 else ""
        found.append(
            f"another program's route stands in table {table}, which is netbond's: {route_words(routes[0])}"
            + more
        )
    if routing.nexthop_base:
        found += [
            f"another program uses the nexthop id {number}: the ECMP default does without nexthop objects"
            " (routing.nexthop_base moves them)"
            for number in foreign_ids(facts, routing)
        ]
    return found + _hidden(facts, goal, config)


def _hidden(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """Defaults in main that the classic layout meets before its ECMP table."""
    routing = config.routing
    if routing.layout != "classic":
        return []
    families = {uplink.family for uplink in goal.uplinks}
    return [
        f"the default in main {' '.join(hop_words(route.nexthops[0]))} hides the ECMP table: delete it,"
        " or set routing.take_over_default = true"
        for route in main_defaults(facts, routing.protocol)
        if route.family in families and route not in goal.take and route.nexthops
    ]
