"""All sources of facts beside the kernel: the list of them, and how the agent runs them as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence

from netbond.config.schema import Config
from netbond.contracts import Source, Traffic
from netbond.model import Facts, Link
from netbond.sources.auto_weight import AutoWeights
from netbond.sources.data_plans import DataPlans
from netbond.sources.hardware import Hardware
from netbond.sources.health import HealthChecks
from netbond.sources.kept_leases import HookLeases, SeenInMain
from netbond.sources.last_pass import LastPass
from netbond.sources.modemmanager import ModemManager
from netbond.sources.networkd import NetworkdLeases
from netbond.sources.networkmanager import NetworkManager
from netbond.sources.pin_names import PinNames
from netbond.sources.taken_defaults import TakenDefaults
from netbond.status.schema import Sections


def all_sources(config: Config) -> list[Source]:
    """One of each, in the order in which they contribute: a later one may use what an earlier one said."""
    return [
        Hardware(),
        HookLeases(config),
        NetworkdLeases(),
        NetworkManager(config),
        TakenDefaults(config),
        SeenInMain(config),
        ModemManager(config),
        PinNames(config),
        AutoWeights(),
        HealthChecks(config),
        DataPlans(config),
        LastPass(),
    ]


def assemble(sources: Sequence[Source], read: Facts, now_s: float) -> Facts:
    """What was read from the kernel, with all that the sources know. `now_s` is seconds since boot."""
    facts = read
    for source in sources:
        facts = source.contribute(facts, now_s)
    return facts


class Sources:
    """Sources that are started, asked, reloaded and stopped as one. `look` is called when one has news."""

    def __init__(self, sources: Sequence[Source], look: Callable[[], None]) -> None:
        self.all = tuple(sources)
        self._look = look

    async def start(self, stack: contextlib.AsyncExitStack, links: Sequence[Link]) -> None:
        """Start all; `stack` stops them. Returns when each has spoken, or has had its second to do so."""
        for source in self.all:
            stack.push_async_callback(source.stop)
        await asyncio.gather(*(source.start(self._look, links) for source in self.all))

    @property
    def complete(self) -> bool:
        """Whether every source has spoken, so that what none of them knows is not there."""
        return all(source.complete() for source in self.all)

    def configure(self, config: Config) -> None:
        """Take another configuration."""
        for source in self.all:
            source.configure(config)

    def facts(self, read: Facts, now_s: float) -> Facts:
        """What was read from the kernel, with all that is known besides."""
        return assemble(self.all, read, now_s)

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Once a second; `now_s` is monotonic."""
        for source in self.all:
            source.tick(traffic, now_s)

    def problems(self) -> Iterator[tuple[str, Sequence[str]]]:
        """What is wrong with each source now, by its name."""
        for source in self.all:
            yield source.name, source.problems

    def sections(self, devices: Collection[str], now_s: float) -> Sections:
        """Their sections of the snapshot."""
        sections = Sections()
        for source in self.all:
            sections = source.status(sections, devices, now_s)
        return sections
