"""Makes the routes of pinned destinations, which leave by an uplink of choice. Pure.

Examples are banks, licence servers and an operator's own services. Their routes are in a table of its own,
which comes after the `from` rules and before the ECMP table. So one rule is enough for all destinations, and
the longest prefix wins. Pins do not apply to sockets that are bound, nor where main has a specific route.
"""

from __future__ import annotations

from collections.abc import Iterable

from netbond.config.schema import Config, PinConfig
from netbond.model import Facts, IPNetwork, Route, Rule, Uplink, Withheld
from netbond.policies.destinations import networks
from netbond.policies.tiers import named
from netbond.tables import LAST_METRIC, METRIC, host, nexthop

REFUSING_TABLES = 200  # added to the number of the uplink's table, and to routing.policy_table


def choose(pin: PinConfig, uplinks: Iterable[Uplink], family: int) -> Uplink | None:
    """The uplink for a pin: one that works, also a backup that waits, for the first pattern that has one."""
    working = [u for u in uplinks if u.family == family and u.leads_out]
    for pattern in pin.uplinks:
        for uplink in working:
            if named(uplink, pattern):
                return uplink
    return None


def _pinned(facts: Facts, config: Config) -> dict[IPNetwork, PinConfig]:
    """The pin of each prefix. Of two pins for the same prefix the first one in the file counts."""
    resolved = dict(facts.resolved)
    found: dict[IPNetwork, PinConfig] = {}
    for pin in config.pin:
        for network in networks(pin.destination, resolved):
            found.setdefault(network, pin)
    return found


def routes(uplinks: Iterable[Uplink], facts: Facts, config: Config) -> list[Route]:
    """The routes of the table of pins."""
    uplinks = list(uplinks)
    routing = config.routing
    families = {uplink.family for uplink in uplinks}
    found: dict[IPNetwork, list[Route]] = {}
    for network, pin in _pinned(facts, config).items():
        if network.version in families:
            family = network.version
            way = choose(pin, uplinks, family)
            found[network] = []
            if pin.otherwise == "unreachable":
                # Also if there is an uplink: when its link goes down, the kernel deletes its route.
                found[network].append(
                    Route(
                        routing.pin_table,
                        network,
                        kind="unreachable",
                        metric=LAST_METRIC,
                        protocol=routing.protocol,
                    )
                )
            if way is not None:
                found[network].append(
                    Route(
                        routing.pin_table,
                        network,
                        nexthops=(nexthop(way),),
                        metric=METRIC[family],
                        source=way.address.ip,
                        scope="link" if way.gateway is None and family == 4 else "global",
                        protocol=routing.protocol,
                        attributes=way.attributes,
                    )
                )
    return [route for network in sorted(found, key=_order) for route in found[network]]


def refusals(
    uplinks: Iterable[Uplink], withheld: Iterable[Withheld], facts: Facts, config: Config
) -> tuple[list[Route], list[Rule]]:
    """What refuses pinned destinations of IPv6 from addresses of uplinks that the pin does not name.

    The kernel tries what is refused again with an address of its choice (netbond.policies.rules). Each such
    uplink has a table of refusing routes, as of several pins the longest prefix counts here, too.
    """
    routing = config.routing
    pinned = {network: pin for network, pin in _pinned(facts, config).items() if network.version == 6}
    if not any(pin.otherwise == "unreachable" for pin in pinned.values()):
        return [], []
    addresses = {}
    members = {}
    for uplink in uplinks:
        if uplink.family == 6:
            addresses[uplink.table] = uplink.addresses
            members[uplink.table] = [
                pin for pin in config.pin if any(named(uplink, pattern) for pattern in pin.uplinks)
            ]
    addresses |= {each.table: each.addresses for each in withheld if each.family == 6}
    found, rules = [], []
    for table, held in sorted(addresses.items()):
        place = routing.policy_table + REFUSING_TABLES + table
        kinds = {
            network: "unreachable"
            if pin.otherwise == "unreachable" and pin not in members.get(table, ())
            else "throw"
            for network, pin in pinned.items()
        }
        if "unreachable" not in kinds.values():
            continue
        found += [
            Route(place, network, kind=kinds[network], metric=LAST_METRIC, protocol=routing.protocol)
            for network in sorted(kinds, key=_order)
        ]
        rules += [
            Rule(
                routing.main_priority + 1,
                6,
                table=place,
                source=host(address.interface.ip),
                protocol=routing.protocol,
            )
            for address in held
        ]
    return found, rules


def _order(network: IPNetwork) -> tuple[int, int, int]:
    return (network.version, int(network.network_address), network.prefixlen)
