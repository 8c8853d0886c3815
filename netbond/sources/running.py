"""Lists all sources of facts besides the kernel, and runs them as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence

from netbond.config.schema import Config
from netbond.contracts import Source, Traffic
from netbond.model import Facts, Interface
from netbond.sources.auto_weight import AutoWeights
from netbond.sources.data_plans import DataPlans
from netbond.sources.hardware import Hardware
from netbond.sources.health import HealthChecks
from netbond.sources.kept_leases import HookLeases, SeenInMain
from netbond.sources.last_pass import LastPass
from netbond.sources.modemmanager import ModemManager
from netbond.sources.networkd import NetworkdLeases
from netbond.sources.networkmanager import NetworkManager
from netbond.sources.overflow import PolicyOverflow
from netbond.sources.overrides import Overrides
from netbond.sources.pin_names import PinNames
from netbond.sources.policy_memory import PolicyMemory
from netbond.sources.policy_users import PolicyUsers
from netbond.sources.taken_defaults import TakenDefaults
from netbond.status.schema import Sections


def all_sources(config: Config) -> list[Source]:
    """Make one of each, in the order in which they contribute: each may use the facts of those before it."""
    return [
        Hardware(),
        HookLeases(config),
        NetworkdLeases(),
        NetworkManager(config),
        TakenDefaults(config),
        SeenInMain(config),
        ModemManager(config),
        PinNames(config),
        PolicyUsers(config),
        AutoWeights(),
        PolicyOverflow(),
        PolicyMemory(),
        HealthChecks(config),
        DataPlans(config),
        Overrides(config),
        LastPass(),
    ]


def assemble(sources: Sequence[Source], read: Facts, now_s: float) -> Facts:
    """Return what was read from the kernel, with all sources' facts added; `now_s` is seconds since boot."""
    facts = read
    for source in sources:
        facts = source.contribute(facts, now_s)
    return facts


class Sources:
    """Sources that are started, asked, reloaded and stopped as one. They call `look` when facts change."""

    def __init__(self, sources: Sequence[Source], look: Callable[[], None]) -> None:
        self.all = tuple(sources)
        self._look = look

    async def start(self, stack: contextlib.AsyncExitStack, links: Sequence[Interface]) -> None:
        """Start all; `stack` stops them. Return when each has reported, or after about a second."""
        for source in self.all:
            stack.push_async_callback(source.stop)
        await asyncio.gather(*(source.start(self._look, links) for source in self.all))

    @property
    def complete(self) -> bool:
        """Whether every source has reported: then, what none of them names does not exist."""
        return all(source.complete() for source in self.all)

    def configure(self, config: Config) -> None:
        """Use another configuration from now on."""
        for source in self.all:
            source.configure(config)

    def facts(self, read: Facts, now_s: float) -> Facts:
        """Return what was read from the kernel with all sources' facts added."""
        return assemble(self.all, read, now_s)

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Pass the traffic on, once a second; `now_s` is in monotonic seconds."""
        for source in self.all:
            source.tick(traffic, now_s)

    def problems(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the name and the current problems of each source."""
        for source in self.all:
            yield source.name, source.problems

    def sections(self, devices: Collection[str], now_s: float) -> Sections:
        """Their sections of the snapshot."""
        sections = Sections()
        for source in self.all:
            sections = source.status(sections, devices, now_s)
        return sections
