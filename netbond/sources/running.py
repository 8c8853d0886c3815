"""All sources of facts beside the kernel itself: started, asked, reloaded and stopped as one.

Each source is its own module and knows nothing of the others; none decides anything. What it says becomes
part of model.Facts in each pass, and a source that is absent, hangs or fails costs its own facts only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from netbond import match, pins
from netbond.config.pattern import of_links
from netbond.config.schema import Config, UplinkConfig
from netbond.config.values import AUTO
from netbond.desired import Desired
from netbond.dhcp.clients import LeaseError
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import MANAGED, LeaseList, LeaseStore, following, renamed
from netbond.health import report
from netbond.health.monitor import Monitor
from netbond.health.stream_evidence import Ear
from netbond.kernel.taken_defaults import DefaultStore, still_valid
from netbond.model import Budget, EngineState, Facts, Health, IPAddress, Link, Rate, Uplink
from netbond.sources import data_plans
from netbond.sources.auto_weight import Weigher
from netbond.sources.pin_names import Lookups
from netbond.status.departed import Gone
from netbond.system import files
from netbond.system.state_file import StateFileError, reason
from netbond.system.text import printable
from netbond.uplinks import learned, settings
from netbond.usability import alive
from netbond.watchers import modemmanager, networkmanager
from netbond.watchers.networkd import Networkd
from netbond.watchers.udev import Udev

logger = logging.getLogger(__name__)

SPEAK_WITHIN = 1.0  # seconds that the first pass waits for NetworkManager and ModemManager


class Sources:
    """What is known besides what the kernel says. `look` is called when there is news.

    `problems` has what is wrong with a source at present, by source, one line each.
    """

    def __init__(self, config: Config, look: Callable[[], None]) -> None:
        self._config = config
        self._look = look
        state_dir = config.agent.state_dir
        self._leases = LeaseStore(state_dir / "leases")
        self._seen_in_main = LeaseStore(state_dir / "learned")
        self._loaded: dict[str, tuple[Lease, ...]] = {}  # what the stores held, by directory
        self.defaults = DefaultStore(state_dir)
        self._udev = Udev()
        self._networkd = Networkd()
        self._networkmanager = networkmanager.NetworkManagerWatcher()
        self._managed: tuple[Lease, ...] = ()  # what NetworkManager said
        self._managed_kept = LeaseList(state_dir / MANAGED)
        self._roaming_kept = modemmanager.RoamingFile(state_dir)
        self._roamed: frozenset[str] = frozenset()  # what stands in that file
        self._modemmanager = modemmanager.ModemManagerWatcher()
        self._lookups = Lookups(look)
        self._monitor = Monitor(config, look)
        self._ear = Ear()
        self._meter = data_plans.Meter(config.agent.data_dir)
        self._writing: asyncio.Task[None] | None = None  # what was counted, to the disk
        self._weigher = Weigher()
        self._measured: tuple[tuple[str, int], ...] = ()
        self._settings: tuple[UplinkConfig, ...] = ()
        self._checked_by: Config | None = None  # the configuration that the monitor has
        self._uplinks: tuple[Uplink, ...] = ()
        self._silent: list[str] = []
        self._gone = Gone()
        self._here: frozenset[str] = frozenset()  # the interfaces, as of the last pass
        self.problems: dict[str, tuple[str, ...]] = {}

    # --- from start to stop --------------------------------------------------------------------------------

    async def start(self, stack: contextlib.AsyncExitStack, links: Iterable[Link]) -> None:
        """Start all; `stack` stops them. Returns when each has spoken, or has had its second to do so."""
        for watcher in (self._udev, self._networkd):
            watcher.start(self._look)
            stack.callback(watcher.stop)
        links = tuple(links)
        self._meter.load()
        # Whose data plan is whose may go by the hardware.
        self._count(links, match.local(match.choose(of_links(links, self._udev.devices()), self._config)))
        stack.push_async_callback(self._save_usage)
        stack.push_async_callback(self._monitor.stop)
        stack.push_async_callback(self._lookups.stop)
        self._lookups.want(pins.names(self._config))
        buses: list[tuple[str, networkmanager.NetworkManagerWatcher | modemmanager.ModemManagerWatcher]] = []
        if self._config.agent.networkmanager:
            buses.append(("NetworkManager", self._networkmanager))
            self._recall()
        if self._config.agent.modemmanager:
            buses.append(("ModemManager", self._modemmanager))
            self._recall_roaming()
        for _, watcher_on_bus in buses:
            watcher_on_bus.start(self._look)
            stack.push_async_callback(watcher_on_bus.stop)
        # An uplink that only NetworkManager knows of must not be cut by a restart of the agent.
        spoken = await asyncio.gather(*(watcher.reported(SPEAK_WITHIN) for _, watcher in buses))
        self._silent = [name for (name, _), said in zip(buses, spoken, strict=True) if not said]
        for name in self._silent:
            logger.info("%s has not answered yet", name)

    @property
    def complete(self) -> bool:
        """Whether every source has spoken, so that what none of them knows is not there."""
        return self._lookups.complete and not self._silent

    def configure(self, config: Config) -> None:
        """Take another configuration (what the agent can change while it runs).

        The checks follow with the next pass: only then is it known which `[[uplink]]` is for what.
        """
        self._config = config
        self._lookups.want(pins.names(config))

    async def _save_usage(self) -> None:
        if self._writing is not None:
            await self._writing
        if (data := self._meter.due(time.monotonic(), stopping=True)) is not None:
            self._meter.write(data)

    # --- facts for a pass ----------------------------------------------------------------------------------

    def facts(self, read: Facts, now: float) -> Facts:
        """What was read from the kernel, with all that is known besides. `now` is seconds since boot."""
        self._here = frozenset(link.name for link in read.links)
        before = (lease for lease in self._managed if lease.device in self._here)
        self._managed = networkmanager.leases(self._networkmanager.facts(), now, before)
        if self._config.agent.networkmanager:
            self._keep()
        facts = replace(
            read,
            leases=(
                *self._load(self._leases, read.links),
                *self._networkd.leases(read.links, now, time.time()),
                *self._managed,
            ),
            devices=self._udev.devices({link.name: link.index for link in read.links}),
            learned=self._load(self._seen_in_main, read.links),
            resolved=self._lookups.answers,
            measured=self._measured,
            health=tuple(
                Health(each.device, each.family, each.state, printable(each.reason), each.since, each.address)
                for each in self._monitor.healths()
            ),
            budgets=tuple(Budget(*spent) for spent in self._meter.spent()),
            alive=alive(self._uplinks),
            roaming=self._roaming(),
        )
        if self._config.routing.take_over_default:
            facts = replace(facts, taken=tuple(r for r in self._taken() if still_valid(r, facts)))
        remembered = learned(facts, now)
        self._remember(facts.learned, remembered)
        return replace(facts, learned=remembered)

    def _roaming(self) -> frozenset[str]:
        modems = self._modemmanager.facts()
        devices = {device for modem in modems for device in modem.devices}
        found = frozenset(d for d in devices if modemmanager.excluded_by_roaming(modems, d))
        if found != self._roamed and self._config.agent.modemmanager:
            try:
                self._roaming_kept.save(found)
            except OSError as error:
                self.problems["roaming"] = (f"{self._roaming_kept.path}: {files.why(error)}",)
            else:
                self._roamed = found
                self.problems["roaming"] = ()
        return found

    def _recall_roaming(self) -> None:
        """Who roamed when the agent before this one ended: ModemManager may be away while this one starts."""
        try:
            self._roamed = self._roaming_kept.load()
        except (OSError, StateFileError) as error:
            logger.warning("%s: %s; passed over", self._roaming_kept.path, reason(error))
        else:
            self._modemmanager.recall(self._roamed)

    def _taken(self) -> tuple[Any, ...]:
        try:
            return self.defaults.load()
        except (OSError, ValueError) as error:
            self.problems["defaults"] = (f"{self.defaults.path}: {error}",)
            return ()

    def _load(self, store: LeaseStore, links: Iterable[Link]) -> tuple[Lease, ...]:
        """What the store holds, or held when it could last be read: an uplink must not go for that.

        A lease whose interface has been renamed is kept under the new name from now on: another interface may
        get the old one.
        """
        source = str(store.directory)
        self.problems[source] = ()
        try:
            found = self._loaded[source] = store.load()
            for old, new in renamed(found, links):
                logger.info("%s is called %s now: its lease goes along", old.device, new.device)
                store.move(old, new)
        except OSError as error:
            self.problems[source] = (f"{store.directory}: {error.strerror}",)
        return following(self._loaded.get(source, ()), links)

    def _recall(self) -> None:
        """What NetworkManager said to the agent before this one: it may be away while this one starts."""
        try:
            self._managed = self._managed_kept.load()
        except (OSError, ValueError) as error:
            logger.warning("%s: %s; passed over", self._managed_kept.path, reason(error))

    def _keep(self) -> None:
        try:
            self._managed_kept.save(self._managed)
        except OSError as error:
            self.problems["kept"] = (f"{self._managed_kept.path}: {files.why(error)}",)
        else:
            self.problems["kept"] = ()

    def _remember(self, before: Iterable[Lease], after: Iterable[Lease]) -> None:
        """Keep the defaults seen in main for an agent that is started while a link is down."""
        old, new = {lease.device: lease for lease in before}, {lease.device: lease for lease in after}
        self.problems["learned"] = ()
        try:
            for device in old.keys() - new.keys():
                self._seen_in_main.forget(device)
            for device, lease in new.items():
                if old.get(device) != lease:
                    self._seen_in_main.save(lease)
        except LeaseError as error:  # the name of an interface that is not text
            self.problems["learned"] = (str(error),)
        except OSError as error:
            self.problems["learned"] = (f"{self._seen_in_main.directory}: {error.strerror}",)

    # --- what comes of it ----------------------------------------------------------------------------------

    def decided(self, goal: Desired) -> None:
        """What the agent has made of the facts: whom to check and to count from now on."""
        self._uplinks = goal.uplinks
        if goal.settings != self._settings or self._config is not self._checked_by:
            self._settings, self._checked_by = goal.settings, self._config
            self._monitor.configure(replace(self._config, uplink=goal.settings))
        self._monitor.set_uplinks(goal.uplinks)
        reasons = dict(goal.excluded) | {name: why for name, _, why in (x.partition(": ") for x in goal.idle)}
        self._gone.observe(goal.uplinks, self._here, reasons, time.monotonic())

    def neighbour(self, device: str, address: IPAddress, reached: bool) -> None:
        """The kernel has reached this neighbour, or given it up."""
        self._monitor.neighbour(device, address, reached)

    def tick(
        self, links: Iterable[Link], rates: dict[str, Rate], engines: Iterable[EngineState], now: float
    ) -> None:
        """Once a second: count, weigh, and hear what the engines say of their links. `now` is monotonic."""
        devices = {uplink.device for uplink in self._uplinks}
        if self._count((link for link in links if link.name in devices), self._settings):
            self._look()
        idle = self._writing is None or self._writing.done()
        if idle and (data := self._meter.due(now)) is not None:
            # A worn SD card takes seconds: nobody waits for it.
            self._writing = asyncio.create_task(asyncio.to_thread(self._meter.write, data))
        for word in self._ear.listen(engines):
            self._monitor.evidence(word.device, word.ok, word.detail, word.address)
        automatic = {device for device in devices if settings(device, self._settings).weight == AUTO}
        self._weigher.observe({d: r.rx_bps + r.tx_bps for d, r in rates.items() if d in automatic}, now)
        measured = tuple(sorted(self._weigher.weights(automatic, now).items()))
        if measured != self._measured:
            self._measured = measured
            self._look()
        self._judge_buses()

    def _count(self, links: Iterable[Link], configured: Iterable[UplinkConfig]) -> bool:
        """Count usage; whether a verdict has changed."""
        before = self._meter.spent()
        for line in self._meter.observe(links, configured, data_plans.clock(time.time())):
            logger.warning("%s", line)
        self.problems["metered"] = self._meter.problems
        return self._meter.spent() != before

    def _judge_buses(self) -> None:
        services = (("NetworkManager", self._networkmanager), ("ModemManager", self._modemmanager))
        for title, watcher in services:
            hangs = watcher.status() == "not answering"
            self.problems[title] = (f"{title} does not answer: {watcher.reason()}",) if hangs else ()
        if self._silent and self._networkmanager.status() != "connecting":
            self._silent = []
        self.problems["pins"] = tuple(
            f"pin: {name}: {why}; trying again" for name, why in sorted(self._lookups.failures.items())
        )

    # --- what status shows ---------------------------------------------------------------------------------

    def sections(self, now: float) -> dict[str, Any]:
        """Parts of the snapshot: health, metered, and by device what managers and udev know.

        `now` is monotonic.
        """
        devices = {uplink.device for uplink in self._uplinks}
        modems = self._modemmanager.facts()
        return {
            "health": report.section(self._monitor.healths(), now),
            "metered": data_plans.section(self._meter.standings.values()),
            "networkmanager": {
                each.device: networkmanager.device_snapshot(each)
                for each in self._networkmanager.facts()
                if each.device in devices
            },
            "modems": {
                device: modemmanager.modem_snapshot(modem)
                for modem in modems
                for device in modem.devices
                if device in devices
            },
            "idle_modems": [
                {
                    "device": modem.device or None,
                    "why": modemmanager.why_idle(modem),
                    **modemmanager.modem_snapshot(modem),
                }
                for modem in modems
                if devices.isdisjoint(modem.devices)
            ],
            "gone": self._gone.section(now),
            "hardware": {each.name: each.as_dict() for each in self._udev.devices() if each.name in devices},
        }
