"""Which interfaces lead out, by which gateway, and in what state: facts and configuration into uplinks. Pure.

An interface is an uplink if it is enabled, has an address of global scope, and its gateway is known. The
gateway comes from, in this order:
1. the configuration;
2. a DHCP lease that a hook handed over;
3. a default route in main on that interface;
4. the default route that was last seen there: the kernel drops it when the link goes down and does not put it
   back (`learned`).
A lease, and a default once seen, counts only while the interface holds the address it came with. Nothing is
remembered here: the same facts give the same uplinks, so that an agent that was killed and started again
arrives where it was.

An uplink that is down or without carrier keeps its table and rules: as long as its address is on the box,
traffic bound to that address must fail and not leave by another modem.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from netbond.config import Config, UplinkConfig
from netbond.model import MAIN_TABLE, Address, Facts, IPAddress, Lease, Link, Route, Uplink
from netbond.tables import assign

# An interface that no [[uplink]] matches: used if it turns out to have a gateway.
UNMATCHED = UplinkConfig(match="*")

LEARNED = "main default"

UP = "up"
NO_CARRIER = "no carrier"
DOWN = "down"


def settings(device: str, configured: Iterable[UplinkConfig]) -> UplinkConfig:
    """The first [[uplink]] whose pattern matches, as in a shell; the defaults if none does."""
    return next((u for u in configured if fnmatchcase(device, u.match)), UNMATCHED)


def main_gateway(device: str, routes: Iterable[Route]) -> IPAddress | None:
    """The gateway of the default route in main on `device`, that of the lowest metric."""
    found = [
        (route.metric, hop.gateway)
        for route in routes
        for hop in route.nexthops
        if route.table == MAIN_TABLE
        and route.destination.prefixlen == 0
        and hop.device == device
        and hop.gateway is not None
    ]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _lease(device: str, addresses: Iterable[Address], leases: Iterable[Lease]) -> Lease | None:
    """The newest lease for `device` whose address it still holds: any other lease is history."""
    held = {address.interface.ip for address in addresses}
    valid = [
        lease for lease in leases if lease.device == device and lease.routers and lease.address.ip in held
    ]
    return max(valid, key=lambda lease: lease.received, default=None)


def _gateway(
    link: Link, addresses: tuple[Address, ...], setting: UplinkConfig, facts: Facts
) -> tuple[IPAddress | None, str] | None:
    """The gateway and where it is from; None if there is no knowing."""
    if setting.gateway == "none":
        return None, "configuration"
    if setting.gateway != "auto":
        return ipaddress.ip_address(setting.gateway), "configuration"
    lease = _lease(link.name, addresses, facts.leases)
    if lease is not None:
        return lease.routers[0], lease.source
    gateway = main_gateway(link.name, facts.routes)
    if gateway is not None:
        return gateway, LEARNED
    once = _lease(link.name, addresses, facts.learned)
    if once is not None:
        return once.routers[0], f"{LEARNED} (gone)"
    return None


def learned(facts: Facts, now: float) -> tuple[Lease, ...]:
    """What to remember of the default routes in main: `facts.learned`, brought up to date.

    `now` is wall-clock seconds. What is seen now replaces what was; what is not seen is kept while the
    interface holds the address it went with. An interface that is gone takes its memory along.
    """
    kept = {}
    for link in facts.links:
        addresses = [a for a in facts.addresses if a.device == link.name and a.scope == "global"]
        gateway = main_gateway(link.name, facts.routes)
        once = _lease(link.name, addresses, facts.learned)
        if isinstance(gateway, ipaddress.IPv4Address):
            for address in addresses:
                interface = address.interface
                if isinstance(interface, ipaddress.IPv4Interface) and gateway in interface.network:
                    seen = Lease(link.name, "main", interface, (gateway,), now)
                    same = once is not None and replace(once, received=now) == seen
                    kept[link.name] = once if same and once is not None else seen
                    break
        elif once is not None:
            kept[link.name] = once
    return tuple(kept[name] for name in sorted(kept))


def _primary(addresses: tuple[Address, ...], gateway: IPAddress | None) -> Address:
    """The address to bind to: the first in the gateway's network, else the first."""
    for address in addresses:
        if gateway is not None and gateway in address.interface.network:
            return address
    return addresses[0]


def _state(link: Link) -> tuple[str, str]:
    if not link.up:
        return DOWN, "interface is down"
    if not link.carrier:
        return NO_CARRIER, "no carrier"
    return UP, ""


def find(facts: Facts, config: Config, tables_in_use: Mapping[str, int]) -> tuple[list[Uplink], list[str]]:
    """The uplinks, in the order of their tables, and why the other candidates are none.

    `tables_in_use` are the tables that devices have in the kernel now; a device keeps its table.
    """
    chosen: list[tuple[Link, tuple[Address, ...], UplinkConfig, IPAddress | None, str]] = []
    idle: list[str] = []
    for link in sorted(facts.links, key=lambda link: link.name):
        if link.loopback:
            continue
        setting = settings(link.name, config.uplink)
        asked_for = setting is not UNMATCHED
        addresses = tuple(
            a
            for a in facts.addresses
            if a.device == link.name and a.interface.version == 4 and a.scope == "global"
        )
        if not setting.enabled:
            idle.append(f"{link.name}: enabled = false")
        elif not addresses:
            if asked_for:
                idle.append(f"{link.name}: no address")
        elif (way := _gateway(link, addresses, setting, facts)) is None:
            if asked_for:
                idle.append(f"{link.name}: no gateway known")
        else:
            chosen.append((link, addresses, setting, *way))
    idle += [
        f"{setting.match}: no such interface now"
        for setting in config.uplink
        if not any(fnmatchcase(link.name, setting.match) for link in facts.links)
    ]
    tables = assign([link.name for link, *_ in chosen], config, tables_in_use)
    uplinks = []
    for link, addresses, setting, gateway, source in chosen:
        if link.name not in tables:
            lowest, highest = config.routing.tables
            idle.append(f"{link.name}: no table left between {lowest} and {highest}")
            continue
        state, reason = _state(link)
        uplinks.append(
            Uplink(
                device=link.name,
                address=_primary(addresses, gateway).interface,
                gateway=gateway,
                gateway_source=source,
                table=tables[link.name],
                addresses=addresses,
                weight=setting.weight,
                state=state,
                reason=reason,
            )
        )
    return sorted(uplinks, key=lambda uplink: uplink.table), idle
