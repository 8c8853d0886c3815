"""Names other programs' routes and rules that interfere with netbond's; it never changes them. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict

from netbond.config.schema import Config
from netbond.desired import Desired, main_defaults, refusing_defaults, refusing_families
from netbond.ecmp import foreign_ids
from netbond.flows import same_bits
from netbond.foreign_rules import ahead, first_priority, foreign, hidden, picks, takes_all
from netbond.model import MAIN_TABLE, Facts, IPNetwork, Route, Rule
from netbond.plan import hop_words, route_words, rule_words
from netbond.policies.rules import refusing_table
from netbond.rules import overlap
from netbond.tables import MOST_COPIES, through_devices


def conflicts(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """One line for each route, rule or nexthop of another program that may change netbond's routing."""
    routing = config.routing
    moved = {(family, first_priority(facts.rules, family, routing)) for family in (4, 6)}
    moved -= {(family, routing.ecmp_priority) for family in (4, 6)}
    # At 0 is the kernel's own rule, and the copies if there is no other room (netbond.foreign_rules).
    priorities = {(rule.family, rule.priority) for rule in goal.rules if rule.priority} - moved
    tables = {uplink.table for uplink in goal.uplinks} | {routing.ecmp_table, routing.pin_table}
    tables |= {policy.table for policy in goal.policies}
    tables |= {refusing_table(policy.number, routing) for policy in goal.policies}
    found = []
    before = ahead(facts.rules, goal.own_rules, routing.protocol)
    for rule in facts.rules:
        if rule.protocol == routing.protocol:
            continue
        if (rule.family, rule.priority) in priorities:
            found.append(f"another program's rule has one of netbond's priorities: {rule_words(rule)}")
        elif rule.action == "table" and rule.table in tables:
            found.append(f"another program's rule looks up one of netbond's tables: {rule_words(rule)}")
        elif rule in before:
            found.append(_ahead(rule, facts, goal))
    strangers: dict[int, list[Route]] = defaultdict(list)
    for route in facts.routes:
        if route.table in tables and route.protocol != routing.protocol:
            strangers[route.table].append(route)
    for table, routes in sorted(strangers.items()):
        more = f", and {len(routes) - 1} more" if len(routes) > 1 else ""
        found.append(
            f"another program's route is in table {table}, which is netbond's: {route_words(routes[0])}"
            + more
        )
    if routing.nexthop_base:
        found += [
            f"another program uses the nexthop id {number}: the ECMP default is a multipath route instead"
            " (routing.nexthop_base moves netbond's ids)"
            for number in foreign_ids(facts, routing)
        ]
    found += [line for rule, line in unmet(facts, goal, config) if rule not in before]  # behind
    found += [
        f"another program's rule is for a mark of netbond's: {rule_says(rule)};"
        " choose other bits by router.mark_mask"
        for rule in same_bits(facts.rules, goal.rules, config)
    ]
    found += [
        f"policy {policy.name} is not sticky for what the box forwards: install nftables"
        for policy in goal.policies
        if policy.sticky_s and (goal.flows.groups or goal.flows.nothing)
    ]
    found += _followed(facts, goal, config)
    found += _refusing(facts, goal, config) + _hiding_defaults(facts, goal, config)
    return found + _wide_routes(facts, goal, config) + _too_many(facts, goal, config)


def rule_says(rule: Rule) -> str:
    """Another program's rule as `ip rule` writes it, with the selectors that netbond's own never have."""
    words = rule_words(rule, selectors=False).rpartition(" protocol ")[0]
    other = [part for part in rule.other.split(", ") if part and not part.startswith("goto ")]
    if "not" in other:
        other.remove("not")
        words = words.replace(" from ", " not from ", 1)
    return f"{words} ({', '.join(other)})" if other else words


def unmet(facts: Facts, goal: Desired, config: Config) -> list[tuple[Rule, str]]:
    """Other programs' rules with which netbond's cannot both hold, each with a line that says what decides.

    Those ahead of netbond's take traffic that is bound to an uplink; those behind are never asked.
    """
    routing = config.routing
    before = [rule for rule in ahead(facts.rules, goal.own_rules, routing.protocol) if not picks(rule)]
    found = [(rule, _ahead(rule, facts, goal)) for rule in before if not _has_copies(rule, facts, goal)]
    setting = "routing.others_first = true lets it go first"
    if routing.others_first:
        setting = "give it another priority, or set routing.ecmp_priority above it"
    found += [
        (rule, f"the shared default is ahead of another program's rule: {rule_says(rule)}; {setting}")
        for family in sorted({uplink.family for uplink in goal.uplinks})
        for rule in hidden(facts.rules, goal.rules, family, routing)
    ]
    return found


def _followed(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """Other programs' rules that leave no unbound traffic to the shared default, as a VPN's do."""
    routing = config.routing
    named = {rule for rule, _ in unmet(facts, goal, config)}
    named.update(ahead(facts.rules, goal.own_rules, routing.protocol))
    wide = [route for route in facts.routes if route.destination.prefixlen <= 1]
    lines = []
    for family in sorted({uplink.family for uplink in goal.uplinks}):
        shared = first_priority(facts.rules, family, routing)
        for rule in foreign(facts.rules, routing.protocol):
            of_family = rule.family == family and rule.priority <= shared
            if not of_family or rule in named or not takes_all(rule, wide):
                continue
            decides = "routing.others_first = false keeps the shared default ahead"
            if rule.priority < routing.ecmp_priority:
                decides = "delete it if that is not wanted"
            lines.append(
                "unbound traffic follows another program's rule, not the shared default:"
                f" {rule_says(rule)}; {decides}"
            )
    return lines


def _has_copies(rule: Rule, facts: Facts, goal: Desired) -> bool:
    """Whether netbond's rules for bound traffic have copies ahead of the rule; at one priority: are older."""
    older = facts.rules[: facts.rules.index(rule)]
    return any(
        own.family == rule.family
        and (own.priority < rule.priority or (own.priority == rule.priority == 0 and own in older))
        for own in goal.rules
    )


def _ahead(rule: Rule, facts: Facts, goal: Desired) -> str:
    """A rule of another program that is asked before netbond's rules for bound traffic."""
    says = f"another program's rule is ahead of netbond's: {rule_says(rule)}."
    if picks(rule):
        return f"{says} Packets that it asks for follow it, bound to an uplink or not"
    says += " Unbound traffic follows it;"
    if _has_copies(rule, facts, goal):
        return f"{says} what is bound to an uplink does not"
    return f"{says} so does what is bound to an uplink, for want of a lower priority: move it up"


def _hiding_defaults(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """Defaults in main that come before the ECMP table of the classic layout."""
    routing = config.routing
    if routing.layout != "classic":
        return []
    families = {uplink.family for uplink in goal.uplinks}
    refusing = refusing_families(facts, routing.protocol)
    return [
        f"the default in main {' '.join(hop_words(route.nexthops[0], route.family))} hides the ECMP table:"
        " delete it, or set routing.take_over_default = true"
        for route in main_defaults(facts, routing.protocol)
        if route.family in families
        and route not in goal.take
        and route.nexthops
        # With take_over_default they are passed over then.
        and not (routing.take_over_default and route.family in refusing)
    ]


def _refusing(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """Defaults in main that refuse, as kill switches set them: nothing comes past them at the rule for main.

    They do so as soon as no default with a way out is before them, by its metric.
    """
    families = {uplink.family for uplink in goal.uplinks}
    lines = []
    for route in refusing_defaults(facts, config.routing.protocol):
        before = any(
            other.metric < route.metric and not all(hop.dead for hop in other.nexthops)
            for other in main_defaults(facts, config.routing.protocol)
            if other.family == route.family and other not in goal.take
        )
        if route.family in families:
            what = "refuses all traffic that is not bound to a device, ahead of the shared default"
            if before:
                what = f"once no other default is before it in main, it {what}"
            lines.append(f"a default in main refuses: {route_words(route)}: {what}; delete it if not wanted")
    return lines


# No internet provider has more than a /8, and no private network is larger (RFC 1918).
SHORT_PREFIX = 8
_INTERNET: dict[int, tuple[IPNetwork, ...]] = {
    4: (ipaddress.IPv4Network("0.0.0.0/1"), ipaddress.IPv4Network("128.0.0.0/2"),
        ipaddress.IPv4Network("192.0.0.0/3")),
    6: (ipaddress.IPv6Network("2000::/3"),),
}  # fmt: skip


def _wide_routes(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """Routes in main that are not defaults and still take a large part of the internet.

    Routes in main come before pins and the ECMP default in both layouts. A DHCP server can cause such a
    route by a short netmask or a static route (option 121), to get all traffic; some VPNs add two halves of
    the internet on purpose.
    """
    families = {uplink.family for uplink in goal.uplinks}
    return [
        "a route in main takes much of the internet past the ECMP table, as a wrong netmask, a VPN or a"
        f" hostile DHCP server does: {route_words(route)}"
        for route in facts.routes
        if route.table == MAIN_TABLE
        and route.family in families
        and route.protocol != config.routing.protocol
        and 0 < route.destination.prefixlen < SHORT_PREFIX
        and route.kind != "throw"
        and any(overlap(route.destination, part) for part in _INTERNET[route.family])
    ]


def _too_many(facts: Facts, goal: Desired, config: Config) -> list[str]:
    """Interfaces through which main has more routes than an uplink's table gets."""
    devices = {uplink.device for uplink in goal.uplinks}
    main = through_devices(facts.routes, devices, config.routing.protocol)
    counts = {key: len(routes) for key, routes in main.items()}
    return [
        f"main has {count:,} routes through {device}{' (IPv6)' if family == 6 else ''}: a socket that is"
        f" bound to it uses those without a gateway, else its default (at most {MOST_COPIES} are copied)"
        for (device, family), count in sorted(counts.items())
        if count > MOST_COPIES
    ]
