"""What health means for routing: which uplinks carry traffic, and what status shows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from netbond.health.judge import DOWN, Health
from netbond.model import IPAddress, Uplink
from netbond.snapshot import printable

# The state of an uplink that has its link and leads nowhere. Unlike "down" (the interface is down) its table
# stays complete, so that checks and bound sockets still go out through it.
DEAD = "dead"

Key = tuple[str, IPAddress]  # an uplink: its device and the address that is bound to


def key(item: Uplink | Health) -> Key:
    """What an uplink and its health are known by."""
    return (item.device, item.address.ip if isinstance(item, Uplink) else item.address)


def usable(uplinks: Iterable[Uplink], healths: Iterable[Health], previous: Iterable[Key]) -> frozenset[Key]:
    """Which uplinks new traffic may leave by. Never none while an uplink has its link.

    `uplinks` as netbond.uplinks finds them, `previous` what this function said last (at first: nothing). Of
    each family those that are not down; an uplink of which nothing is known counts. If all of a family are
    down, the last state stays: the checks may be what is wrong. If that has no uplink left that has its link,
    all that have one count.
    """
    down = {key(health) for health in healths if health.state == DOWN}
    last = frozenset(previous)
    found: set[Key] = set()
    linked = [uplink for uplink in uplinks if uplink.usable]
    for family in (4, 6):
        having_link = {key(uplink) for uplink in linked if uplink.address.version == family}
        found |= (having_link - down) or (having_link & last) or having_link
    return frozenset(found)


def apply(uplinks: Iterable[Uplink], healths: Iterable[Health], chosen: frozenset[Key]) -> tuple[Uplink, ...]:
    """The uplinks with those that usable() did not choose marked as dead, each with the reason.

    Of those that are down, and used because all are, `reason` says so.
    """
    down = {key(health): printable(health.reason) for health in healths if health.state == DOWN}
    found = []
    for uplink in uplinks:
        reason = down.get(key(uplink))
        if uplink.usable and key(uplink) not in chosen:
            found.append(replace(uplink, state=DEAD, reason=reason or ""))
        elif uplink.usable and reason is not None:
            found.append(replace(uplink, reason=f"used because all are down: {reason}"))
        else:
            found.append(uplink)
    return tuple(found)


def listed(uplinks: Iterable[Uplink], *, down_from_list: bool) -> tuple[Uplink, ...]:
    """The uplinks for the address list: with `down_from_list` off, dead ones appear in it as if alive."""
    if down_from_list:
        return tuple(uplinks)
    return tuple(replace(u, state="up", reason="") if u.state == DEAD else u for u in uplinks)


def section(healths: Iterable[Health], now: float) -> list[dict[str, Any]]:
    """The part "health" of a snapshot (docs/health.md lists its keys); `now` by the monitor's clock."""
    return [
        {
            "device": health.device,
            "address": str(health.address),
            "family": health.family,
            "state": health.state,
            "reason": printable(health.reason),
            "since_s": round(max(0.0, now - health.since), 3),
            "checks": [
                {
                    "name": check.name,
                    "state": check.state,
                    "rtt_ms": None if check.rtt is None else round(check.rtt * 1000, 1),
                    "loss": None if check.loss is None else round(check.loss, 3),
                    "detail": printable(check.detail),
                }
                for check in health.checks
            ],
        }
        for health in healths
    ]
