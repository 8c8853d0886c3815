"""Makes the routes of pinned destinations, which leave by an uplink of choice. Pure.

Examples are banks, licence servers and an operator's own services. Their routes are in a table of its own,
which comes after the `from` rules and before the ECMP table. So one rule is enough for all destinations, and
the longest prefix wins. Pins do not apply to sockets that are bound, nor where main has a specific route.
"""

from __future__ import annotations

from collections.abc import Iterable

from netbond.config.schema import Config, PinConfig
from netbond.model import Facts, IPNetwork, Route, Uplink
from netbond.policies.destinations import networks
from netbond.policies.tiers import named
from netbond.tables import LAST_METRIC, METRIC, nexthop


def choose(pin: PinConfig, uplinks: Iterable[Uplink], family: int) -> Uplink | None:
    """The uplink for a pin: one that works, also a backup that waits, for the first pattern that has one."""
    working = [u for u in uplinks if u.family == family and u.leads_out]
    for pattern in pin.uplinks:
        for uplink in working:
            if named(uplink, pattern):
                return uplink
    return None


def routes(uplinks: Iterable[Uplink], facts: Facts, config: Config) -> list[Route]:
    """The routes of the table of pins. Of two pins for the same prefix the first one in the file counts."""
    uplinks = list(uplinks)
    resolved = dict(facts.resolved)
    routing = config.routing
    families = {uplink.family for uplink in uplinks}
    found: dict[IPNetwork, list[Route]] = {}
    for pin in config.pin:
        for network in networks(pin.destination, resolved):
            if network in found or network.version not in families:
                continue
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


def _order(network: IPNetwork) -> tuple[int, int, int]:
    return (network.version, int(network.network_address), network.prefixlen)
