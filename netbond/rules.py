"""Makes the policy rules of all uplinks, with their priorities. Pure.

    default layout                              classic layout (split-access howtos)
    0      local                                0      local
    40     oif DEVICE -> its table              40     oif DEVICE -> its table
    41     from ADDRESS to a network that       41     the same
           several uplinks have -> its table
    50     main suppress_prefixlength 0         50     main
    100..  from ADDRESS -> its table            201..  from NETWORK -> its table
    220    the table of pinned destinations     220    the table of pinned destinations
    222..  policies -> their tables             222..  policies -> their tables
    222    the ECMP table, behind the policies  222    the ECMP table, behind the policies
    32766  main                                 32766  main

For a socket that is bound to a device its address does not count: two modems may hand out the same address.
Connected and specific routes of main come before everything else. Where several uplinks have the same
network, or one has a part of another's, main can name one device only: traffic from an address of theirs
into it goes by that address's own table. A default that a DHCP client put into main
is harmless in the default layout; in the classic layout it hides the rules that follow. The priority of a
`from` rule is its table's number, or in the classic layout it follows the order of tables. Where networks of
several uplinks overlap, the classic layout has rules for their addresses instead, because a rule for the
network would send all of them by the first uplink. Unbound traffic is shared among the uplinks. An uplink in
a VRF has only the rule for its device: its addresses are the VRF's alone, and an uplink outside may have the
same ones.

Sources: ip-rule(8); Documentation/networking/policy-routing.txt of the kernel.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence

from netbond.config.schema import RoutingConfig
from netbond.model import MAIN_TABLE, Address, IPNetwork, Route, Rule, Uplink, UplinkState, Withheld
from netbond.policies.model import PolicyInUse
from netbond.policies.rules import rules as policy_rules
from netbond.system.by_identity import by_identity
from netbond.tables import host

_NO_NETWORKS: frozenset[IPNetwork] = frozenset()


def rules(
    uplinks: Iterable[Uplink],
    routing: RoutingConfig,
    *,
    pins: Iterable[int] = (),
    passed_over: Container[int] = (),
    withheld: Iterable[Withheld] = (),
    routes: Iterable[Route] = (),
    policies: Sequence[PolicyInUse] = (),
) -> list[Rule]:
    """netbond's rules for these uplinks, by priority; none if there are no uplinks.

    `pins` are the families (4, 6) that have pinned destinations, `passed_over` those whose defaults in main
    are passed over in the classic layout, too, because they cannot be taken. `withheld` have rules for their
    addresses alone: what is bound to their devices goes by main, as far as it can. `routes` are those of the
    uplinks' tables. The ECMP table's rule comes behind those of all `policies`.
    """
    everything, withheld = list(uplinks), list(withheld)
    uplinks = [uplink for uplink in everything if not uplink.vrf]
    found: dict[Rule, None] = {
        _oif(uplink.family, uplink.table, uplink.device, routing): None
        for uplink in everything
        if uplink.vrf and not uplink.further
    }
    tables = sorted({uplink.table for uplink in uplinks} | {each.table for each in withheld})

    def priority(table: int) -> int:
        if routing.layout == "default":
            return table
        # Always ahead of the pins, however many uplinks there are.
        return min(routing.classic_priority + tables.index(table), routing.pin_priority - 1)

    overlapping = frozenset(_overlapping(uplinks)) if routing.layout == "classic" else _NO_NETWORKS
    for uplink in uplinks:
        place, device = priority(uplink.table), "" if uplink.further else uplink.device
        bound = _bound(place, uplink.family, uplink.table, device, uplink.addresses, routing, overlapping)
        found.update(dict.fromkeys(bound))
    for family in {uplink.family for uplink in uplinks}:
        found[_to_table(routing.ecmp_priority + len(policies), family, routing.ecmp_table, routing)] = None
    for each in withheld:
        place = priority(each.table)
        for address in each.addresses:
            source = host(address.interface.ip)
            rule = Rule(place, each.family, table=each.table, source=source, protocol=routing.protocol)
            found[rule] = None
    for family in pins:
        found[_to_table(routing.pin_priority, family, routing.pin_table, routing)] = None
    found.update(dict.fromkeys(_into_shared_networks(uplinks, routing, routes)))
    # A policy that refuses is in force without an uplink, too, but not for what main has specific routes to.
    families = {uplink.family for uplink in uplinks} | {each.family for each in withheld}
    families |= {way.family for policy in policies for way in policy.ways}
    for family in families:
        found[_main(family, routing, family in passed_over)] = None
    found.update(dict.fromkeys(policy_rules(policies, routing)))
    return list(_in_order(tuple(found)))


@by_identity
def _in_order(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    return tuple(
        sorted(
            rules,
            key=lambda rule: (
                *(rule.family, rule.priority, rule.table),
                *(rule.oif, str(rule.source), str(rule.destination), rule.iif, rule.mark, rule.other),
            ),
        )
    )


@by_identity
def _oif(family: int, table: int, device: str, routing: RoutingConfig) -> Rule:
    return Rule(routing.oif_priority, family, table=table, oif=device, protocol=routing.protocol)


@by_identity
def _bound(
    priority: int,
    family: int,
    table: int,
    device: str,
    addresses: tuple[Address, ...],
    routing: RoutingConfig,
    overlapping: frozenset[IPNetwork],
) -> tuple[Rule, ...]:
    """The rules for what is bound to an uplink.

    `device` is "" for a further gateway of one: the first carries what is bound to the device alone.
    """
    protocol = routing.protocol
    sources = [_source(address, routing, overlapping) for address in addresses]
    found = [Rule(priority, family, table=table, source=source, protocol=protocol) for source in sources]
    if device:
        found.append(_oif(family, table, device, routing))
    return tuple(found)


@by_identity
def _to_table(priority: int, family: int, table: int, routing: RoutingConfig) -> Rule:
    return Rule(priority, family, table=table, protocol=routing.protocol)


@by_identity
def _main(family: int, routing: RoutingConfig, passed_over: bool) -> Rule:
    return Rule(
        routing.main_priority,
        family,
        table=MAIN_TABLE,
        suppress_prefixlength=0 if routing.layout == "default" or passed_over else None,
        protocol=routing.protocol,
    )


def _into_shared_networks(
    uplinks: Sequence[Uplink], routing: RoutingConfig, routes: Iterable[Route]
) -> set[Rule]:
    """Rules for traffic from an uplink's address to what several uplinks have routes to besides defaults.

    If a network lies within one that is on another device's link, the smaller one counts: beyond it main is
    not in doubt. Uplinks without a
    link have none, so that main may lead to their network by another one. Nor have addresses that two devices
    have (twins), because such a rule could not tell them apart.
    """
    linked = [u for u in uplinks if u.state not in (UplinkState.DOWN, UplinkState.NO_CARRIER)]
    devices = {(uplink.table, uplink.family): uplink.device for uplink in linked}
    networks: dict[IPNetwork, set[str]] = defaultdict(set)  # with the devices that lead to each
    near: dict[IPNetwork, set[str]] = defaultdict(set)  # those without a gateway
    for route in routes:
        device = devices.get((route.table, route.family))
        if device and route.kind == "unicast" and route.destination.prefixlen and not _scoped(route):
            networks[route.destination].add(device)
            if all(hop.gateway is None for hop in route.nexthops):
                near[route.destination].add(device)
    shared: dict[str, set[IPNetwork]] = defaultdict(set)  # by device
    lengths = sorted({(network.version, network.prefixlen) for network in near})
    for network, leading in networks.items():
        within = [
            near.get(network.supernet(new_prefix=length), set())
            for version, length in lengths
            if version == network.version and length < network.prefixlen
        ]
        for others in (leading, *within):
            if len(both := leading | others) > 1:
                for device in both:
                    shared[device].add(network)
    if not shared:
        return set()
    holders = Counter({(u.device, a.interface.ip) for u in linked for a in u.addresses})
    twins = Counter(ip for _, ip in holders)
    return {
        Rule(
            min(routing.oif_priority + 1, routing.main_priority - 1),
            uplink.family,
            table=uplink.table,
            source=host(address.interface.ip),
            destination=network,
            protocol=routing.protocol,
        )
        for uplink in linked
        for address in uplink.addresses
        if twins[address.interface.ip] == 1
        for network in shared[uplink.device]
        if network.version == uplink.family
    }


def _scoped(route: Route) -> bool:
    """Whether its destinations are reached by a scope only, which names the device (fe80::1%eth0)."""
    return route.family == 6 and route.destination.network_address.is_link_local


def _source(address: Address, routing: RoutingConfig, overlapping: Container[IPNetwork]) -> IPNetwork:
    network = address.interface.network
    if routing.layout == "classic" and address.peer is None and network not in overlapping:
        return network
    return host(address.interface.ip)


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
