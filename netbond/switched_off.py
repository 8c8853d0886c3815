"""Refuses unbound traffic for which only uplinks are left that a person has set off. Pure.

Where no uplink of a family is in use, what is not bound goes by main's default, and a DHCP client may have
put one there that leads by an uplink that is set off. So the ECMP table then has a default that refuses.

The kernel tries what is refused in IPv6 again with an address of its choice (netbond.policies.rules), and by
that address the packet would leave by the uplink that is off. So with IPv6 rules refuse what comes from the
addresses of uplinks that are off, too, and nothing tells what is bound to one from what is not. What is bound
to a device leaves by it, as always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from netbond.config.schema import RoutingConfig
from netbond.model import MAIN_TABLE, Facts, Route, Rule, Uplink, UplinkState
from netbond.tables import host, last_route


def refused_families(uplinks: Sequence[Uplink], facts: Facts, routing: RoutingConfig) -> frozenset[int]:
    """The families (4, 6) in which uplinks are off, none is in use, and main's default is no other way."""
    in_use = {uplink.family for uplink in uplinks if uplink.usable}
    off = {(uplink.family, uplink.device) for uplink in uplinks if uplink.state == UplinkState.OFF}
    families = {family for family, _ in off} - in_use
    return frozenset(
        family
        for family in families
        if all((family, device) in off for device in _way_of_main(facts, family, routing.protocol))
    )


def _way_of_main(facts: Facts, family: int, protocol: int) -> list[str]:
    """The devices of main's default with the lowest metric."""
    defaults = [
        route
        for route in (*facts.routes, *facts.taken)
        if route.table == MAIN_TABLE
        and route.destination.prefixlen == 0
        and route.family == family
        and route.protocol != protocol
    ]
    best = min(defaults, key=lambda route: route.metric, default=None)
    return [] if best is None else [hop.device for hop in best.nexthops]


def routes(families: Collection[int], routing: RoutingConfig) -> list[Route]:
    """The refusing defaults of the ECMP table."""
    return [last_route(routing.ecmp_table, family, routing) for family in sorted(families)]


def rules(uplinks: Iterable[Uplink], families: Collection[int], routing: RoutingConfig) -> list[Rule]:
    """The rules that refuse what comes from IPv6 addresses of uplinks that are off."""
    if 6 not in families:
        return []
    addresses = {
        address.interface.ip
        for uplink in uplinks
        if uplink.family == 6 and uplink.state == UplinkState.OFF
        for address in uplink.addresses
    }
    return [
        # Behind main's specific routes, and behind what is bound to a device.
        Rule(
            routing.main_priority + 1,
            6,
            source=host(address),
            protocol=routing.protocol,
            action="unreachable",
        )
        for address in sorted(addresses, key=int)
    ]
