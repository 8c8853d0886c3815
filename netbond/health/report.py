"""Turns the verdicts of health checks into the part "health" of a snapshot. Pure.

netbond.usability decides what they mean for routing, together with data plans and backups.
"""

from __future__ import annotations

from collections.abc import Iterable

from netbond.health.judge import UplinkHealth
from netbond.model import IPAddress
from netbond.status.schema import CheckStatus, HealthStatus

Key = tuple[str, IPAddress, IPAddress | None]  # an uplink: its device, address and gateway


def key(health: UplinkHealth) -> Key:
    """The key of what the health is about."""
    return (health.device, health.address, health.gateway)


def section(healths: Iterable[UplinkHealth], now: float) -> tuple[HealthStatus, ...]:
    """The part "health" of a snapshot; `now` by the monitor's clock.

    Gateways that wait are no part of it. An address counts once, also if several gateways are configured for
    it: device and address are the labels of the metrics.
    """
    shown: dict[tuple[str, IPAddress], UplinkHealth] = {}
    for health in healths:
        if not health.spare:
            shown.setdefault((health.device, health.address), health)
    return tuple(
        HealthStatus(
            device=health.device,
            address=str(health.address),
            family=health.family,
            state=health.state,
            reason=health.reason,
            since_s=round(max(0.0, now - health.since), 3),
            checks=tuple(
                CheckStatus(
                    name=check.name,
                    state=check.state,
                    rtt_ms=None if check.rtt is None else round(check.rtt * 1000, 1),
                    loss=None if check.loss is None else round(check.loss, 3),
                    detail=check.detail,
                )
                for check in health.checks
            ),
        )
        for health in shown.values()
    )
