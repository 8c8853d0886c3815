"""Keeps addresses of interfaces that are no uplinks now from leaving by another modem. Pure.

An interface may have an address and no gateway: its router has withdrawn itself and left the prefix, its
lease has no router yet, the modem roams, `enabled = false`. Without a rule, what is bound to that address
would be shared out, and leave by a modem whose operator drops it. So the address is withheld: it keeps its
rule and a table that refuses. What main has for a destination still comes first (neighbours, a VPN's routes).

That is only right for an address that belongs to a way out. The address of a LAN, a routed subnet or a
delegated prefix has no gateway on its interface either, and must leave by an uplink. So there has to be
evidence (`is_of_a_way_out`), and a rule of another program for the address is left to do its work.
"""

from __future__ import annotations

import ipaddress
import re

from netbond.config.schema import RoutingConfig, UplinkConfig
from netbond.model import Address, Facts, Nexthop, Route, Withheld
from netbond.tables import DEFAULT, METRIC, last_route

# Names that the kernel and udev give to modems, whose network is never a LAN. Ethernet and Wi-Fi have both.
_MODEM = re.compile(r"(usb|wwan|lte|hso|rmnet|rmnet_data|ppp)[0-9]+(\.[0-9]+)?|ww(x|P|[a-z]?p|[a-z])[0-9].*")


def is_of_a_way_out(address: Address, setting: UplinkConfig | None, facts: Facts, protocol: int) -> bool:
    """Whether the address is known to belong to a way to the internet, although no gateway is known.

    `setting` is that of the [[uplink]] that names the interface; None if none does, or by "*" alone. The
    address came from a DHCP server or a router; or netbond has a rule for it, because it was an uplink's; or
    an [[uplink]] or the name says that it is a modem.
    """
    ip = address.interface.ip
    if address.dynamic or any((x.device, x.address.ip) == (address.device, ip) for x in facts.leases):
        return True
    own = (rule.source for rule in facts.rules if rule.protocol == protocol and rule.action == "table")
    if ipaddress.ip_network(ip) in own:
        return True
    if setting is not None:
        return setting.enabled
    return _MODEM.fullmatch(address.device) is not None


def is_routed_by_others(address: Address, facts: Facts, protocol: int) -> bool:
    """Whether another program has a rule for packets from this address."""
    ip = address.interface.ip
    return any(
        rule.source is not None and rule.source.prefixlen and ip in rule.source
        for rule in facts.rules
        if rule.protocol != protocol
    )


def routes(withheld: Withheld, routing: RoutingConfig) -> list[Route]:
    """The routes of its table: one that refuses, and ahead of it the way out by its own device, if any."""
    last = last_route(withheld.table, withheld.family, routing)
    if not withheld.leaves_by_device:
        return [last]
    link = withheld.gateway is None and withheld.family == 4
    way_out = Route(
        withheld.table,
        DEFAULT[withheld.family],
        nexthops=(Nexthop(withheld.device, withheld.gateway, onlink=withheld.onlink),),
        metric=METRIC[withheld.family],
        scope="link" if link else "global",
        protocol=routing.protocol,
        attributes=withheld.attributes,
    )
    return [last, way_out]
