"""Defines a policy as it is applied to the box: its traffic, and the uplinks that it uses now. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from netbond.model import IPNetwork


@dataclass(frozen=True, slots=True)
class PolicyMatch:
    """The traffic of a policy in one family: a packet must fit one value of each key that has values.

    Names are resolved, and the values of the other family are gone. With `ports`, `protocols` are such as
    have ports. With `uids`, `interfaces` is ("lo",).
    """

    destinations: tuple[IPNetwork, ...] = ()
    sources: tuple[IPNetwork, ...] = ()
    interfaces: tuple[str, ...] = ()  # where it comes in; "lo": from this box
    protocols: tuple[int, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()  # of the destination: first and last
    dscps: tuple[int, ...] = ()
    marks: tuple[tuple[int, int], ...] = ()  # with masks
    uids: tuple[tuple[int, int], ...] = ()  # first and last
    # Where rules cannot ask for a DSCP: the mark, with its mask, of forwarded packets with each of `dscps`.
    dscp_marks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyWay:
    """What a policy does for one family. Tiers count from 1; 0: none works.

    `best` is the first tier that works, `tier` the one that new connections use. They differ while the best
    one overflows. A better tier is back when `best` becomes less; then `failback` says what happens.
    """

    family: int  # 4 or 6
    match: PolicyMatch
    best: int
    tier: int
    uplinks: tuple[tuple[str, int], ...]  # names of the uplinks in use, each with its weight
    reason: str = ""  # why it is not the first tier

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the uplinks in use."""
        return tuple(name for name, _ in self.uplinks)


@dataclass(frozen=True, slots=True)
class PolicyInUse:
    """A policy as it is applied now. A family that it cannot match anything of is not among its `ways`."""

    name: str
    number: int  # its place in the file, from 1: the lower one is asked first
    table: int
    tiers: tuple[tuple[str, ...], ...]  # names of the uplinks of each tier that are there, of either family
    ways: tuple[PolicyWay, ...]
    sticky_s: int = 0  # 0: not sticky
    overflow_bps: int = 0  # 0: none
    failback: str = "drain"  # or "keep", "cut"
    otherwise: str = "share"  # or "unreachable"
    problem: str = ""  # why it does nothing, or not all that it should

    @property
    def families(self) -> tuple[int, ...]:
        """The families (4, 6) for which it is in force."""
        return tuple(way.family for way in self.ways)

    def way(self, family: int) -> PolicyWay | None:
        """What it does for a family; None: nothing."""
        return next((way for way in self.ways if way.family == family), None)
