"""Makes the routes in the tables of policies, and the nexthop groups that they need. Pure.

A table has a default, or if the policy has destinations a route for each of them, over the uplinks in use.
What it has no route for goes on to the next rule. With otherwise = "unreachable" each route has one with a
higher metric beside it that refuses, also while an uplink is in use: when its link goes down, the kernel
deletes its route.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from netbond.config.schema import RoutingConfig
from netbond.ecmp import Ecmp, leg_hop, member, nexthop_id, reduced, shared_attributes
from netbond.model import IPNetwork, Leg, Nexthop, NexthopGroup, NexthopObject, Route, Uplink
from netbond.policies.model import PolicyInUse, PolicyWay
from netbond.policies.rules import refuses_own, refusing_table
from netbond.tables import DEFAULT, LAST_METRIC, METRIC

FIRST_GROUP = 300  # of the numbers that nexthop_id takes for tables; those of uplinks end before it


def routes(
    policies: Iterable[PolicyInUse],
    uplinks: Iterable[Uplink],
    routing: RoutingConfig,
    *,
    groups: bool = False,
    resilient: bool = False,
    left_out: Collection[Leg] = frozenset(),
) -> Ecmp:
    """The routes of all policies' tables, and the nexthops that they need: members before their groups.

    `left_out` are the legs that the kernel refuses (netbond.refused_legs); `resilient` as for ecmp().
    """
    known = {(uplink.name, uplink.family): uplink for uplink in uplinks}
    refused = {(each.table, each.family) for each in left_out}
    found: list[Route] = []
    members: dict[int, NexthopObject] = {}
    made: list[NexthopGroup] = []
    for policy in policies:
        for way in policy.ways:
            legs = [
                (known[name, way.family], weight)
                for name, weight in way.uplinks
                if (known[name, way.family].table, way.family) not in refused
            ]
            if way.family == 6 and len(legs) > 1:
                # The kernel takes none without a gateway beside others.
                legs = [each for each in legs if leg_hop(each[0]).gateway] or legs[:1]
            hops = _hops(legs)
            group = None
            if groups and way.family == 4 and len(hops) > 1:
                numbers = [nexthop_id(uplink.table, 4, routing) for uplink, _ in legs]
                group = NexthopGroup(
                    # The kernel does not turn one kind into the other. There are at most 64 policies.
                    nexthop_id(FIRST_GROUP + 100 * resilient + policy.number, 4, routing),
                    4,
                    tuple(sorted((number, hop.weight) for number, hop in zip(numbers, hops, strict=True))),
                    routing.protocol,
                    resilient,
                )
                made.append(group)
                members |= {
                    number: member(number, hop, routing) for number, hop in zip(numbers, hops, strict=True)
                }
            found += _routes(policy, way, [uplink for uplink, _ in legs], hops, group, routing)
            if way.family == 6 and refuses_own(policy, way):
                table = refusing_table(policy.number, routing)
                found += [_refusal(table, each, routing) for each in _sorted(way.match.destinations)]
    return Ecmp(tuple(found), (*members.values(), *made))


def _sorted(networks: Iterable[IPNetwork]) -> list[IPNetwork]:
    return sorted(networks, key=lambda network: (int(network.network_address), network.prefixlen))


def _refusal(table: int, destination: IPNetwork, routing: RoutingConfig) -> Route:
    return Route(table, destination, kind="unreachable", metric=LAST_METRIC, protocol=routing.protocol)


def _hops(legs: Sequence[tuple[Uplink, int]]) -> list[Nexthop]:
    if len(legs) == 1:
        return [leg_hop(legs[0][0])]
    weights = reduced([weight for _, weight in legs])
    return [leg_hop(uplink, weight) for (uplink, _), weight in zip(legs, weights, strict=True)]


def _routes(
    policy: PolicyInUse,
    way: PolicyWay,
    uplinks: Sequence[Uplink],
    hops: Sequence[Nexthop],
    group: NexthopGroup | None,
    routing: RoutingConfig,
) -> Iterable[Route]:
    destinations: tuple[IPNetwork, ...] = way.match.destinations or (DEFAULT[way.family],)
    alone = uplinks[0] if len(uplinks) == 1 else None
    attributes = shared_attributes(uplinks)
    for destination in _sorted(destinations):
        if policy.otherwise == "unreachable":
            yield _refusal(policy.table, destination, routing)
        if hops:
            yield Route(
                policy.table,
                destination,
                nexthops=tuple(hops),
                metric=METRIC[way.family],
                # Of several the kernel takes the address of the one that the packet leaves by.
                source=None if alone is None else alone.address.ip,
                scope="link" if alone and alone.gateway is None and way.family == 4 else "global",
                protocol=routing.protocol,
                nexthop_id=0 if group is None else group.id,
                attributes=attributes,
            )
