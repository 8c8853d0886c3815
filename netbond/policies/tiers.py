"""Decides which tier of a policy is in use, and by which uplinks of it. Pure.

Within a tier, an uplink that is a backup is used only while no other of the tier works. An uplink whose data
plan is spent, and which is kept as a backup, is used only while nothing else of all tiers works. One that is
degraded (`check_quality`) is used only while nothing else of all tiers works but such ones. While the
first tier that works overflows (Facts.overflowing), new connections go to the next one that works, if there
is one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from netbond.config.policy_values import Tier
from netbond.model import Uplink, UplinkState


def named(uplink: Uplink, pattern: str) -> bool:
    """Whether a name or pattern of the configuration means the uplink: by its name or its device's."""
    return _fits(uplink.name, uplink.device, pattern)


def _fits(name: str, device: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(device, pattern)


def members(tiers: Sequence[Tier], uplinks: Sequence[Uplink]) -> list[list[tuple[Uplink, int]]]:
    """The uplinks of each tier with their weights. An uplink belongs to the first tier that names it."""
    found: list[list[tuple[Uplink, int]]] = [[] for _ in tiers]
    places = _places(tuple(tiers), tuple([(uplink.name, uplink.device) for uplink in uplinks]))
    for uplink, place in zip(uplinks, places, strict=True):
        if place is not None:
            tier, weight = place
            found[tier].append((uplink, weight or uplink.weight))
    return found


@lru_cache(maxsize=256)  # names change rarely, and each pass asks for all policies
def _places(
    tiers: tuple[Tier, ...], names: tuple[tuple[str, str], ...]
) -> tuple[tuple[int, int] | None, ...]:
    """The tier and the weight of each uplink, by its name and its device's; None: no tier names it."""
    return tuple(
        next(
            (
                (place, weight)
                for place, tier in enumerate(tiers)
                for pattern, weight in tier
                if _fits(name, device, pattern)
            ),
            None,
        )
        for name, device in names
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The tier in use, from 1, the first that works, and the uplinks with their weights; 0: none works."""

    best: int = 0
    tier: int = 0
    uplinks: tuple[tuple[Uplink, int], ...] = ()
    reason: str = ""  # why it is not the first tier


def choose(
    tiers: Sequence[Sequence[tuple[Uplink, int]]], *, overflowing: bool, spent: Collection[str]
) -> Choice:
    """What the tiers of `members` come to, for the uplinks of one family.

    `spent` are the devices whose data plan is spent, and which are kept as backups.
    """
    unspent = [[each for each in tier if each[0].device not in spent] for tier in tiers] if spent else tiers
    working = [_working(tier, good=True) for tier in unspent]
    if not any(working):
        working = [_working(tier) for tier in unspent]
    if not any(working) and spent:
        working = [_working(tier) for tier in tiers]
    usable = [place for place, tier in enumerate(working) if tier]
    if not usable:
        return Choice(reason=_why_not(tiers))
    best = usable[0]
    if overflowing and len(usable) > 1:
        place = usable[1]
        reason = f"tier {best + 1} overflows"
    else:
        place = best
        reason = _why_not(tiers[:best])
    return Choice(best + 1, place + 1, tuple(working[place]), reason)


def _working(tier: Sequence[tuple[Uplink, int]], *, good: bool = False) -> Sequence[tuple[Uplink, int]]:
    """Those in use, or if there are none, backups that wait, and unless they must be `good` the degraded."""
    return [each for each in tier if each[0].usable] or [
        each for each in tier if each[0].leads_out and not (good and each[0].state == UplinkState.DEGRADED)
    ]


def _why_not(tiers: Sequence[Sequence[tuple[Uplink, int]]]) -> str:
    """Why none of these tiers is used: the first uplink's reason for each, in a few words."""
    found = []
    for number, tier in enumerate(tiers, 1):
        if not tier:
            found.append(f"tier {number}: no such uplink is there")
            continue
        uplink = tier[0][0]
        spent = uplink.leads_out and uplink.state != UplinkState.DEGRADED
        why = "its data plan is spent" if spent else _words(uplink)
        found.append(f"tier {number}: {uplink.name}: {why}")
    return "; ".join(found)


def _words(uplink: Uplink) -> str:
    if uplink.vrf:
        return f"in VRF {uplink.vrf}"
    if uplink.state in (UplinkState.DEAD, UplinkState.DEGRADED, UplinkState.SPENT, UplinkState.OFF):
        return uplink.reason or str(uplink.state)
    return str(uplink.state)
