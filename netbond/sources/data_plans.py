"""Counts how much of its data plan each metered uplink has used, and says which are spent. Source and output.

Counting is pure (`add_usage`, `plan_state`): it adds the kernel's byte counters of an interface to months
that begin on `budget_day`. `Meter` keeps the result (netbond.sources.usage_files).

Counters start from 0 when the interface is a new one (its index changes), after a reboot (the boot id
changes), or when a driver resets them (they decrease). Then everything that they show is counted.

A box without a battery-backed clock boots in 1970, or at the time when it was switched off. So `_dated` does
not trust every date:
- A date before EARLIEST is ignored: counting continues in the open month.
- A month later than the open one is opened, whether the clock is synchronised or not: a box with a good clock
  may never reach a time server.
- A month earlier than the open one is opened only if the clock is synchronised. Then the open month came from
  a wrong clock, and its bytes are kept.
- If a month is opened at the moment when the clock is synchronised again, the bytes counted since the last
  synchronisation move into the new month: most of them were counted after a boot in that month.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import re
import time
from calendar import monthrange
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from netbond.config.pattern import of_links
from netbond.config.schema import Config, UplinkConfig
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.dhcp.clients import LeaseError, check_device
from netbond.match import NO_SETTINGS, UNMATCHED, Settings, choose
from netbond.model import Facts, Interface, SpentDataPlan
from netbond.sources.usage_files import SHORTAGES, UsageFiles
from netbond.status.schema import DataPlanStatus, Sections
from netbond.system import files
from netbond.system.clock import boot_id
from netbond.system.text import data_amount

logger = logging.getLogger(__name__)

MOST_DEVICES = 256  # that are remembered; the one not seen for the longest time is dropped first
# What a power cut may lose: as much as passes in SAVE_INTERVAL_S, and no more than UNSAVED_SHARE of a budget,
# unless that passes in less than SOONEST_S. More often would wear an SD card.
SAVE_INTERVAL_S = 60.0
UNSAVED_SHARE = 0.01
SOONEST_S = 10.0
KEEP_INTERVAL_S = 2.0  # what an agent that is killed may lose, if the modem is plugged anew meanwhile
WARN_SHARE = 0.8  # the share of the budget from which a warning is shown
EARLIEST = date(2025, 1, 1)  # this program did not exist before

_MOST_BYTES = 2**63


@dataclass(frozen=True, slots=True)
class Usage:
    """What one interface has used (in bytes), and the values of its counters when that was last counted."""

    start: date | None = None  # first day of the open month; None until a date is known
    day: int = 1  # the budget_day on which that month began
    used: int = 0  # received and sent since then
    undated: int = 0  # the part of `used` counted since the clock was last synchronised
    index: int = 0  # the interface's
    rx: int = 0
    tx: int = 0
    boot: str = ""  # the kernel's boot id
    last_start: date | None = None  # first day of the month before, if that was counted
    last_used: int = 0


@dataclass(frozen=True, slots=True)
class Clock:
    """The local date, whether the clock is synchronised, and the boot id."""

    today: date
    synchronised: bool
    boot: str


@dataclass(frozen=True, slots=True)
class PlanState:
    """The bytes that an interface has used of its data plan. If `budget` is 0, it is not metered."""

    device: str
    used: int
    budget: int
    start: date | None
    resets: date | None  # first day of the next month
    action: str  # `budget_action`, for a spent plan: "warn", "backup", "off"

    @property
    def level(self) -> str:
        """ "ok", "warning" (80 % are used) or "spent"."""
        if self.budget and self.used >= self.budget:
            return "spent"
        return "warning" if self.budget and self.used >= WARN_SHARE * self.budget else "ok"

    @property
    def verdict(self) -> str:
        """How the uplink may be used: "normal", "backup" (only if all others are down), or "off"."""
        return self.action if self.level == "spent" and self.action != "warn" else "normal"

    def __str__(self) -> str:
        part = f" of {data_amount(self.budget)} ({100 * self.used // self.budget} %)" if self.budget else ""
        until = f"; the next month begins on {self.resets}" if self.resets else ""
        return f"{self.device} has used {data_amount(self.used)}{part}{until}"


# --- months -----------------------------------------------------------------------------------------------


def _begins(year: int, month: int, day: int) -> date:
    """Return the first day of the month that begins in this calendar month: `day`, or its last day."""
    return date(year, month, min(day, monthrange(year, month)[1]))


@lru_cache(maxsize=64)  # asked each second for each interface, for the same month
def month_of(today: date, day: int) -> date:
    """Return the first day of the month that contains `today`, for months that begin on `day`."""
    begins = _begins(today.year, today.month, day)
    if begins <= today:
        return begins
    year, month = (today.year - 1, 12) if today.month == 1 else (today.year, today.month - 1)
    return _begins(year, month, day)


@lru_cache(maxsize=64)
def next_month(start: date, day: int) -> date:
    """Return the first day of the month after the one that began at `start`."""
    year, month = (start.year + 1, 1) if start.month == 12 else (start.year, start.month + 1)
    return _begins(year, month, day)


# --- counting ---------------------------------------------------------------------------------------------


def add_usage(
    ledger: Mapping[str, Usage], links: Iterable[Interface], settings: Settings, clock: Clock
) -> dict[str, Usage]:
    """Return the ledger, updated with the byte counters of `links`. Absent interfaces keep their entries.

    An interface that was never seen before starts at 0: its earlier bytes may belong to another month.
    """
    found = dict(ledger)
    for link in links:
        old = found.pop(link.name, None)  # removed and added again: the ledger is ordered by when last seen
        day = settings.get(link.name, UNMATCHED).budget_day
        if old is None:
            old = Usage(None, day, 0, 0, link.index, link.rx_bytes, link.tx_bytes, clock.boot)
        found[link.name] = _dated(_counted(old, link, clock.boot), day, clock)
    for device in list(found)[: max(0, len(found) - MOST_DEVICES)]:
        del found[device]
    return found


def _counted(old: Usage, link: Interface, boot: str) -> Usage:
    if (old.index, old.rx, old.tx, old.boot) == (link.index, link.rx_bytes, link.tx_bytes, boot):
        return old
    used = _since(old, link, boot)
    return replace(
        old,
        used=old.used + used,
        undated=old.undated + used,
        index=link.index,
        rx=link.rx_bytes,
        tx=link.tx_bytes,
        boot=boot,
    )


def _since(old: Usage, link: Interface, boot: str) -> int:
    """Return the bytes since the counters were last read."""
    anew = link.index != old.index or boot != old.boot or link.rx_bytes < old.rx or link.tx_bytes < old.tx
    return link.rx_bytes + link.tx_bytes - (0 if anew else old.rx + old.tx)


def _dated(usage: Usage, day: int, clock: Clock) -> Usage:
    """Return the usage, moved to the month of the date if the date can be trusted (see the module's text)."""
    if clock.today < EARLIEST:
        return usage
    start = month_of(clock.today, day)
    if usage.start is not None and usage.day != day:
        # `budget_day` was changed: the open month stays whole. The old day says whether it has ended.
        usage = replace(_dated(usage, usage.day, clock), start=start, day=day)
    elif usage.start is None:
        usage = replace(usage, start=start, day=day)
    elif start > usage.start:
        carried = usage.undated if clock.synchronised else 0
        usage = replace(
            usage,
            start=start,
            used=carried,
            undated=carried,
            last_start=usage.start,
            last_used=usage.used - carried,
        )
    elif start != usage.start and clock.synchronised:
        before = usage.last_used if usage.last_start == start else 0
        usage = replace(usage, start=start, used=usage.used + before, last_start=None, last_used=0)
    return replace(usage, undated=0) if usage.undated and clock.synchronised else usage


def plan_state(device: str, usage: Usage, setting: UplinkConfig) -> PlanState:
    """Return the state of an interface's data plan, from its usage and its settings."""
    resets = None if usage.start is None else next_month(usage.start, usage.day)
    return PlanState(device, usage.used, setting.budget, usage.start, resets, setting.budget_action)


def news(before: Mapping[str, PlanState], after: Iterable[PlanState]) -> list[str]:
    """Return a line for the log for each interface whose plan is at another level than before."""
    lines = []
    for now in after:
        then = before.get(now.device)
        level = then.level if then is not None else "ok"
        if now.level == level:
            continue
        follows = {"backup": "used only when all others are down", "off": "not used"}.get(now.verdict, "")
        if now.level == "ok":
            follows = "used as before"
        lines.append(f"{now}: {follows}" if follows else str(now))
    return lines


def section(plans: Iterable[PlanState]) -> tuple[DataPlanStatus, ...]:
    """The metered uplinks, for the part "metered" of a snapshot."""
    return tuple(
        DataPlanStatus(
            device=each.device,
            used_bytes=each.used,
            budget_bytes=each.budget,
            since=None if each.start is None else each.start.isoformat(),
            resets=None if each.resets is None else each.resets.isoformat(),
            level=each.level,
            verdict=each.verdict,
        )
        for each in plans
        if each.budget
    )


# --- the file ---------------------------------------------------------------------------------------------


def to_json(ledger: Mapping[str, Usage]) -> dict[str, Any]:
    """Return the ledger as JSON values, in the form of the file."""

    def iso(day: date | None) -> str | None:
        return None if day is None else day.isoformat()

    devices = {
        device: {
            "start": iso(usage.start),
            "day": usage.day,
            "used": usage.used,
            "undated": usage.undated,
            "index": usage.index,
            "rx": usage.rx,
            "tx": usage.tx,
            "boot": usage.boot,
            "last_start": iso(usage.last_start),
            "last_used": usage.last_used,
        }
        for device, usage in ledger.items()
    }
    return {"devices": devices}


def from_json(found: Mapping[str, Any]) -> dict[str, Usage]:
    """Read a ledger that to_json() has written; ValueError if a value is invalid."""
    devices = found.get("devices")
    if not isinstance(devices, dict):
        raise ValueError("it is not a record of usage")
    return {_device(name): _usage(name, entry) for name, entry in devices.items()}


def _device(name: str) -> str:
    try:
        return check_device(name)
    except LeaseError as error:
        raise ValueError(str(error)) from None


def _usage(name: str, entry: object) -> Usage:
    if not isinstance(entry, dict):
        raise ValueError(f"{name}: not a record")

    def whole(key: str, least: int = 0, most: int = _MOST_BYTES) -> int:
        value = entry.get(key)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name}: {key} is invalid")
        return value

    def day(key: str) -> date | None:
        value = entry.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError(f"{name}: {key} is invalid")
        return date.fromisoformat(value)

    boot = entry.get("boot")
    if not isinstance(boot, str) or not re.fullmatch(r"[0-9a-f-]{0,64}", boot):
        raise ValueError(f"{name}: boot is invalid")
    return Usage(
        start=day("start"),
        day=whole("day", 1, 31),
        used=whole("used"),
        undated=whole("undated"),
        index=whole("index"),
        rx=whole("rx"),
        tx=whole("tx"),
        boot=boot,
        last_start=day("last_start"),
        last_used=whole("last_used"),
    )


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be written now: for good, or until the next boot."""

    content: dict[str, Any]
    durable: bool


class Meter:
    """Counts the uplinks' usage, and keeps it on the disk.

    Call load() at the start. About once a second call observe(); if due() then returns something, write() it
    in a thread, because that waits for the disk. At the end call due(..., stopping=True).
    """

    def __init__(self, data_dir: Path, state_dir: Path) -> None:
        self._files = UsageFiles(data_dir, state_dir)
        self._loaded = False
        self._ledger: dict[str, Usage] = {}
        self._saved: dict[str, Usage] = {}  # for good
        self._saved_at_s: float | None = None
        self._kept: dict[str, Usage] = {}  # until the next boot
        self._kept_at_s = float("-inf")
        self.plans: dict[str, PlanState] = {}
        self.problems: tuple[str, ...] = ()

    def load(self) -> None:
        """Read the files. If what they say is invalid, rename it to usage.json.bad, and report that.

        What cannot be read for want of descriptors or memory is read later. Until then nothing is counted or
        written: the kernel's counters go on.
        """
        self._loaded = True
        try:
            found = self._files.read()
            self._ledger = self._saved = self._kept = {} if found is None else from_json(found)
            self.problems = ()
        except OSError as error:
            self._loaded = error.errno not in SHORTAGES
            then = "usage is counted from now on" if self._loaded else "it is read later, and counted on then"
            self.problems = (f"{self._files.path}: {files.why(error)}; {then}",)
        except ValueError as error:
            aside = self._files.put_aside()
            self.problems = (
                f"{self._files.path}: {error}; renamed to {aside.name}, usage is counted from now on",
            )

    def observe(self, links: Iterable[Interface], settings: Settings, clock: Clock) -> list[str]:
        """Count the traffic of the uplinks' interfaces; return lines for the log."""
        if not self._loaded:
            self.load()
            if not self._loaded:
                return []
        links = tuple(links)
        self._ledger = add_usage(self._ledger, links, settings, clock)
        before = self.plans
        self.plans = {
            link.name: plan_state(link.name, self._ledger[link.name], settings.get(link.name, UNMATCHED))
            for link in links
            if link.name in self._ledger
        }
        return news(before, self.plans.values())

    def spent(self) -> tuple[tuple[str, str, str], ...]:
        """Return (device, "backup" or "off", reason) for each uplink whose use is restricted."""
        return tuple(
            (each.device, each.verdict, f"{data_amount(each.budget)} a month are used up")
            for each in self.plans.values()
            if each.verdict != "normal"
        )

    def due(self, now_s: float, *, stopping: bool = False) -> Due | None:
        """Return what to write() at `now_s` (in monotonic seconds); None if nothing is due."""
        if self._ledger != self._saved and (stopping or now_s >= self._due_at_s()):
            self._saved_at_s = self._kept_at_s = now_s
            self._saved = self._kept = self._ledger
            return Due(to_json(self._ledger), durable=True)
        if self._ledger != self._kept and now_s >= self._kept_at_s + KEEP_INTERVAL_S:
            self._kept_at_s, self._kept = now_s, self._ledger
            return Due(to_json(self._ledger), durable=False)
        return None

    def _due_at_s(self) -> float:
        """When what was counted is to be saved for good."""
        if self._saved_at_s is None:
            return float("-inf")
        much = any(
            plan.budget and plan.used - self._used_when_saved(plan) >= UNSAVED_SHARE * plan.budget
            for plan in self.plans.values()
        )
        return self._saved_at_s + (SOONEST_S if much else SAVE_INTERVAL_S)

    def _used_when_saved(self, plan: PlanState) -> int:
        saved = self._saved.get(plan.device)
        return saved.used if saved is not None and saved.start == plan.start else 0

    def write(self, due: Due) -> None:
        """Write it, which may take seconds (fsync). Report a failure in `problems`."""
        try:
            if due.durable:
                self._files.save(due.content)
            else:
                self._files.keep(due.content)
        except OSError as error:
            if due.durable:
                self._saved = self._kept = {}  # to be tried again, also if nothing more is counted
                why = f"{self._files.path}: {files.why(error)}; usage would be lost by a reboot"
                self.problems = (why,)
        else:
            if due.durable:
                self.problems = ()


# --- the box's clock --------------------------------------------------------------------------------------


_TIME_ERROR = 5  # adjtimex(2): "the clock is not synchronised"
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd(8)


def synchronised() -> bool:
    """Whether a program synchronises the kernel's clock (ntpd, chrony, systemd-timesyncd)."""
    answer = _adjtimex()
    # A service with ProtectClock=yes must not call adjtimex(2) at all.
    return _TIMESYNCD.exists() if answer < 0 else answer != _TIME_ERROR


def _adjtimex() -> int:
    """Return the clock's state from adjtimex(2), without changing the clock; -1 if it cannot be called."""
    ask = _function("adjtimex")
    # struct timex has at most 208 bytes. If all are 0, adjtimex sets nothing.
    return -1 if ask is None else ask(ctypes.create_string_buffer(512))


@cache
def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library; None if it has no such function."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return found


def clock(now: float, boot: str) -> Clock:
    """Read the box's clock at `now` (Unix time); `boot` is the boot's id."""
    today = datetime.fromtimestamp(now).astimezone().date()  # months begin at local midnight
    return Clock(today, synchronised(), boot)


# --- in the agent -----------------------------------------------------------------------------------------


class DataPlans(Source, Output):
    """Counts the uplinks' usage once a second, and says which data plans are spent."""

    name = "metered"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._look: Look = lambda: None
        self._meter = Meter(config.agent.data_dir, config.agent.state_dir)
        self._boot = boot_id()
        self._first: Sequence[
            Interface
        ] = ()  # to count in the first pass, when each interface's plan is known
        self._settings = NO_SETTINGS
        self._devices: frozenset[str] = frozenset()
        self._writing: asyncio.Task[None] | None = None  # writes the ledger to the disk

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Continue from what was counted before."""
        self._look, self._first = look, links
        self._meter.load()

    async def stop(self) -> None:
        """Write what was counted."""
        if self._writing is not None:
            await self._writing
        if (data := self._meter.due(time.monotonic(), stopping=True)) is not None:
            self._meter.write(data)

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong with the file."""
        return self._meter.problems

    def configure(self, config: Config) -> None:
        """Use another configuration from now on."""
        self._config = config

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the spent data plans."""
        if self._first:
            choice = choose(of_links(facts.interfaces, facts.devices), self._config)
            self._count(self._first, choice.settings)
            self._first = ()
        return replace(facts, spent_plans=tuple(SpentDataPlan(*spent) for spent in self._meter.spent()))

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Count these uplinks from now on."""
        self._settings = goal.settings
        self._devices = frozenset(uplink.device for uplink in goal.uplinks)
        return ()

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Count, and write to the disk if that is due."""
        before = self._meter.spent()
        self._count([link for link in traffic.interfaces if link.name in self._devices], self._settings)
        if self._meter.spent() != before:
            self._look()
        idle = self._writing is None or self._writing.done()
        if idle and (data := self._meter.due(now_s)) is not None:
            # A worn SD card takes seconds: write in a thread, so that nothing waits for it.
            self._writing = asyncio.create_task(asyncio.to_thread(self._meter.write, data))

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """What was used of each plan."""
        return replace(sections, metered=section(self._meter.plans.values()))

    def _count(self, links: Iterable[Interface], settings: Settings) -> None:
        for line in self._meter.observe(links, settings, clock(time.time(), self._boot)):
            logger.warning("%s", line)
