"""Counts the connections of policies, and cuts those that are to end when a better tier is back.

Source and output: its counts are a part of the snapshot, and it acts after routes and rules are right.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Output, Source, Traffic
from netbond.desired import Desired
from netbond.errors import NetbondError
from netbond.kernel import sockets
from netbond.lan import Mark, cut_values, names_by_mark
from netbond.model import Facts
from netbond.policies.connections import Connection, Owners, count, returned, to_cut
from netbond.policies.model import PolicyInUse
from netbond.router import conntrack, nft
from netbond.status.schema import PolicyConnections, Sections
from netbond.system import files

TCP = 6
INTERVAL_S = 10.0  # between two counts
LEAST_SHARE = 50  # a count that took 1 s of time is repeated after this many seconds, at the earliest
RESET_S = 0.5  # how long each end of a connection that is cut has to send something, by which it is reset


class PolicyMemory(Source, Output):
    """Which connections policies have, and what becomes of them."""

    name = "connections"

    def __init__(self) -> None:
        self._policies: tuple[PolicyInUse, ...] = ()
        self._owners: Owners | None = None
        self._held = False  # connections have marks
        self._mask = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._due = 0.0
        self._counting: asyncio.Task[None] | None = None
        self._cutting: set[asyncio.Task[None]] = set()
        self._problems: Sequence[str] = ()

    async def stop(self) -> None:
        """Stop counting and cutting."""
        tasks = [*self._cutting, *([self._counting] if self._counting is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Nothing."""
        return facts

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Cut the connections of policies that have a better tier back since the last time."""
        before, self._policies = self._policies, goal.policies
        self._held, self._mask = bool(goal.flows.marks or config.router.lan), config.router.mark_mask
        self._owners = None
        if self._policies:
            marks = names_by_mark(goal.uplinks, config.router)
            self._owners = Owners(self._policies, goal.uplinks, facts.addresses, marks)
        if (back := returned(before, self._policies)) and self._owners is not None:
            task = asyncio.create_task(self._cut(self._owners, back))
            self._cutting.add(task)
            task.add_done_callback(self._cutting.discard)
        return self._problems

    async def _cut(self, owners: Owners, back: Collection[tuple[str, int]]) -> None:
        """Twice: a connection may begin in the moment when the routes change."""
        mask = self._mask
        try:
            for value in cut_values(mask):
                await asyncio.to_thread(_cut_once, owners, back, mask if self._held else 0, value)
                await asyncio.sleep(RESET_S)
            if self._held:
                marks = [Mark(value, family) for value in cut_values(mask) for family in (4, 6)]
                await asyncio.to_thread(nft.release, marks, mask)
            self._problems = ()
        except (OSError, NetbondError) as error:
            why = files.why(error) if isinstance(error, OSError) else str(error)
            self._problems = [f"policies: connections cannot be cut: {why}"]

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Count the connections, if it is time."""
        if self._owners is None:
            self._counts = Counter()
        elif now_s >= self._due and (self._counting is None or self._counting.done()):
            self._due = now_s + INTERVAL_S
            self._counting = asyncio.create_task(self._count(self._owners, now_s))

    async def _count(self, owners: Owners, now_s: float) -> None:
        began = time.monotonic()
        try:
            self._counts = await asyncio.to_thread(_counted, owners, self._mask if self._held else 0)
        except OSError:
            self._counts = Counter()  # a kernel that does not tell
        self._due = now_s + max(INTERVAL_S, LEAST_SHARE * (time.monotonic() - began))

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """The counts."""
        found = (PolicyConnections(*names, number) for names, number in sorted(self._counts.items()))
        return replace(sections, connections=tuple(found))


def _all(mask: int) -> list[Connection]:
    """Forwarded connections, if `mask` is not 0, and those of sockets."""
    return [*(conntrack.connections(mask) if mask else ()), *sockets.connected()]


def _counted(owners: Owners, mask: int) -> Counter[tuple[str, str]]:
    return count(_all(mask), owners)


def _cut_once(owners: Owners, back: Collection[tuple[str, int]], mask: int, value: int) -> None:
    """Give the connections the mark `value`, those with the marks of connections that are cut, too."""
    connections = _all(mask)
    found = to_cut(connections, owners, back)
    found += [each for each in connections if not each.own and each.mark in cut_values(mask)]
    forwarded = [each for each in found if not each.own]
    if forwarded:
        conntrack.delete(each for each in forwarded if each.protocol != TCP)
        conntrack.mark((each for each in forwarded if each.protocol == TCP), value, mask)
    sockets.destroy(each for each in found if each.own)  # the last, as not every kernel can
