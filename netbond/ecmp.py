"""Makes the ECMP default: the route by which unbound traffic is shared among uplinks, by weight. Pure.

With nexthop objects (kernel 5.3 and later) the default of IPv4 uses a group with a member for each uplink.
When a link goes down, the kernel takes its member out of the group and the others carry on. Without them it
is a multipath route, which the kernel deletes as a whole when one of its links goes down.

The default of IPv6 is always a multipath route, of which the kernel takes only the leg whose link went down.
With a group it would choose the source address by the first member, whichever member the packet leaves by
(ip6_route_get_saddr): the other modems' operators drop what does not come from their addresses.

The kernel takes no leg of IPv6 without a gateway into a multipath route. Point-to-point links and raw-IP
modems need none, so netbond names one for them that nobody asks: the packets reach the other end whatever it
is (rt6_qualify_for_ecmp in include/net/ip6_route.h; ndisc_constructor in net/ipv6/ndisc.c).
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from netbond.config.schema import RoutingConfig
from netbond.model import (
    PATH_ATTRIBUTES,
    Facts,
    Leg,
    Nexthop,
    NexthopGroup,
    NexthopObject,
    PathAttributes,
    Route,
    Uplink,
)
from netbond.system.by_identity import by_identity
from netbond.tables import DEFAULT, METRIC, nexthop

# The gateway of an IPv6 leg that needs none: "the routers of this link" (RFC 4291, 2.6.1), an address that no
# interface has.
ANY_ROUTER = ipaddress.ip_address("fe80::")

IPV6_IDS = 1000  # between the ids of the two families; more than there are tables


LARGEST_WEIGHT = 255  # of a group's member before kernel 6.12, which refuses the whole group for a larger one


def reduced(weights: Sequence[int]) -> list[int]:
    """The ratio in the smallest whole numbers: [2, 4, 6] -> [1, 2, 3].

    It is exact if none of them is larger than LARGEST_WEIGHT. Else they are rounded: [256, 1] -> [255, 1].
    """
    divisor = math.gcd(*weights) if weights else 1
    small = [weight // divisor for weight in weights]
    largest = max(small, default=1)
    if largest <= LARGEST_WEIGHT:
        return small
    return [max(1, round(weight * LARGEST_WEIGHT / largest)) for weight in small]


def nexthop_id(table: int, family: int, routing: RoutingConfig) -> int:
    """The id of the nexthop object of an uplink by its table, or of the group by the ECMP table."""
    return routing.nexthop_base + table + (IPV6_IDS if family == 6 else 0)


def group_ids(family: int, routing: RoutingConfig) -> tuple[int, int]:
    """The ids of the family's group in the ECMP default: a plain one, and a resilient one.

    The kernel does not turn one into the other. The second is that of the pins' table, which has no nexthop.
    """
    return nexthop_id(routing.ecmp_table, family, routing), nexthop_id(routing.pin_table, family, routing)


def own_ids(routing: RoutingConfig) -> range:
    """All ids that may be netbond's."""
    return range(routing.nexthop_base, routing.nexthop_base + 2 * IPV6_IDS)


def foreign_ids(facts: Facts, routing: RoutingConfig) -> list[int]:
    """netbond's ids that another program uses."""
    ids = own_ids(routing)
    return [
        found.id for found in facts.nexthops or () if found.id in ids and found.protocol != routing.protocol
    ]


def uses_groups(facts: Facts, routing: RoutingConfig) -> bool:
    """Whether the ECMP default is to be a nexthop group."""
    return bool(routing.nexthop_base) and facts.nexthops is not None and not foreign_ids(facts, routing)


_LIMITS = frozenset({"window", "cwnd", "advmss"})  # what holds for one leg harms no other


def shared_attributes(uplinks: Sequence[Uplink]) -> PathAttributes:
    """The attributes of a default over these uplinks: a route has one set of them for all its legs.

    Those that all legs have alike stay. Of limits the smallest counts, as a packet that is too large for its
    leg is lost; a leg without an MTU of its own has that of its device. Any other is left to the kernel.
    """
    sets = [dict(uplink.attributes) for uplink in uplinks]
    found: dict[str, int | str] = {}
    for name in dict.fromkeys(name for uplink in uplinks for name, _ in uplink.attributes):
        values = [each.get(name) for each in sets]
        if name == "mtu":
            values = [each.get(name, uplink.mtu) for each, uplink in zip(sets, uplinks, strict=True)]
        numbers = [value for value in values if isinstance(value, int) and value > 0]
        if values.count(values[0]) == len(values) and values[0] is not None:
            found[name] = values[0]
        elif name == "mtu" or name in _LIMITS:
            found[name] = min(numbers)
    return tuple(sorted(found.items(), key=lambda item: PATH_ATTRIBUTES.index(item[0])))


@dataclass(frozen=True, slots=True)
class Ecmp:
    """The default routes, and the nexthops that they need: members before their group."""

    routes: tuple[Route, ...] = ()
    nexthops: tuple[NexthopObject | NexthopGroup, ...] = ()


def leg(uplink: Uplink) -> Leg:
    """What the uplink is as a leg."""
    gateway = "" if uplink.gateway is None else str(uplink.gateway)
    return Leg(uplink.family, uplink.table, uplink.device, gateway, uplink.weight)


def leg_hop(uplink: Uplink, weight: int = 1) -> Nexthop:
    """The nexthop of the uplink in a route that may have others."""
    return _leg_hop(uplink, weight)


@by_identity
def _leg_hop(uplink: Uplink, weight: int) -> Nexthop:
    hop = nexthop(uplink, weight)
    if uplink.family == 6 and hop.gateway is None and not uplink.needs_gateway:
        return replace(hop, gateway=ANY_ROUTER)
    return hop


@by_identity
def member(number: int, hop: Nexthop, routing: RoutingConfig) -> NexthopObject:
    """The nexthop object with this id, for groups of IPv4."""
    # The gateway's family: that of an IPv4 default may be IPv6 (RFC 8950).
    family = 4 if hop.gateway is None else hop.gateway.version
    return NexthopObject(number, family, hop.device, hop.gateway, hop.onlink, routing.protocol)


def ecmp(
    uplinks: Iterable[Uplink],
    routing: RoutingConfig,
    *,
    groups: bool = False,
    resilient: bool = False,
    left_out: Collection[Leg] = frozenset(),
) -> Ecmp:
    """The default route of each family over all usable uplinks; none if no uplink is usable.

    With `resilient` groups, forwarded flows that are busy keep their leg (netbond.flows).
    The kernel refuses the whole route if it refuses one leg, so each leg must be up, and those that it
    refuses all the same are `left_out` (netbond.refused_legs).
    """
    uplinks = list(uplinks)
    routes: list[Route] = []
    members: list[NexthopObject | NexthopGroup] = []
    found_groups: list[NexthopGroup] = []
    for family in (4, 6):
        grouped = groups and family == 4
        usable = [
            uplink
            for uplink in uplinks
            if uplink.usable and uplink.family == family and not (left_out and leg(uplink) in left_out)
        ]
        if not usable:
            continue
        weights = reduced([uplink.weight for uplink in usable]) if len(usable) > 1 else [1]
        legs = tuple(leg_hop(uplink, weight) for uplink, weight in zip(usable, weights, strict=True))
        ids = [nexthop_id(uplink.table, family, routing) for uplink in usable]
        group = NexthopGroup(
            group_ids(family, routing)[resilient],
            family,
            tuple(sorted(zip(ids, weights, strict=True))),
            routing.protocol,
            resilient,
        )
        # The kernel gives a single leg without gateway link scope; a multipath route has global scope.
        alone = len(legs) == 1 and legs[0].gateway is None and family == 4 and not grouped
        routes.append(
            Route(
                routing.ecmp_table,
                DEFAULT[family],
                nexthops=legs,
                metric=METRIC[family],
                scope="link" if alone else "global",
                protocol=routing.protocol,
                nexthop_id=group.id if grouped else 0,
                attributes=shared_attributes(usable),
            )
        )
        if grouped:
            members += [member(number, hop, routing) for number, hop in zip(ids, legs, strict=True)]
            found_groups.append(group)
    return Ecmp(tuple(routes), (*members, *found_groups))
