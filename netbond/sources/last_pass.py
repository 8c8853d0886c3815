"""Remembers the uplinks of the last pass, and those that have disappeared lately. Source and output."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Output, Source
from netbond.desired import Desired
from netbond.model import Facts, Uplink
from netbond.status.departed import Departed
from netbond.status.schema import Sections
from netbond.usability import alive


class LastPass(Source, Output):
    """The uplinks that the agent must remember from one pass to the next."""

    name = "last pass"

    def __init__(self) -> None:
        self._uplinks: tuple[Uplink, ...] = ()
        self._departed = Departed()

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the uplinks that were used in the last pass."""
        return replace(facts, alive=alive(self._uplinks))

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Remember these uplinks."""
        self._uplinks = goal.uplinks
        here = frozenset(link.name for link in facts.interfaces)
        reasons = dict(goal.excluded) | {each.name: each.reason for each in goal.idle}
        self._departed.observe(goal.uplinks, here, reasons, time.monotonic())
        return ()

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """The uplinks that were there a while ago."""
        return replace(sections, gone=self._departed.section(now_s))
