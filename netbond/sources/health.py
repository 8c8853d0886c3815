"""Reports the verdicts of health checks, and tells the checks which uplinks there are. Source and output."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.health import report
from netbond.health.monitor import Monitor
from netbond.health.stream_evidence import EvidenceReader
from netbond.match import Settings
from netbond.model import Facts, Health, Interface, IPAddress
from netbond.status.schema import Sections


class HealthChecks(Source, Output):
    """Whether each uplink works, from checks and from the answers that SRTLA streams get over their links."""

    name = "health"

    def __init__(self, config: Config) -> None:
        self._look: Look = lambda: None
        self._monitor = Monitor(config, self._news)
        self._evidence = EvidenceReader()
        self._checked_by: tuple[Settings, Config] | None = None

    def _news(self) -> None:
        self._look()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Call `look` whenever a verdict has changed."""
        self._look = look

    async def stop(self) -> None:
        """Stop checking."""
        await self._monitor.stop()

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the verdicts."""
        found = tuple(
            Health(
                each.device,
                each.family,
                each.state,
                each.reason,
                each.since,
                each.address,
                each.gateway,
                answers=each.answers,
            )
            for each in self._monitor.healths()
        )
        return replace(facts, health=(*facts.health, *found))

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Check these uplinks from now on, each with its settings."""
        if (goal.settings, config) != self._checked_by:
            self._checked_by = (goal.settings, config)
            self._monitor.configure(config, goal.settings)
        self._monitor.set_uplinks(goal.uplinks)
        return ()

    def neighbour(self, device: str, address: IPAddress, reached: bool) -> None:
        """Take news from the kernel: it has reached this neighbour, or failed to."""
        self._monitor.neighbour(device, address, reached)

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Take the engines' statistics of their links as evidence."""
        for link in self._evidence.read(traffic.engines):
            self._monitor.evidence(link.device, link.ok, link.detail, link.address)

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """The verdicts with their checks."""
        return replace(sections, health=report.section(self._monitor.healths(), now_s))
