"""What `netbond status --json`, `netbond status` and the metrics show: one dict, made of plain JSON values.

Pure: the agent hands in what it knows, and nobody who reads a snapshot touches live state. The keys are a
promise to users' scripts; docs/status.md lists them, and `VERSION` changes when one changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from netbond.desired import Desired
from netbond.model import IPAddress, Link, Nexthop, Rate, Uplink
from netbond.system.text import printable
from netbond.system.typed_json import to_json

if TYPE_CHECKING:
    from netbond.model import EngineState

VERSION = 1


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What the agent says of itself."""

    version: str
    pid: int
    started: float  # by the clock whose reading build() gets as `now`, seconds
    config: str | None = None  # the file in use; None if there is none
    changes: int = 0  # routes and rules added and removed since the start
    problems: tuple[str, ...] = ()  # what is wrong at present, one line each


def rates(previous: Iterable[Link], current: Iterable[Link], dt: float) -> dict[str, Rate]:
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
    links: Iterable[Link],
    engines: Iterable[EngineState],
    *,
    ecmp_table: int,
    now: float,
    booted: float = 0.0,
    current_rates: Mapping[str, Rate] | None = None,
    sections: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The snapshot.

    `desired` is what netbond wants the kernel to hold, `links` the interfaces as last read (for their byte
    counters), `engines` what the supervisor says, `current_rates` what rates() found, `now` the reading of
    the clock of `agent.started`, `booted` when the kernel started (Unix time), `sections` what the
    other sources add (netbond.sources.running).
    """
    by_name = {link.name: link for link in links}
    legs = _ecmp_legs(desired, ecmp_table)
    found = current_rates or {}
    return {
        "version": VERSION,
        "agent": {
            "running": True,
            "version": agent.version,
            "pid": agent.pid,
            "uptime_s": round(max(0.0, now - agent.started), 3),
            "config": agent.config,
            "changes": agent.changes,
            "problems": [printable(problem) for problem in agent.problems],
        },
        "excluded": [{"device": printable(device), "reason": reason} for device, reason in desired.excluded],
        "idle": [printable(str(each)) for each in desired.idle],
        "uplinks": [
            _uplink(uplink, by_name.get(uplink.device), found.get(uplink.device, Rate()), legs, booted)
            for uplink in desired.uplinks
        ],
        "ecmp": {
            "table": ecmp_table,
            "legs": [
                {
                    "family": family,
                    "device": leg.device,
                    "gateway": _text(leg.gateway),
                    "weight": leg.weight,
                }
                for family, leg in legs
            ],
        },
        "engines": [
            {
                "name": engine.name,
                "role": engine.role,
                "state": engine.state,
                "pid": engine.pid,
                "restarts": engine.restarts,
                "reason": printable(engine.reason),
                "last_exit": printable(engine.last_exit),
                "stats": to_json(engine.stats),
            }
            for engine in engines
        ],
        **sections,
    }


def _ecmp_legs(desired: Desired, table: int) -> list[tuple[int, Nexthop]]:
    """The nexthops of the default routes in the ECMP table with their families, IPv4 first."""
    return sorted(
        (
            (route.destination.version, leg)
            for route in desired.routes
            if route.table == table and route.destination.prefixlen == 0 and route.kind == "unicast"
            for leg in route.nexthops
        ),
        key=lambda family_and_leg: family_and_leg[0],
    )


def _uplink(
    uplink: Uplink, link: Link | None, rate: Rate, legs: Iterable[tuple[int, Nexthop]], booted: float
) -> dict[str, Any]:
    family = uplink.address.version
    return {
        "name": uplink.name,
        "device": uplink.device,
        "family": family,
        "address": str(uplink.address.ip),
        "prefix_length": uplink.address.network.prefixlen,
        "gateway": _text(uplink.gateway),
        "gateway_source": uplink.gateway_source,
        "gateway_since": None if uplink.gateway_since is None else round(booted + uplink.gateway_since, 3),
        "disputed": [{"source": source, "gateway": str(gateway)} for source, gateway in uplink.disputed],
        "table": uplink.table,
        "weight": uplink.weight,
        "state": uplink.state,
        "reason": printable(uplink.reason),
        "in_ecmp": any(
            (of, leg.device, leg.gateway) == (family, uplink.device, uplink.gateway) for of, leg in legs
        ),
        "rx_bytes": link.rx_bytes if link else 0,
        "tx_bytes": link.tx_bytes if link else 0,
        "rx_bps": round(rate.rx_bps),
        "tx_bps": round(rate.tx_bps),
    }


def _text(address: IPAddress | None) -> str | None:
    return None if address is None else str(address)


def objects(container: object, key: str) -> list[dict[str, Any]]:
    """The objects in the list under `key`, if there are any: an engine's statistics are only its word."""
    found = container.get(key) if isinstance(container, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def mapping(container: object, key: str) -> dict[str, Any]:
    """The object under `key`; {} if there is none."""
    found = container.get(key) if isinstance(container, dict) else None
    return found if isinstance(found, dict) else {}
