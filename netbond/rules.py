"""Makes the policy rules of all uplinks, with their priorities. Pure.

    default layout                              classic layout (split-access howtos)
    0      local                                0      local
    40     oif DEVICE -> its table              40     oif DEVICE -> its table
    50     main suppress_prefixlength 0         50     main
    100..  from ADDRESS -> its table            201..  from NETWORK -> its table
    220    the table of pinned destinations     220    the table of pinned destinations
    222    the ECMP table                       222    the ECMP table
    32766  main                                 32766  main

For a socket that is bound to a device its address does not count: two modems may hand out the same address.
Connected and specific routes of main come before everything else. A default that a DHCP client put into main
is harmless in the default layout; in the classic layout it hides the rules that follow. The priority of a
`from` rule is its table's number, or in the classic layout it follows the order of tables. Where networks of
several uplinks overlap, the classic layout has rules for their addresses instead, because a rule for the
network would send all of them by the first uplink. Unbound traffic is shared among the uplinks.

Sources: ip-rule(8); Documentation/networking/policy-routing.txt of the kernel.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Container, Iterable

from netbond.config.schema import RoutingConfig
from netbond.model import MAIN_TABLE, Address, IPNetwork, Rule, Uplink, Withheld


def rules(
    uplinks: Iterable[Uplink],
    routing: RoutingConfig,
    *,
    pins: Iterable[int] = (),
    passed_over: Container[int] = (),
    withheld: Iterable[Withheld] = (),
) -> list[Rule]:
    """netbond's rules for these uplinks, by priority; none if there are no uplinks.

    `pins` are the families (4, 6) that have pinned destinations, `passed_over` those whose defaults in main
    are passed over in the classic layout, too, because they cannot be taken. `withheld` have rules for their
    addresses alone: what is bound to their devices goes by main, as far as it can.
    """
    found: set[Rule] = set()
    uplinks, withheld = list(uplinks), list(withheld)
    tables = sorted({uplink.table for uplink in uplinks} | {each.table for each in withheld})

    def priority(table: int) -> int:
        if routing.layout == "default":
            return table
        # Always ahead of the pins, however many uplinks there are.
        return min(routing.classic_priority + tables.index(table), routing.pin_priority - 1)

    overlapping = _overlapping(uplinks) if routing.layout == "classic" else set()
    for uplink in uplinks:
        family, protocol, table = uplink.family, routing.protocol, uplink.table
        found.add(_main(family, routing, passed_over))
        found.add(Rule(routing.ecmp_priority, family, table=routing.ecmp_table, protocol=protocol))
        if not uplink.further:  # of several gateways the first carries what is bound to the device alone
            found.add(Rule(routing.oif_priority, family, table=table, oif=uplink.device, protocol=protocol))
        for address in uplink.addresses:
            source = _source(address, routing, overlapping)
            found.add(Rule(priority(table), family, table=table, source=source, protocol=protocol))
    for each in withheld:
        found.add(_main(each.family, routing, passed_over))
        for address in each.addresses:
            source = ipaddress.ip_network(address.interface.ip)
            rule = Rule(
                priority(each.table), each.family, table=each.table, source=source, protocol=routing.protocol
            )
            found.add(rule)
    found |= {
        Rule(routing.pin_priority, family, table=routing.pin_table, protocol=routing.protocol)
        for family in pins
    }
    return sorted(
        found, key=lambda rule: (rule.family, rule.priority, rule.table, rule.oif, str(rule.source))
    )


def _main(family: int, routing: RoutingConfig, passed_over: Container[int]) -> Rule:
    return Rule(
        routing.main_priority,
        family,
        table=MAIN_TABLE,
        suppress_prefixlength=0 if routing.layout == "default" or family in passed_over else None,
        protocol=routing.protocol,
    )


def _source(address: Address, routing: RoutingConfig, overlapping: Container[IPNetwork]) -> IPNetwork:
    network = address.interface.network
    if routing.layout == "classic" and address.peer is None and network not in overlapping:
        return network
    return ipaddress.ip_network(address.interface.ip)


def _overlapping(uplinks: Iterable[Uplink]) -> set[IPNetwork]:
    """The networks that overlap with one of another uplink."""
    found = {
        (uplink.table, address.interface.network)
        for uplink in uplinks
        for address in uplink.addresses
        if address.peer is None
    }
    return {
        network
        for pair in itertools.combinations(found, 2)
        if pair[0][0] != pair[1][0] and overlap(pair[0][1], pair[1][1])
        for _, network in pair
    }


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether two networks have addresses in common."""
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.overlaps(other)
    return isinstance(other, ipaddress.IPv6Network) and one.overlaps(other)
