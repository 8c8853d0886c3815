"""Decides which tier of a policy is in use, and by which uplinks of it. Pure.

Within a tier, an uplink that is a backup is used only while no other of the tier works. An uplink whose data
plan is spent, and which is kept as a backup, is used only while nothing else of all tiers works. One that is
degraded (`check_quality`) is used only while nothing else of all tiers works but such ones. While the
first tier that works overflows (Facts.overflowing), new connections go to the next one that works, if there
is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from netbond.config.policy_values import Tier
from netbond.model import Uplink, UplinkState
from netbond.system.by_identity import by_identity


def named(uplink: Uplink, pattern: str) -> bool:
    """Whether a name or pattern of the configuration means the uplink: by its name or its device's."""
    return _fits(uplink.name, uplink.device, pattern)


def _fits(name: str, device: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(device, pattern)


def members(tiers: Sequence[Tier], uplinks: Sequence[Uplink]) -> list[list[tuple[Uplink, int]]]:
    """The uplinks of each tier with their weights. An uplink belongs to the first tier that names it."""
    return [
        [(uplinks[number], weight or uplinks[number].weight) for number, weight in tier]
        for tier in _places(tuple(tiers), _names(tuple(uplinks)))
    ]


def names_of(tiers: Sequence[Tier], *uplinks: Sequence[Uplink]) -> tuple[tuple[str, ...], ...]:
    """The names of the uplinks of each tier, each once; `uplinks` are those of each family."""
    return _names_of(tuple(tiers), tuple([_names(tuple(each)) for each in uplinks]))


@lru_cache(maxsize=256)
def _names_of(
    tiers: tuple[Tier, ...], families: tuple[tuple[tuple[str, str], ...], ...]
) -> tuple[tuple[str, ...], ...]:
    found: list[dict[str, None]] = [{} for _ in tiers]
    for names in families:
        for tier, members in zip(found, _places(tiers, names), strict=True):
            tier.update((names[number][0], None) for number, _ in members)
    return tuple(map(tuple, found))


@by_identity
def _names(uplinks: tuple[Uplink, ...]) -> tuple[tuple[str, str], ...]:
    return tuple([(uplink.name, uplink.device) for uplink in uplinks])


@lru_cache(maxsize=256)  # names change rarely, and each pass asks for all policies
def _places(
    tiers: tuple[Tier, ...], names: tuple[tuple[str, str], ...]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each tier which of the uplinks it has, by number, each with its weight (0: the uplink's own).

    `names` are the names of the uplinks and their devices.
    """
    found: list[list[tuple[int, int]]] = [[] for _ in tiers]
    for number, (name, device) in enumerate(names):
        places = (
            (members, weight)
            for members, tier in zip(found, tiers, strict=True)
            for pattern, weight in tier
            if _fits(name, device, pattern)
        )
        if (first := next(places, None)) is not None:
            first[0].append((number, first[1]))
    return tuple(map(tuple, found))


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
    first = None
    for each, good in ((unspent, True), (unspent, False), (tiers, False)):
        working = _all_working(each, good=good)
        if (first := next(working, None)) is not None:
            break
    if first is None:
        return Choice(reason=_why_not(tiers))
    best, uplinks = first
    if overflowing and (second := next(working, None)) is not None:
        place, uplinks = second
        return Choice(best + 1, place + 1, tuple(uplinks), f"tier {best + 1} overflows")
    return Choice(best + 1, best + 1, tuple(uplinks), _why_not(tiers[:best]))


def _all_working(
    tiers: Iterable[Sequence[tuple[Uplink, int]]], *, good: bool
) -> Iterator[tuple[int, Sequence[tuple[Uplink, int]]]]:
    """Each tier that works, with its place, and what works of it."""
    for place, tier in enumerate(tiers):
        if working := _working(tier, good=good):
            yield place, working


def _working(tier: Sequence[tuple[Uplink, int]], *, good: bool) -> Sequence[tuple[Uplink, int]]:
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
