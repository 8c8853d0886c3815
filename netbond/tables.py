"""Chooses the routing table of each uplink, and makes the routes in it. Pure.

usb0-4 have the tables 100-104, eth0-4 110-114, wlan0-4 120-124, the usual numbers on modem boxes
(`table_bases`). Any other name gets a table of a reserved range. The name's hash chooses it, so that it is
the same after a reboot; a table that the name has in the kernel already it keeps. No two names share a table;
both families of a name do.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from netbond.config.schema import RoutingConfig
from netbond.config.values import TABLES_PER_NAME
from netbond.model import Address, IPAddress, IPNetwork, Nexthop, Route, Uplink

# The last route of a table refuses what no other route in it carries. Without it the packet would fall
# through to main and leave by the wrong modem. It has the highest metric, so that any other default wins.
LAST_METRIC = 2**32 - 1

# The metric of a route without a metric. For IPv6 the kernel turns 0 into 1024 (IP6_RT_PRIO_USER).
METRIC = {4: 0, 6: 1024}

DEFAULT: dict[int, IPNetwork] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


def numbered_table(name: str, bases: Iterable[tuple[str, int]]) -> int | None:
    """The table of a name with a number in `table_bases` (usb0 -> 100); None for any other name."""
    match = re.fullmatch(r"([A-Za-z_-]+)([0-9])", name)
    base = dict(bases).get(match[1]) if match else None
    return base + int(match[2]) if match and base is not None and int(match[2]) < TABLES_PER_NAME else None


def assign(
    names: Iterable[str],
    routing: RoutingConfig,
    in_use: Mapping[str, int],
    configured: Mapping[str, int] = MappingProxyType({}),
    kept_free: Collection[int] = (),
) -> dict[str, int]:
    """A table for each name: configured, else by its number, else kept (`in_use`), else of the range.

    `kept_free` are tables that belong to an [[uplink]] whose interface may come back (netbond.match). Of two
    names with the same hash the first one gets the table. A name for which the range has nothing left is
    missing from the answer.
    """
    low, high = routing.tables
    reserved = range(low, high + 1)
    tables: dict[str, int] = {}
    taken = {routing.ecmp_table, routing.pin_table, *configured.values(), *kept_free}
    rest = []
    for name in names:
        numbered = numbered_table(name, routing.table_bases)
        if name in configured:
            tables[name] = configured[name]
        elif numbered is not None and numbered not in taken:
            tables[name] = numbered
        else:
            rest.append(name)
    # The tables of all numbered names are taken: usb1 must find 101 free when it is plugged in.
    taken |= {base + offset for _, base in routing.table_bases for offset in range(TABLES_PER_NAME)}
    for name in list(rest):
        kept = in_use.get(name)
        if kept is not None and kept in reserved and kept not in taken:
            tables[name] = kept
            taken.add(kept)
            rest.remove(name)
    for name in rest:
        start = zlib.crc32(name.encode()) % len(reserved)
        for step in range(len(reserved)):
            candidate = reserved[(start + step) % len(reserved)]
            if candidate not in taken:
                tables[name] = candidate
                taken.add(candidate)
                break
    return tables


def connected(address: Address) -> IPNetwork | None:
    """The network that an address makes reachable without a gateway; None for a lone /32 or /128."""
    if address.peer is not None:
        return ipaddress.ip_network(f"{address.peer}/{address.interface.max_prefixlen}")
    network = address.interface.network
    return None if network.prefixlen == network.max_prefixlen else network


def reaches(address: Address, gateway: IPAddress) -> bool:
    """Whether the gateway is the address's peer or in its network."""
    network = connected(address)
    return network is not None and gateway in network


def on_link(gateway: IPAddress | None, addresses: Iterable[Address]) -> bool:
    """Whether an interface with these addresses reaches the gateway directly; also if it needs none.

    A link-local gateway (of IPv6) is on the link, whatever the addresses are.
    """
    return gateway is None or gateway.is_link_local or any(reaches(each, gateway) for each in addresses)


def last_route(table: int, family: int, routing: RoutingConfig) -> Route:
    """The last route of a table, which refuses."""
    return Route(
        table,
        DEFAULT[family],
        kind="prohibit" if routing.layout == "classic" else "unreachable",
        metric=LAST_METRIC,
        protocol=routing.protocol,
    )


def routes(uplink: Uplink, routing: RoutingConfig) -> list[Route]:
    """The routes of one uplink's table: connected networks, the default, and a last route that refuses.

    If the interface is down, there is only the last route: the kernel accepts no route over it (ENETDOWN),
    and traffic bound to its address must not leave by another uplink.
    """
    family, protocol = uplink.family, routing.protocol
    last = last_route(uplink.table, family, routing)
    if uplink.state == "down":
        return [last]
    direct: dict[IPNetwork, Route] = {}
    for address in uplink.addresses:
        network = connected(address)
        if network is not None and network not in direct:
            direct[network] = Route(
                uplink.table,
                network,
                nexthops=(Nexthop(uplink.device),),
                metric=METRIC[family],
                source=address.interface.ip,
                scope="link" if family == 4 else "global",
                protocol=protocol,
            )
    way_out = Route(
        uplink.table,
        DEFAULT[family],
        nexthops=(nexthop(uplink),),
        metric=METRIC[family],
        source=uplink.address.ip,
        scope="link" if uplink.gateway is None and family == 4 else "global",
        protocol=protocol,
        attributes=uplink.attributes,
    )
    # The default needs its gateway's network to be there first.
    return [last, *direct.values(), way_out]


def nexthop(uplink: Uplink, weight: int = 1) -> Nexthop:
    """The nexthop of an uplink; `onlink` if its gateway is outside every connected network."""
    onlink = not on_link(uplink.gateway, uplink.addresses)
    return Nexthop(uplink.device, uplink.gateway, weight, onlink=onlink)
