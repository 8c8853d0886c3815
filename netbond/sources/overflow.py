"""Watches what the tiers of policies carry, and says which overflow. Source and output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.model import Facts, Interface
from netbond.policies.overflow import OverflowMeter, Watched, watched


class PolicyOverflow(Source, Output):
    """The policies that have `overflow`, measured once a second by the interfaces' counters."""

    name = "overflow"

    def __init__(self) -> None:
        self._look: Look = lambda: None
        self._meter = OverflowMeter()
        self._watched: dict[str, Watched] = {}

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Call `look` whenever a tier begins or ceases to overflow."""
        self._look = look

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the names of the policies whose best tier overflows."""
        return replace(facts, overflowing=self._meter.overflowing)

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Watch the tiers of these policies from now on."""
        self._watched = watched(goal.policies, goal.uplinks)
        return ()

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Take the counters."""
        before = self._meter.overflowing
        if not self._watched and not before:
            return
        counters = {link.name: (link.rx_bytes, link.tx_bytes) for link in traffic.interfaces}
        self._meter.observe(counters, self._watched, now_s)
        if self._meter.overflowing != before:
            self._look()
