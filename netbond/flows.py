"""Decides what keeps forwarded flows on their uplink while the shared default changes. Pure.

A packet that the box forwards has no socket, and before masquerading no address of the box: each one takes
the shared default anew. When a leg comes or goes, the kernel deals its flows out anew, and masquerading drops
those that would change their interface. That concerns whatever the box forwards: containers, hotspots,
virtual machines, clients of a VPN.

Connection marks hold such flows (netbond.router.ruleset). Where there is no nftables, resilient nexthop
groups do, as long as a flow is busy: the kernel leaves a bucket of its hash where it is until that has been
idle for a while. They exist from kernel 5.13 on, and for IPv6, too; but netbond has groups for IPv4 only, as
with one of IPv6 the box's own traffic would have the first member's address (netbond.ecmp).

Sources: ip_forward and ip_mkroute_input of the kernel; Documentation/networking/nexthop-group-resilient.rst;
nf_nat_oif_changed in net/netfilter/nf_nat_core.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from netbond.config.schema import Config, RouterConfig, RoutingConfig
from netbond.foreign_rules import first_priority, foreign, takes_all
from netbond.model import FORWARDS_ALL, Facts, Rule, Uplink

NO_FAMILY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Holders:
    """Families (4, 6) with forwarded flows and several uplinks, by what holds the flows."""

    marks: frozenset[int] = NO_FAMILY
    groups: frozenset[int] = NO_FAMILY
    nothing: frozenset[int] = NO_FAMILY


def holders(
    facts: Facts, uplinks: Iterable[Uplink], *, groups: bool, marking: Collection[int] = NO_FAMILY
) -> Holders:
    """Decide what holds forwarded flows. `groups`: the shared default of IPv4 uses nexthop groups.

    `marking` are families of which forwarded packets need marks for policies, also if there is one uplink.
    """
    uplinks = list(uplinks)
    found = {
        family
        for family in (4, 6)
        if _forwards(facts, uplinks, family) and (family in marking or _several(uplinks, family))
    }
    if facts.nft is not False:
        return Holders(marks=frozenset(found))
    by_groups = found & {4} if groups and facts.resilient_groups else set()
    return Holders(groups=frozenset(by_groups), nothing=frozenset(found - by_groups))


def _forwards(facts: Facts, uplinks: Iterable[Uplink], family: int) -> bool:
    """Whether packets that come in by another interface than uplinks are forwarded."""
    out = {uplink.device for uplink in uplinks}
    inside = [link.name for link in facts.interfaces if not link.loopback and link.name not in out]
    if family == 6:
        return (FORWARDS_ALL, 6) in facts.forwarding and bool(inside)
    return any((name, 4) in facts.forwarding for name in inside)


def _several(uplinks: Iterable[Uplink], family: int) -> bool:
    """Whether flows have a choice, now or when an uplink works again."""
    return len({uplink.table for uplink in uplinks if uplink.family == family and not uplink.vrf}) > 1


def others_marks(rules: Iterable[Rule], router: RouterConfig, protocol: int) -> tuple[tuple[int, int], ...]:
    """Marks of other programs' rules, each with its mask, that netbond's bits would keep from matching.

    `ip rule add fwmark 1` asks for all 32 bits. What has such a mark follows that rule: it gets no mark of
    netbond's, and needs none.
    """
    found = {
        (rule.mark, rule.mask)
        for rule in foreign(rules, protocol)
        if rule.mark
        and rule.mask & router.mark_mask
        and rule.iif != "lo"
        and "not" not in rule.other.split(", ")
    }
    return tuple(sorted(found))


def takers(facts: Facts, routing: RoutingConfig) -> frozenset[Rule]:
    """Other programs' rules that take all unbound traffic ahead of the shared default: a full tunnel's."""
    wide = [route for route in facts.routes if route.destination.prefixlen <= 1]
    last = {family: first_priority(facts.rules, family, routing) for family in (4, 6)}
    return frozenset(
        rule
        for rule in foreign(facts.rules, routing.protocol)
        if rule.priority <= last[rule.family] and takes_all(rule, wide)
    )


def same_bits(rules: Iterable[Rule], own: Iterable[Rule], config: Config) -> list[Rule]:
    """Other programs' rules for marks that one of netbond's rules for its own marks takes, too."""
    router = config.router
    marks = {
        (rule.family, rule.mark)
        for rule in own
        if rule.mark and (rule.priority, rule.mask) == (router.mark_priority, router.mark_mask)
    }
    return [
        rule
        for rule in foreign(rules, config.routing.protocol)
        if rule.mask & router.mark_mask == router.mark_mask
        and (rule.family, rule.mark & router.mark_mask) in marks
    ]
