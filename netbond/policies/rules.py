"""Makes the rules that lead the traffic of policies to their tables. Pure.

A rule has one value of each key that a policy has, so there is a rule for each combination. Destinations are
routes of the policy's table instead: names have many addresses, and each packet that starts a connection is
compared with all rules.

Rules of kernels before 6.13 cannot ask for a DSCP. There nftables gives forwarded packets a mark for it
(netbond.router.ruleset), and rules ask for that.

A policy that refuses needs more for IPv6. When the kernel finds that unbound traffic of this box is refused,
it chooses some source address and asks again, as if the socket were bound to that (ip6_dst_lookup_tail in
net/ipv6/ip6_output.c): the traffic would leave by whatever uplink has the address. So ahead of the rules for
addresses the policy's traffic is refused from those of uplinks that the policy does not name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from netbond.config.schema import RoutingConfig
from netbond.model import IPNetwork, Rule, Uplink, Withheld
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from netbond.system.by_identity import by_identity
from netbond.tables import host


def rules(policies: Iterable[PolicyInUse], routing: RoutingConfig) -> list[Rule]:
    """The rules of all policies. Those of the first are at `ecmp_priority`, those of the next behind them."""
    return [
        rule
        for policy in policies
        for way in policy.ways
        for rule in _rules(
            way.match,
            way.family,
            policy.table,
            routing.ecmp_priority + policy.number - 1,
            routing.protocol,
        )
    ]


def refusals(
    policies: Iterable[PolicyInUse],
    uplinks: Sequence[Uplink],
    withheld: Iterable[Withheld],
    routing: RoutingConfig,
) -> list[Rule]:
    """The rules that refuse traffic of IPv6 from addresses of uplinks that a policy does not name."""
    apart = {address.interface.ip for each in withheld for address in each.addresses if each.family == 6}
    found: list[Rule] = []
    for policy in policies:
        way = policy.way(6)
        if way is None or not refuses_own(policy, way):
            continue
        named = {name for tier in policy.tiers for name in tier}
        others = {
            address.interface.ip
            for uplink in uplinks
            if uplink.family == 6 and uplink.name not in named
            for address in uplink.addresses
        }
        addresses = [host(address) for address in sorted(others | apart, key=int)]
        if addresses:
            match = replace(way.match, sources=tuple(addresses))
            table = refusing_table(policy.number, routing) if match.destinations else 0
            # Behind main's specific routes.
            place = routing.main_priority + 1
            found += _rules(match, way.family, table, place, routing.protocol)
    return found


def refuses_own(policy: PolicyInUse, way: PolicyWay) -> bool:
    """Whether it refuses traffic of this box that is not bound."""
    own = "lo" in way.match.interfaces or not way.match.interfaces
    own = own and not way.match.dscp_marks  # only what is forwarded gets one
    return policy.otherwise == "unreachable" and own and not way.match.sources


def refusing_table(number: int, routing: RoutingConfig) -> int:
    """The table with refusing routes to the destinations of the policy with this number."""
    return routing.policy_table + 100 + number  # there are at most 64 policies


@by_identity
def _rules(match: PolicyMatch, family: int, table: int, priority: int, protocol: int) -> tuple[Rule, ...]:
    """A rule for each combination; table 0: they refuse."""
    return tuple(_each(match, family, table, priority, protocol))


def _each(match: PolicyMatch, family: int, table: int, priority: int, protocol: int) -> Iterator[Rule]:
    sources: tuple[IPNetwork | None, ...] = match.sources or (None,)
    codes = [(0, mark, mask) for mark, mask in match.dscp_marks] or [(dscp, 0, 0) for dscp in match.dscps]
    for source, device, (mark, mask), uids, number, ports, (dscp, for_dscp, bits) in itertools.product(
        sources,
        match.interfaces or ("",),
        match.marks or ((0, 0),),
        match.uids or (None,),
        match.protocols or (0,),
        match.ports or (None,),
        codes or ((0, 0, 0),),
    ):
        parts = [  # in the order in which rtnetlink.rule reads them
            f"uidrange {uids[0]}-{uids[1]}" if uids else "",
            f"ipproto {number}" if number else "",
            f"dport {ports[0]}-{ports[1]}" if ports else "",
            f"dscp {dscp}" if dscp else "",
        ]
        yield Rule(
            priority,
            family,
            table=table,
            source=source,
            iif=device,
            mark=mark & ~bits | for_dscp,
            mask=mask | bits,
            protocol=protocol,
            action="table" if table else "unreachable",
            other=", ".join(filter(None, parts)),
        )
