"""Destinations that leave by an uplink of choice: banks, licence servers, an operator's own services. Pure.

They are routes of a table of their own, which is asked after the `from` rules and before the ECMP table: the
longest prefix wins by itself, and there is one rule however many destinations there are. What the application
has bound itself, and what main has a specific route for, is not touched.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from netbond.config.schema import Config, PinConfig
from netbond.model import Facts, IPAddress, IPNetwork, Route, Uplink
from netbond.tables import LAST_METRIC, METRIC, nexthop
from netbond.usability import STANDBY


def names(config: Config) -> frozenset[str]:
    """The host names among the destinations, which must be resolved before they count."""
    return frozenset(
        destination for pin in config.pin for destination in pin.destination if _network(destination) is None
    )


def _network(destination: str) -> IPNetwork | None:
    try:
        return ipaddress.ip_network(destination)
    except ValueError:
        return None


def networks(pin: PinConfig, resolved: Mapping[str, Iterable[IPAddress]]) -> list[IPNetwork]:
    """The destinations of a pin as prefixes; names that are not resolved are left out."""
    found: list[IPNetwork] = []
    for destination in pin.destination:
        network = _network(destination)
        if network is None:
            found += [ipaddress.ip_network(address) for address in resolved.get(destination, ())]
        else:
            found.append(network)
    return found


def choose(pin: PinConfig, uplinks: Iterable[Uplink], family: int) -> Uplink | None:
    """The uplink that carries it: the first pattern that one fits which works, be it a backup that waits."""
    working = [u for u in uplinks if u.family == family and (u.usable or u.state == STANDBY)]
    for pattern in pin.uplinks:
        for uplink in working:
            if fnmatchcase(uplink.name, pattern) or fnmatchcase(uplink.device, pattern):
                return uplink
    return None


def routes(uplinks: Iterable[Uplink], facts: Facts, config: Config) -> list[Route]:
    """The routes of the table of pins. Of two pins for the same prefix the first in the file holds."""
    uplinks = list(uplinks)
    resolved = dict(facts.resolved)
    routing = config.routing
    families = {uplink.family for uplink in uplinks}
    found: dict[IPNetwork, list[Route]] = {}
    for pin in config.pin:
        for network in networks(pin, resolved):
            if network in found or network.version not in families:
                continue
            family = network.version
            way = choose(pin, uplinks, family)
            found[network] = []
            if pin.otherwise == "unreachable":
                # Also behind a way: when its link goes, the kernel drops the route without a word.
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
                    )
                )
    return [route for network in sorted(found, key=_order) for route in found[network]]


def _order(network: IPNetwork) -> tuple[int, int, int]:
    return (network.version, int(network.network_address), network.prefixlen)
