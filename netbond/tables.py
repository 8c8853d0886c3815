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
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from netbond.config.schema import RoutingConfig
from netbond.config.values import TABLES_PER_NAME
from netbond.model import MAIN_TABLE, Address, IPAddress, IPNetwork, Nexthop, Route, Uplink

# The last route of a table refuses what no other route in it carries. Without it the packet would fall
# through to main and leave by the wrong modem. It has the highest metric, so that any other default wins.
LAST_METRIC = 2**32 - 1

# The metric of a route without a metric. For IPv6 the kernel turns 0 into 1024 (IP6_RT_PRIO_USER).
METRIC = {4: 0, 6: 1024}

# The most of main's routes that an uplink's table gets. A box with more through one interface has them from a
# routing protocol, and copies of all would cost more in each pass than they are worth.
MOST_COPIES = 500

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


@lru_cache(maxsize=1024)  # each pass asks for those of all addresses
def host(ip: IPAddress) -> IPNetwork:
    """The prefix with this address alone."""
    return ipaddress.ip_network(ip)


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


def through_devices(
    routes: Iterable[Route], devices: Collection[str], protocol: int
) -> Mapping[tuple[str, int], Sequence[Route]]:
    """What main has through each device and family (4, 6) besides defaults, as the kernel lists it.

    Routes of netbond's own `protocol` are left out, and those that a copy would change (Route.other).
    """
    found: dict[tuple[str, int], list[Route]] = defaultdict(list)
    for route in routes:
        if (
            route.table == MAIN_TABLE
            and route.kind == "unicast"
            and route.destination.prefixlen
            and route.protocol != protocol
            and not route.other
        ):
            for device in {hop.device for hop in route.nexthops}.intersection(devices):
                found[device, route.family].append(route)
    return found


def _copies(uplink: Uplink, main: Sequence[Route], protocol: int) -> dict[IPNetwork, Route]:
    """The best route to each destination that main has through the uplink's device, for the uplink's table.

    Of several nexthops only those of this device count.
    """
    best: dict[IPNetwork, Route] = {}
    for route in main:
        known = best.get(route.destination)
        if known is None or route.metric < known.metric:
            best[route.destination] = route
    found = {}
    for destination, route in best.items():
        hops = tuple(hop for hop in route.nexthops if hop.device == uplink.device)
        if len(hops) == 1 and hops[0].weight != 1:
            hops = (replace(hops[0], weight=1),)
        alone = len(hops) == 1 and hops[0].gateway is None and uplink.family == 4
        found[destination] = replace(
            route,
            table=uplink.table,
            nexthops=hops,
            metric=METRIC[uplink.family],
            scope="link" if alone and route.scope == "global" else route.scope,
            protocol=protocol,
            nexthop_id=0,
        )
    return found


def _by_gateway(route: Route) -> bool:
    return any(hop.gateway is not None for hop in route.nexthops)


def on_the_link(uplink: Uplink, main: Sequence[Route], protocol: int) -> list[Route]:
    """All routes of an uplink's table except its default and the last one; those without a gateway first.

    These are the networks of its addresses, and what main has through its device (`main`, of
    through_devices): link-local neighbours, prefixes that a router announces as on the link beside a /128,
    routes of DHCP's option 121, and what people set. A socket that is bound to the device is looked up here
    and nowhere else, and an address with a scope (fe80::5%eth0) binds to the device, too. If main has more
    than MOST_COPIES routes, those with a gateway are left out.
    """
    if len(main) > MOST_COPIES:
        main = [route for route in main if not _by_gateway(route)][:MOST_COPIES]
    copies = _copies(uplink, main, protocol)
    direct: dict[IPNetwork, Route] = {}
    for address in uplink.addresses:
        network = connected(address)
        if network is None or network in direct:
            continue
        ours = copies.pop(network, None)
        if ours is None:
            ours = Route(
                uplink.table,
                network,
                nexthops=(Nexthop(uplink.device),),
                metric=METRIC[uplink.family],
                source=address.interface.ip,
                scope="link" if uplink.family == 4 else "global",
                protocol=protocol,
            )
        direct[network] = ours if ours.source else replace(ours, source=address.interface.ip)
    found = [*direct.values(), *sorted(copies.values(), key=lambda route: _order(route.destination))]
    near = [route.destination for route in found if not _by_gateway(route)]
    far = [route for route in found if _by_gateway(route)]
    return [
        *(route for route in found if not _by_gateway(route)),
        *(replace(route, nexthops=tuple(_reaching(hop, near) for hop in route.nexthops)) for route in far),
    ]


def _reaching(hop: Nexthop, near: Iterable[IPNetwork]) -> Nexthop:
    """The nexthop; `onlink` if no network that is on the link has its gateway, as the kernel refuses else."""
    gateway = hop.gateway
    if gateway is None or hop.onlink or (gateway.version == 6 and gateway.is_link_local):
        return hop
    return hop if any(gateway in network for network in near) else replace(hop, onlink=True)


def _order(network: IPNetwork) -> tuple[int, int]:
    return (int(network.network_address), network.prefixlen)


def routes(uplink: Uplink, routing: RoutingConfig, main: Sequence[Route] = ()) -> list[Route]:
    """The routes of one uplink's table: what is on the link, the default, and a last route that refuses.

    `main` are main's routes through its device (through_devices). If the interface is down, there is only the
    last route: the kernel accepts no route over it (ENETDOWN), and traffic bound to its address must not
    leave by another uplink. In the table of an uplink in a VRF no route names a source: the kernel takes none
    that is an address of the VRF, and chooses that of the device.
    """
    family, protocol = uplink.family, routing.protocol
    last = last_route(uplink.table, family, routing)
    if uplink.state == "down":
        return [last]
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
    # Routes with a gateway need its network to be there first.
    found = [last, *on_the_link(uplink, main, protocol), way_out]
    return [replace(route, source=None) for route in found] if uplink.vrf else found


def nexthop(uplink: Uplink, weight: int = 1) -> Nexthop:
    """The nexthop of an uplink; `onlink` if its gateway is outside every connected network."""
    onlink = not on_link(uplink.gateway, uplink.addresses)
    return Nexthop(uplink.device, uplink.gateway, weight, onlink=onlink)
