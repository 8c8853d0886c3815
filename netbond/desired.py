"""Decides what the kernel should have: netbond's routes, rules and nexthops, made from the uplinks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from netbond import pins, switched_off, withheld
from netbond.config.schema import Config, RoutingConfig
from netbond.config.values import HIGHEST_TABLE
from netbond.ecmp import ecmp, uses_groups
from netbond.flows import Holders, holders, others_marks, takers
from netbond.foreign_rules import copies, first_of_all, make_way
from netbond.lan import Lan, lan_interfaces, mark_rules
from netbond.match import NO_SETTINGS, Settings
from netbond.model import (
    MAIN_TABLE,
    REFUSALS,
    Facts,
    IdleInterface,
    NexthopGroup,
    NexthopObject,
    Route,
    Rule,
    Uplink,
    Withheld,
)
from netbond.policies.decide import policies
from netbond.policies.model import PolicyInUse
from netbond.policies.routes import routes as policy_routes
from netbond.policies.rules import refusals
from netbond.rules import rules
from netbond.system.by_identity import by_identity
from netbond.tables import host, routes, through_devices
from netbond.uplinks import find

KERNEL_PROTOCOL = 2  # RTPROT_KERNEL


@dataclass(frozen=True, slots=True)
class Desired:
    """What the kernel should have of netbond's, in the order in which it is added."""

    uplinks: tuple[Uplink, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    idle: tuple[IdleInterface, ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()  # other interfaces that are not uplinks, and why
    settings: Settings = field(default_factory=lambda: NO_SETTINGS)  # by interface (netbond.match)
    nexthops: tuple[NexthopObject | NexthopGroup, ...] = ()  # members before their groups
    withheld: tuple[Withheld, ...] = ()
    take: tuple[Route, ...] = ()  # foreign defaults to take out of main
    own_rules: tuple[Rule, ...] = ()  # those of `rules` that are ahead of policies and the shared default
    policies: tuple[PolicyInUse, ...] = ()  # in the order in which they are asked
    flows: Holders = Holders()  # what holds forwarded flows
    inside: Lan = Lan()  # where they come from, and how they are marked (netbond.router)


def tables_in_use(facts: Facts, protocol: int) -> dict[str, int]:
    """Return the table that each uplink has in the kernel now, by the uplink's name.

    netbond's own `oif` rules name the table of a device. The default route in a table names its further
    gateway. An interface whose addresses are withheld has only rules for these.
    """
    found = {rule.oif: rule.table for rule in facts.rules if rule.oif and rule.protocol == protocol}
    of_devices = set(found.values())
    own_rules = [
        rule
        for rule in facts.rules
        if rule.protocol == protocol and rule.table <= HIGHEST_TABLE  # others are of policies
    ]
    sources = {rule.table for rule in own_rules if rule.source}
    for route in facts.routes:
        own = route.protocol == protocol and route.destination.prefixlen == 0 and not route.nexthop_id
        if own and route.table in sources - of_devices and len(route.nexthops) == 1:
            (hop,) = route.nexthops
            found[f"{hop.device}+{hop.gateway}"] = route.table
    tables = set(found.values())
    rest = [rule for rule in own_rules if rule.action == "table" and rule.table not in tables]
    if any(rule.source for rule in rest):
        holders = {host(address.interface.ip): address.device for address in facts.addresses}
        for rule in rest:
            if rule.source in holders and rule.table not in found.values():
                found.setdefault(holders[rule.source], rule.table)
    return found


def desired(facts: Facts, config: Config) -> Desired:
    """Decide what the kernel should have, from the facts and the configuration."""
    routing = config.routing
    found = find(facts, config, tables_in_use(facts, routing.protocol))
    uplinks = found.uplinks
    outside = [uplink for uplink in uplinks if not uplink.vrf]
    groups = uses_groups(facts, routing)
    chosen = policies(uplinks, facts, config)
    marking = {way.family for policy in chosen for way in policy.ways if way.match.dscp_marks}
    flows = holders(facts, uplinks, groups=groups, marking=marking)
    resilient, left_out = bool(flows.groups), facts.left_out
    of_policies = policy_routes(
        chosen, uplinks, routing, groups=groups, resilient=resilient, left_out=left_out
    )
    without_way = switched_off.refused_families(outside, facts, routing)
    shared = ecmp(uplinks, routing, groups=groups, resilient=resilient, left_out=left_out)
    main = through_devices(facts.routes, {uplink.device for uplink in uplinks}, routing.protocol)
    of_uplinks = [
        route
        for uplink in uplinks
        for route in _table(uplink, routing, tuple(main.get((uplink.device, uplink.family), ())))
    ]
    pinned = pins.routes(uplinks, facts, config)
    refused, refusing = pins.refusals(outside, found.withheld, facts, config)
    marked = mark_rules(uplinks, config.router, routing.protocol, flows.marks)
    inside = lan_interfaces(facts.interfaces, uplinks, config.router, found.settings)
    if flows.marks or inside.devices:
        inside = replace(
            inside,
            held=flows.marks,
            others_marks=others_marks(facts.rules, config.router, routing.protocol),
            takers=takers(facts, routing),
            policies=chosen,
            pinned=frozenset(route.destination for route in pinned),
        )
    passed_over = refusing_families(facts, routing.protocol) if routing.take_over_default else frozenset()
    own = rules(
        uplinks,
        routing,
        pins={route.family for route in pinned},
        passed_over=passed_over,
        withheld=found.withheld,
        routes=of_uplinks,
        policies=chosen,
    )
    # Policies and the shared default are for what no rule before them is about.
    bound = [rule for rule in own if rule.priority < routing.ecmp_priority]
    unbound = [rule for rule in own if rule.priority >= routing.ecmp_priority]
    unbound = make_way(unbound, facts.rules, routing)
    own = [
        *copies(facts.rules, bound, routing.protocol),
        *bound,
        *refusing,
        *switched_off.rules(outside, without_way, routing),
        *refusals(chosen, outside, found.withheld, routing),
        *unbound,
        *marked,
    ]
    return Desired(
        uplinks=uplinks,
        routes=(
            *of_uplinks,
            *(route for each in found.withheld for route in withheld.routes(each, routing)),
            *pinned,
            *refused,
            *of_policies.routes,
            *shared.routes,
            *switched_off.routes(without_way, routing),
        ),
        rules=(*first_of_all(facts.rules, own, routing.protocol), *own),
        idle=found.idle,
        excluded=found.excluded,
        settings=found.settings,
        nexthops=_members_first((*shared.nexthops, *of_policies.nexthops)),
        withheld=found.withheld,
        take=_to_take(facts, uplinks, without_way, config),
        own_rules=tuple(bound),
        policies=chosen,
        flows=flows,
        inside=inside,
    )


@by_identity
def _table(uplink: Uplink, routing: RoutingConfig, main: tuple[Route, ...]) -> tuple[Route, ...]:
    return tuple(routes(uplink, routing, main))


def _members_first(
    nexthops: Iterable[NexthopObject | NexthopGroup],
) -> tuple[NexthopObject | NexthopGroup, ...]:
    """Each once, groups behind what they need."""
    return tuple(sorted(dict.fromkeys(nexthops), key=lambda each: isinstance(each, NexthopGroup)))


def _to_take(
    facts: Facts, uplinks: Iterable[Uplink], without_way: Collection[int], config: Config
) -> tuple[Route, ...]:
    """Return the foreign defaults to take out of main, where they hide the classic layout's ECMP table.

    A family without a usable uplink keeps its defaults, because nothing would replace them, unless it is
    to have no way (`without_way`). So does one with
    a default that refuses: main would refuse everything once the defaults before it are gone. The rule for
    main passes them over instead (netbond.rules).
    """
    if not config.routing.take_over_default:
        return ()
    served = {uplink.family for uplink in uplinks if uplink.usable} | set(without_way)
    served -= refusing_families(facts, config.routing.protocol)
    return tuple(route for route in main_defaults(facts, config.routing.protocol) if route.family in served)


def refusing_defaults(facts: Facts, protocol: int) -> list[Route]:
    """Return other programs' defaults in main that refuse: blackhole, unreachable, prohibit.

    `suppress_prefixlength` does not pass them over: the kernel ends the lookup there. Those of the kernel
    itself (proto kernel), which old kernels show for IPv6, do not count.
    """
    return [
        route
        for route in facts.routes
        if route.table == MAIN_TABLE
        and route.destination.prefixlen == 0
        and route.kind in REFUSALS
        and route.protocol not in (protocol, KERNEL_PROTOCOL)
    ]


def refusing_families(facts: Facts, protocol: int) -> frozenset[int]:
    """Return the families (4, 6) that have such a default: take_over_default takes none of theirs."""
    return frozenset(route.family for route in refusing_defaults(facts, protocol))


def main_defaults(facts: Facts, protocol: int) -> list[Route]:
    """Return the default routes in main that are not netbond's."""
    return [
        route
        for route in facts.routes
        if route.table == MAIN_TABLE
        and route.destination.prefixlen == 0
        and route.kind == "unicast"
        and route.protocol != protocol
    ]
