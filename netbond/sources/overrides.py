"""Keeps what people have set of uplinks, sets it, and tells when its time is over. Source and output."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netbond.config.schema import Config
from netbond.contracts import Look, Output, Source, Traffic
from netbond.desired import Desired
from netbond.errors import UnavailableError, UsageError
from netbond.events import News
from netbond.match import UNMATCHED
from netbond.model import Facts, Interface
from netbond.overrides import (
    SAVE_INTERVAL_S,
    WHATS,
    Moment,
    Setting,
    by_whom,
    checked,
    configured,
    earlier,
    elapsed_s,
    ended,
    from_file,
    left_without,
    named,
    overrides,
    same_boot,
    to_file,
    told,
    undoing,
    with_setting,
    without,
    words,
)
from netbond.sources.data_plans import synchronised
from netbond.status.protocol import SetReply, SetRequest, UnsetRequest
from netbond.status.schema import OverrideStatus, Sections, Snapshot
from netbond.system import clock, files
from netbond.system.state_file import StateFile
from netbond.system.text import quoted

FILE = "overrides.json"  # in data_dir
LARGEST_FILE_BYTES = 1 << 18
APPLIED_S = 2.0  # for the pass that follows; it takes milliseconds

Tell = Callable[[News], None]


def moment() -> Moment:
    """What the clocks say now."""
    return Moment(clock.boot_id(), clock.now(), time.time(), synchronised())


class Overrides(Source, Output):
    """What people have set, in memory and in the file."""

    name = "overrides"

    def __init__(self, config: Config) -> None:
        self.settings: tuple[Setting, ...] = ()
        self._path: Path = config.agent.data_dir / FILE
        self._file = StateFile(self._path, "overrides", LARGEST_FILE_BYTES)
        self._look: Look = lambda: None
        self._tell: Tell = lambda _news: None
        self._problems: tuple[str, ...] = ()
        self._goal = Desired()
        self._written: Moment | None = None  # when the file was, if a boot before this one did
        self._old: frozenset[tuple[str, str]] = frozenset()  # of that file, not set anew since
        self._unread = False  # the file is there, and could not be read: without descriptors, for example
        self._due_s = float("inf")  # when to write what is left of the time, in seconds since boot
        self._changing = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._applied = asyncio.Event()

    def listen(self, tell: Tell) -> None:
        """Call `tell` when something is set, is unset, or its time is over."""
        self._tell = tell

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Go on with what was set before."""
        self._look = look
        await self.once()

    async def once(self) -> None:
        """Read the file."""
        now = moment()
        self._unread, self._problems = False, ()
        try:
            self.settings, written = from_file(self._file.read(), now)
        except FileNotFoundError:
            return
        except OSError as error:
            self._unread = True
            self._problems = (f"{self._path}: {files.why(error)}; what people have set is not in force",)
            return
        except ValueError as error:
            self._problems = (f"{self._path}: {error}; what people have set is not in force",)
            return
        if written.synchronised and not now.synchronised and not same_boot(written, now):
            self._written = written
            self._old = frozenset((one.uplink, one.what) for one in self.settings)
        self._plan_save(now.boot_s)

    async def stop(self) -> None:
        """Write what is left of the time."""
        for task in (self._reading, self._saving):
            if task is not None:
                await task
        if any(one.until_s is not None for one in self.settings):
            await self._save()

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong with the file."""
        return self._problems

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add what is set; what is over counts no longer."""
        over = ended(self.settings, now_s)
        return replace(facts, overrides=overrides(one for one in self.settings if one not in over))

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Remember what the configuration says."""
        self._goal = goal
        if facts.overrides == overrides(self.settings):
            self._applied.set()
        return ()

    async def set(self, request: SetRequest, snapshot: Snapshot) -> SetReply:
        """Set what is asked for, on the disk and in the kernel; `snapshot` is of now.

        NetbondError: there is no such uplink, it cannot be, or nothing would be left.
        """
        what, for_s, by = request.what, request.for_s, by_whom(request.by)
        value = checked(what, request.value, for_s)
        name = named(request.uplink, snapshot, self.settings)
        warnings = []
        if value == "off" and (families := left_without(name, snapshot.uplinks)):
            lost = " and ".join(f"IPv{family}" for family in families)
            if not request.yes:
                raise UnavailableError(
                    f"{name} is the last uplink that works for {lost}, and nothing takes its place",
                    "if you mean it, add --yes; with --for 10min, too, it comes back by itself",
                )
            warnings.append(f"no uplink is left for {lost}")
        if all(name != uplink.name for uplink in snapshot.uplinks):
            warnings.append(f"{name} is not there now; it holds when it is")
        before = self._set_of(name, what)

        def changed(settings: tuple[Setting, ...], now_s: float) -> tuple[Setting, ...]:
            until_s = None if for_s is None else now_s + for_s
            return with_setting(settings, Setting(name, what, value, by, now_s, until_s))

        text = told(name, what, value, by, for_s)
        unwritten = await self._change(changed, News("set", name, text))
        return SetReply(
            text,
            undoing(name, what, before),
            before,
            (*warnings, *([unwritten] if unwritten else [])),
        )

    async def unset(self, request: UnsetRequest, snapshot: Snapshot) -> SetReply:
        """Take back what was set; NetbondError: there is no such uplink, or no such thing to set."""
        what = request.what
        if what not in ("", *WHATS):
            raise UsageError(f"{quoted(what)} cannot be set", f"what can be is {', '.join(WHATS)}")
        name = named(request.uplink, snapshot, self.settings, anyway=True)
        before = self._set_of(name, what)
        if not before:
            return SetReply(f"nothing is set of {name}", "", ())
        old = ", ".join(words(one.what, one.value).removeprefix("set ") for one in before)
        text = f"{name}: {old} unset by {by_whom(request.by)}"
        unwritten = await self._change(
            lambda settings, _now_s: without(settings, name, what), News("set", name, text)
        )
        return SetReply(text, undoing(name, what, before), before, (unwritten,) if unwritten else ())

    def _set_of(self, uplink: str, what: str) -> tuple[OverrideStatus, ...]:
        return tuple(one for one in self._shown() if one.uplink == uplink and (not what or one.what == what))

    async def _change(
        self, make: Callable[[tuple[Setting, ...], float], tuple[Setting, ...]], news: News
    ) -> str:
        """Replace the settings by what `make` makes of them at this time, in seconds since boot.

        Returns when that is on the disk, and the agent has made a pass: why it could not be written, or "".
        """
        async with self._changing:
            if self._unread:
                await self.once()
            before, self.settings = self.settings, make(self.settings, clock.now())
            new = {(one.uplink, one.what) for one in self.settings if one not in before}
            self._old -= new
            self._applied.clear()
            self._tell(news)
            self._look()
            await self._save()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(APPLIED_S):
                await self._applied.wait()
        return self._problems[0] if self._problems else ""

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """End what is over, and write what is left of the time, if that is due."""
        if self._unread and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read_again())
        now = clock.now()
        if not self.settings and now < self._due_s:
            return
        if self._written is not None and synchronised():
            self._catch_up(self._written, moment())
        if over := ended(self.settings, now):
            self.settings = tuple(one for one in self.settings if one not in over)
            for one in over:
                self._tell(News("set", one.uplink, f"{one.uplink}: {words(one.what, one.value)} ended"))
            self._look()
            self._due_s = now
        if now >= self._due_s and (self._saving is None or self._saving.done()):
            self._saving = asyncio.create_task(self._save())

    async def _read_again(self) -> None:
        async with self._changing:
            if self._unread:
                await self.once()
        if not self._unread:
            self._look()

    def _catch_up(self, written: Moment, now: Moment) -> None:
        """A time server has set the clock: it is known how long the box was off."""
        self.settings = earlier(self.settings, self._old, elapsed_s(written, now) - now.boot_s)
        self._written = None
        self._due_s = now.boot_s

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """What is set."""
        return replace(sections, overrides=self._shown())

    def _shown(self) -> tuple[OverrideStatus, ...]:
        now = clock.now()
        there = {uplink.name: uplink.device for uplink in self._goal.uplinks}
        order = {what: place for place, what in enumerate(WHATS)}
        return tuple(
            OverrideStatus(
                *(one.uplink, one.what, one.value, one.by, round(now - one.set_s, 1)),
                None if one.until_s is None else round(max(0.0, one.until_s - now), 1),
                configured(one.what, self._goal.settings.get(there[one.uplink], UNMATCHED))
                if one.uplink in there
                else None,
            )
            for one in sorted(self.settings, key=lambda one: (one.uplink, order[one.what]))
        )

    async def _save(self) -> None:
        async with self._writing:
            now = moment()
            content = to_file(self.settings, now)
            self._plan_save(now.boot_s)
            # A worn SD card takes seconds: write in a thread, so that nothing waits for it.
            self._problems = await asyncio.to_thread(self._write, content)

    def _write(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        try:
            self._file.write(content, durable=True, indent=1)
        except OSError as error:
            return (f"{self._path}: {files.why(error)}; what is set would be lost by a restart",)
        return ()

    def _plan_save(self, now_s: float) -> None:
        timed = any(one.until_s is not None for one in self.settings)
        self._due_s = now_s + SAVE_INTERVAL_S if timed else float("inf")
