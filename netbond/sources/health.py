"""Reports the verdicts of health checks, and tells the checks which uplinks there are. Source and output."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

from netbond.config.schema import CheckConfig, Config
from netbond.config.targets import GATEWAY, Target, as_address, parse
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.health import report
from netbond.health.judge import DOWN, Answer, UplinkHealth
from netbond.health.monitor import Monitor
from netbond.health.probes import ProbedUplink, probe
from netbond.health.receiver_probes import ReceiverProbes
from netbond.health.report import key
from netbond.health.stream_evidence import EvidenceReader, evidence, qualities
from netbond.health.suspects import with_suspicion
from netbond.match import NO_SETTINGS, UNMATCHED, Settings
from netbond.model import Facts, Health, Interface, IPAddress
from netbond.sources.command_checks import CommandChecks, not_run
from netbond.sources.pin_names import Lookups
from netbond.status.schema import Sections

# Kinds of checks that show that an uplink leads to the internet. No "dns": a modem may answer in its place.
LEADS_OUT = frozenset({"icmp", "tcp", "http"})


class HealthChecks(Source, Output):
    """Whether each uplink works, from checks and from the answers that SRTLA streams get over their links."""

    name = "health"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._settings = NO_SETTINGS
        self._chains: dict[str, tuple[CheckConfig, ...]] = {}  # by device, of this configuration
        self._look: Look = lambda: None
        self._commands = CommandChecks()
        self._monitor = Monitor(config, self._news, ask=self._ask)
        self._evidence = EvidenceReader()
        self._receivers = ReceiverProbes(config.health, self._news)
        self._names = Lookups(lambda: None)
        self._checked_by: tuple[Settings, Config] | None = None

    async def _ask(self, check: CheckConfig, target: Target, uplink: ProbedUplink) -> Answer:
        if check.kind == "command":
            return await self._commands.ask(check, uplink)
        return await probe(check, target, uplink)

    def _news(self) -> None:
        self._look()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Call `look` whenever a verdict has changed."""
        self._look = look

    async def stop(self) -> None:
        """Stop checking."""
        await self._receivers.stop()
        await self._names.stop()
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
                poor=each.poor,
            )
            for each in self._healths()
        )
        return replace(facts, health=(*facts.health, *found))

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Check these uplinks from now on, each with its settings."""
        if (goal.settings, config) != self._checked_by:
            self._checked_by = (goal.settings, config)
            self._config, self._settings, self._chains = config, goal.settings, {}
            self._monitor.configure(config, goal.settings)
            self._receivers.configure(config.health)
            self._names.want(_receiver_names(config))
        self._commands.uplinks = goal.uplinks
        self._monitor.set_uplinks(goal.uplinks)
        return not_run(config)

    def neighbour(self, device: str, address: IPAddress, reached: bool) -> None:
        """Take news from the kernel: it has reached this neighbour, or failed to."""
        self._monitor.neighbour(device, address, reached)

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Take the engines' statistics of their links as evidence."""
        engines = self._evidence.fresh(traffic.engines)
        for engine in engines:
            for link in evidence(engine.stats):
                self._monitor.evidence(link.device, link.ok, link.detail, link.address)
            for figures in qualities(engine.stats):
                self._monitor.measure(figures.device, figures.address, figures.loss, figures.rtt_s)
        if not self._config.sender:  # nobody hears anything, and nothing is worth its time each second
            self._receivers.tick({}, (), (), (), engines, {}, now_s)
            return
        # Links go by the gateway in use. Those that wait neither clear it nor take its verdict's place.
        healths = self._monitor.healths()
        suspect = {key(each): each.state != DOWN for each in healths if self._may_be_suspect(each.device)}
        in_use = [key(each) for each in healths if not each.spare]
        proven = {key(each) for each in healths if self._leads_out(each)}
        addresses = dict(self._names.answers)
        self._receivers.tick(suspect, in_use, proven, self._config.sender, engines, addresses, now_s)

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """The verdicts with their checks."""
        return replace(sections, health=report.section(self._healths(), now_s))

    @property
    def problems(self) -> Sequence[str]:
        """The uplinks that streams cannot use, though other traffic can."""
        return [
            f"{device} ({address}): {found.reason}"
            for (device, address, _), found in self._receivers.suspicions().items()
            if found.blocked
        ]

    def _chain(self, device: str) -> tuple[CheckConfig, ...]:
        if device not in self._chains:
            self._chains[device] = self._config.chain(self._settings.get(device, UNMATCHED).checks)
        return self._chains[device]

    def _may_be_suspect(self, device: str) -> bool:
        """Whether streams' evidence counts for it; `checks = []` says that it is never down."""
        return self._config.health.evidence and bool(self._chain(device))

    def _leads_out(self, health: UplinkHealth) -> bool:
        """Whether a check passes that asks something behind the gateway."""
        passing = {check.name for check in health.checks if check.state == "ok"}
        return any(
            check.name in passing and check.kind in LEADS_OUT and not _asks_gateway(check)
            for check in self._chain(health.device)
        )

    def _healths(self) -> Sequence[UplinkHealth]:
        """The verdicts of checks, and of streams' evidence where that says more."""
        healths, suspicions = self._monitor.healths(), self._receivers.suspicions()
        if not suspicions:
            return healths
        return [with_suspicion(each, suspicions.get(key(each))) for each in healths]


@lru_cache(maxsize=256)  # asked each second for each uplink
def _asks_gateway(check: CheckConfig) -> bool:
    return any(parse(check.kind, target).host == GATEWAY for target in check.targets)


def _receiver_names(config: Config) -> list[str]:
    """The host names of the senders' receivers, if streams' evidence counts."""
    if not config.health.evidence:
        return []
    hosts = [receiver.host for sender in config.sender for receiver in sender.receivers]
    return [host for host in hosts if as_address(host) is None]
