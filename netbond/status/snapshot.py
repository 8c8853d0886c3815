"""Builds the snapshot that `netbond status` and the metrics show, from what the agent knows.

Pure: the agent hands in what it knows, and nobody who reads a snapshot touches live state. The types are in
netbond.status.schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from netbond.desired import Desired
from netbond.ecmp import ANY_ROUTER
from netbond.model import EngineState, IdleInterface, Interface, IPAddress, Nexthop, Rate, Uplink
from netbond.policies.model import PolicyInUse
from netbond.srtla import statistics
from netbond.status.schema import (
    VERSION,
    AgentStatus,
    DisputedGateway,
    EcmpLeg,
    EcmpStatus,
    EngineStatus,
    ExcludedInterface,
    ForwardedFlows,
    GatewayStatus,
    PolicyStatus,
    PolicyUplink,
    PolicyWayStatus,
    Sections,
    Snapshot,
    UplinkStatus,
)
from netbond.system.text import printable

NOTHING = Sections()


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What the agent says of itself."""

    version: str
    pid: int
    started: float  # by the clock whose reading build() gets as `now`, seconds
    config: str | None = None  # the file in use; None if there is none
    changes: int = 0  # routes and rules added and removed since the start
    problems: tuple[str, ...] = ()  # what is wrong at present, one line each


def rates(previous: Iterable[Interface], current: Iterable[Interface], dt: float) -> dict[str, Rate]:
    """Bits per second by interface between two readings that lie `dt` seconds apart.

    An interface that is new, or was removed and came back, or whose counters began anew, is left out: nothing
    can be said of it yet.
    """
    if dt <= 0:
        return {}
    before = {link.name: link for link in previous}
    found: dict[str, Rate] = {}
    for link in current:
        old = before.get(link.name)
        if old is None or old.index != link.index:
            continue
        rx, tx = link.rx_bytes - old.rx_bytes, link.tx_bytes - old.tx_bytes
        if rx >= 0 and tx >= 0:
            found[link.name] = Rate(rx * 8 / dt, tx * 8 / dt)
    return found


def build(
    agent: AgentInfo,
    desired: Desired,
    links: Iterable[Interface],
    engines: Iterable[EngineState],
    *,
    ecmp_table: int,
    now: float,
    booted: float = 0.0,
    current_rates: Mapping[str, Rate] | None = None,
    sections: Sections = NOTHING,
) -> Snapshot:
    """The snapshot.

    `desired` is what netbond wants the kernel to hold, `links` the interfaces as last read (for their byte
    counters), `engines` what the supervisor says, `current_rates` what rates() found, `now` the reading of
    the clock of `agent.started`, `booted` when the kernel started (Unix time), `sections` what the
    other sources add.
    """
    by_name = {link.name: link for link in links}
    legs = _ecmp_legs(desired, ecmp_table)
    found = current_rates or {}
    return Snapshot(
        version=VERSION,
        agent=AgentStatus(
            running=True,
            version=agent.version,
            pid=agent.pid,
            uptime_s=round(max(0.0, now - agent.started), 3),
            config=agent.config,
            changes=agent.changes,
            problems=tuple(map(printable, agent.problems)),
        ),
        excluded=tuple(ExcludedInterface(printable(device), reason) for device, reason in desired.excluded),
        idle=tuple(
            IdleInterface(printable(each.name), printable(each.reason), printable(each.label))
            for each in desired.idle
        ),
        uplinks=tuple(
            _uplink(uplink, by_name.get(uplink.device), found.get(uplink.device, Rate()), legs, booted)
            for uplink in desired.uplinks
        ),
        ecmp=EcmpStatus(
            table=ecmp_table,
            legs=tuple(EcmpLeg(family, leg.device, _text(leg.gateway), leg.weight) for family, leg in legs),
        ),
        engines=tuple(
            EngineStatus(
                name=engine.name,
                role=engine.role,
                state=engine.state,
                pid=engine.pid,
                restarts=engine.restarts,
                hung=engine.hung,
                reason=printable(engine.reason),
                last_exit=printable(engine.last_exit),
                stats=engine.stats,
                restarted_s=engine.restarted_s,
            )
            for engine in engines
        ),
        policies=tuple(map(_policy, desired.policies)),
        flows=tuple(
            ForwardedFlows(family, held_by)
            for family in (4, 6)
            for held_by, families in (
                ("connection marks", desired.flows.marks),
                ("resilient nexthop group", desired.flows.groups),
                ("nothing", desired.flows.nothing),
            )
            if family in families
        ),
        **vars(sections),
    )


def _ecmp_legs(desired: Desired, table: int) -> list[tuple[int, Nexthop]]:
    """The nexthops of the default routes in the ECMP table with their families, IPv4 first."""
    return sorted(
        (
            (route.destination.version, replace(leg, gateway=None) if leg.gateway == ANY_ROUTER else leg)
            for route in desired.routes
            if route.table == table and route.destination.prefixlen == 0 and route.kind == "unicast"
            for leg in route.nexthops
        ),
        key=lambda family_and_leg: family_and_leg[0],
    )


def _uplink(
    uplink: Uplink, link: Interface | None, rate: Rate, legs: Iterable[tuple[int, Nexthop]], booted: float
) -> UplinkStatus:
    family = uplink.address.version
    return UplinkStatus(
        name=uplink.name,
        device=uplink.device,
        family=family,
        address=str(uplink.address.ip),
        prefix_length=uplink.address.network.prefixlen,
        gateway=_text(uplink.gateway),
        gateway_source=uplink.gateway_source,
        gateway_since=None if uplink.gateway_since is None else round(booted + uplink.gateway_since, 3),
        disputed=tuple(DisputedGateway(source, str(gateway)) for source, gateway in uplink.disputed),
        table=uplink.table,
        weight=uplink.weight,
        state=uplink.state,
        reason=printable(uplink.reason),
        in_ecmp=any(
            (of, leg.device, leg.gateway) == (family, uplink.device, uplink.gateway) for of, leg in legs
        ),
        rx_bytes=link.rx_bytes if link else 0,
        tx_bytes=link.tx_bytes if link else 0,
        rx_bps=round(rate.rx_bps),
        tx_bps=round(rate.tx_bps),
        metered=uplink.metered,
        mode=uplink.mode,
        priority=uplink.priority,
        gateways=tuple(
            GatewayStatus(str(each.gateway), each.source, each.state, printable(each.reason))
            for each in uplink.gateways
        ),
    )


def _policy(policy: PolicyInUse) -> PolicyStatus:
    return PolicyStatus(
        name=policy.name,
        table=policy.table,
        tiers=tuple(tuple(map(printable, tier)) for tier in policy.tiers),
        otherwise=policy.otherwise,
        ways=tuple(
            PolicyWayStatus(
                family=way.family,
                best=way.best,
                tier=way.tier,
                uplinks=tuple(PolicyUplink(printable(name), weight) for name, weight in way.uplinks),
                reason=printable(way.reason),
            )
            for way in policy.ways
        ),
        problem=policy.problem,
    )


def _text(address: IPAddress | None) -> str | None:
    return None if address is None else str(address)


def for_everybody(snapshot: Snapshot) -> Snapshot:
    """The snapshot without the ids of streams, which are often secrets."""
    engines = tuple(
        replace(engine, stats=None if engine.stats is None else statistics.for_everybody(engine.stats))
        for engine in snapshot.engines
    )
    return replace(snapshot, engines=engines)
