"""Which routing table an uplink gets, and the routes in it. Pure.

usb0-4 have tables 100-104, eth0-4 110-114, wlan0-4 120-124, as scripts for modem boxes have always had them.
Any other name gets one of a reserved range: first by its hash, so that it is the same after a reboot, and by
the table it has in the kernel, so that it does not move while it is in use. No two devices ever share one.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Iterable, Mapping

from netbond.config import Config
from netbond.model import IPInterface, IPNetwork, Nexthop, Route, Uplink

FAMILIES = {"usb": 100, "eth": 110, "wlan": 120}
PER_FAMILY = 5

# The last resort of a table: whatever finds no route there must fail, or it would fall through to main and
# leave by the wrong modem. The highest metric there is, so that any other default wins.
LAST_METRIC = 2**32 - 1

DEFAULT = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


def fixed(device: str) -> int | None:
    """The table of a traditional name (usb0 -> 100), None for any other."""
    match = re.fullmatch(r"(usb|eth|wlan)([0-9])", device)
    if match and int(match[2]) < PER_FAMILY:
        return FAMILIES[match[1]] + int(match[2])
    return None


def assign(devices: Iterable[str], config: Config, in_use: Mapping[str, int]) -> dict[str, int]:
    """A table for each device: configured, else traditional, else kept (`in_use`), else from the range.

    A device for which the range has nothing left is missing from the answer.
    """
    configured = {u.match: u.table for u in config.uplink if u.table}
    low, high = config.routing.tables
    reserved = range(low, high + 1)
    tables: dict[str, int] = {}
    spoken_for = {config.routing.ecmp_table, *configured.values()}
    rest = []
    for device in sorted(devices):
        traditional = fixed(device)
        if device in configured:
            tables[device] = configured[device]
        elif traditional is not None and traditional not in spoken_for:
            tables[device] = traditional
        else:
            rest.append(device)
    # All fixed names count as taken, present or not: usb1 must find 101 free when it is plugged in.
    spoken_for |= {base + offset for base in FAMILIES.values() for offset in range(PER_FAMILY)}
    for device in list(rest):
        kept = in_use.get(device)
        if kept is not None and kept in reserved and kept not in spoken_for:
            tables[device] = kept
            spoken_for.add(kept)
            rest.remove(device)
    for device in rest:
        start = zlib.crc32(device.encode()) % len(reserved)
        for step in range(len(reserved)):
            candidate = reserved[(start + step) % len(reserved)]
            if candidate not in spoken_for:
                tables[device] = candidate
                spoken_for.add(candidate)
                break
    return tables


def _connected(interface: IPInterface, peer: object) -> IPNetwork | None:
    """The network that an address makes reachable without a gateway; None for a lone /32."""
    if peer is not None:
        return ipaddress.ip_network(f"{peer}/32" if interface.version == 4 else f"{peer}/128")
    network = interface.network
    return None if network.prefixlen == network.max_prefixlen else network


def routes(uplink: Uplink, protocol: int) -> list[Route]:
    """The routes of one uplink's table: connected networks, default, and a last `unreachable`.

    Of an interface that is down only the last remains: the kernel takes no route over it (ENETDOWN), and
    traffic bound to its address must not leave elsewhere.
    """
    default = DEFAULT[uplink.address.version]
    last = Route(uplink.table, default, kind="unreachable", metric=LAST_METRIC, protocol=protocol)
    if uplink.state == "down":
        return [last]
    connected: dict[IPNetwork, Route] = {}
    for address in uplink.addresses:
        network = _connected(address.interface, address.peer)
        if network is not None and network not in connected:
            connected[network] = Route(
                uplink.table,
                network,
                nexthops=(Nexthop(uplink.device),),
                source=address.interface.ip,
                scope="link",
                protocol=protocol,
            )
    way_out = Route(
        uplink.table,
        default,
        nexthops=(nexthop(uplink),),
        source=uplink.address.ip,
        scope="link" if uplink.gateway is None else "global",
        protocol=protocol,
    )
    # The default needs its gateway's network to be there first.
    return [last, *connected.values(), way_out]


def nexthop(uplink: Uplink, weight: int = 1) -> Nexthop:
    """The way out through an uplink; `onlink` where the gateway lies outside every connected network."""
    reachable = uplink.gateway is None or any(
        network is not None and uplink.gateway in network
        for network in (_connected(a.interface, a.peer) for a in uplink.addresses)
    )
    return Nexthop(uplink.device, uplink.gateway, weight, onlink=not reachable)
