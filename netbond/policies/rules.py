"""Makes the rules that lead the traffic of policies to their tables. Pure.

A rule has one value of each key that a policy has, so there is a rule for each combination. Destinations are
routes of the policy's table instead: names have many addresses, and each packet that starts a connection is
compared with all rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from netbond.config.schema import RoutingConfig
from netbond.model import IPNetwork, Rule
from netbond.policies.model import PolicyInUse, PolicyWay


def rules(policies: Iterable[PolicyInUse], routing: RoutingConfig) -> list[Rule]:
    """The rules of all policies. Those of the first are at `ecmp_priority`, those of the next behind them."""
    return [
        rule
        for policy in policies
        for way in policy.ways
        for rule in _rules(way, policy.table, routing.ecmp_priority + policy.number - 1, routing.protocol)
    ]


def _rules(way: PolicyWay, table: int, priority: int, protocol: int) -> Iterable[Rule]:
    match = way.match
    sources: tuple[IPNetwork | None, ...] = match.sources or (None,)
    for source, device, (mark, mask), uids, number, ports, dscp in itertools.product(
        sources,
        match.interfaces or ("",),
        match.marks or ((0, 0),),
        match.uids or (None,),
        match.protocols or (0,),
        match.ports or (None,),
        match.dscps or (0,),
    ):
        parts = [  # in the order in which rtnetlink.rule reads them
            f"uidrange {uids[0]}-{uids[1]}" if uids else "",
            f"ipproto {number}" if number else "",
            f"dport {ports[0]}-{ports[1]}" if ports else "",
            f"dscp {dscp}" if dscp else "",
        ]
        yield Rule(
            priority,
            way.family,
            table=table,
            source=source,
            iif=device,
            mark=mark,
            mask=mask,
            protocol=protocol,
            other=", ".join(filter(None, parts)),
        )
