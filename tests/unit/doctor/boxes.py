"""A box in which all is well, as `netbond doctor` sees it, and the findings of one check of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from netbond.config.load import parse
from netbond.desired import desired
from netbond.doctor.model import Clock, Finding, Lookup, Seen
from netbond.doctor.routing import questions
from netbond.explain import Query, walk
from netbond.model import MAIN_TABLE, Facts, Nexthop, Route, Rule
from netbond.status.schema import Snapshot
from tests.unit.boxes import box
from tests.unit.status.faults import after, backpack

SYSTEM = (Rule(0, 4, table=255), Rule(32766, 4, table=MAIN_TABLE), Rule(32767, 4, table=253))


def kernel_says(facts: Facts, query: Query) -> Lookup:
    """The answer of a kernel that holds these facts."""
    import ipaddress

    found = walk(facts, query)
    if found.kind != "unicast":
        return Lookup(query, None, found.kind)
    hops = tuple(Nexthop(device, ipaddress.ip_address(via) if via else None) for device, via in found.hops)
    return Lookup(query, Route(found.table, ipaddress.ip_network("0.0.0.0/0"), hops[:1]))


def healthy(text: str = "", *devices: str) -> Seen:
    """Two modems, and an agent that has done its work."""
    config = parse(text)
    bare = replace(box(*(devices or ("usb0", "usb1"))), rules=SYSTEM)
    goal = desired(bare, config)
    facts = replace(bare, routes=goal.routes, rules=(*SYSTEM, *goal.rules))
    return with_facts(
        Seen(
            config=config,
            facts=facts,
            goal=goal,
            snapshot=agent(),
            release="6.12.0",
            table_names={uplink.table: uplink.name for uplink in goal.uplinks},
            clock=Clock(1_800_000_000.0, synchronised=True),
        ),
        facts,
    )


def with_facts(seen: Seen, facts: Facts) -> Seen:
    """The box with another kernel, which answers accordingly."""
    goal = desired(facts, seen.config)
    asked = questions(goal.uplinks, 0)
    return replace(seen, facts=facts, goal=goal, lookups=tuple(kernel_says(facts, query) for query in asked))


def agent(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Snapshot:
    """The snapshot of a backpack that streams over four modems, with that change."""
    return after(backpack(), change)


def codes(findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Code, severity and subject of each."""
    return [(each.code, each.severity, each.subject) for each in findings]
