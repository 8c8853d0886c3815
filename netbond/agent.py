"""The agent's loop: something happened, let it settle, read everything, decide, apply, publish.

Nothing is decided here: netbond.desired says what the box should be, netbond.plan what to change,
netbond.refusals and netbond.pacing what to make of what went wrong, and when to look again. One pass at a
time; whatever happens during a pass leads to another one. A pass that fails is logged, shown in status, and
tried again: a routing daemon on a remote box does not give up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from netbond import __version__
from netbond.announcements import changes, summary
from netbond.config.load import load
from netbond.config.reload import reloaded
from netbond.config.schema import Config
from netbond.conflicts import conflicts
from netbond.contracts import Output, Source, Traffic
from netbond.desired import Desired, desired
from netbond.errors import NetbondError
from netbond.kernel.client import Kernel
from netbond.model import FACTS_VERSION, Facts, Health
from netbond.outputs.address_list import AddressListFile
from netbond.outputs.engines import Engines
from netbond.outputs.kernel_settings import KernelSettings
from netbond.outputs.metrics import Metrics
from netbond.outputs.router_mode import RouterMode
from netbond.outputs.table_names import TableNames
from netbond.pacing import RESYNC_S, may_prune, next_look_s, settle_s
from netbond.plan import object_words, plan
from netbond.problems import Problems
from netbond.refusals import RETRY_S, barred, judge
from netbond.repair_backoff import RepairBackoff
from netbond.sources.health import HealthChecks
from netbond.sources.running import Sources, all_sources
from netbond.sources.taken_defaults import TakenDefaults
from netbond.status import snapshot
from netbond.status.control import Command, ControlServer, Peer
from netbond.status.schema import Snapshot
from netbond.system import clock
from netbond.system.realtime import RealtimePriority
from netbond.system.typed_json import to_json
from netbond.system.wake import Wake, pause
from netbond.watchers import netlink

logger = logging.getLogger(__name__)

TICK_S = 1.0  # between two readings of the byte counters

Found = TypeVar("Found")


class Agent:
    """`await Agent(config, file).run()` keeps the box right until SIGTERM or SIGINT."""

    def __init__(self, config: Config, config_file: Path | None) -> None:
        self.config = config
        self._config_file = config_file
        self._started = time.monotonic()
        self._wake = Wake()
        self._sources = Sources(all_sources(config), self._wake.look)
        self._engines = Engines(config, self._publish)
        self._outputs: tuple[Output, ...] = (
            TableNames(config),
            AddressListFile(),
            self._engines,
            KernelSettings(config),
            RouterMode(config),
            Metrics(config, lambda: self._published),
            *(source for source in self._sources.all if isinstance(source, Output)),
        )
        self._taken = next(source for source in self._sources.all if isinstance(source, TakenDefaults))
        self._health = next(source for source in self._sources.all if isinstance(source, HealthChecks))
        self._problems = Problems()
        self._backoff = RepairBackoff()
        self._realtime: RealtimePriority | None = None  # while it runs
        self._moved = False  # links or addresses have changed since the last pass
        self._refused: frozenset[str] | None = None  # what the kernel refused in the last pass
        self._barred: frozenset[Health] = frozenset()  # uplinks whose own default the kernel refuses
        self._read_cost_s = 0.0  # of a processor's time, for the last reading of the kernel
        self._passed = 0.0  # when the last pass ended, monotonic seconds
        self._goal = Desired()
        self._changes = 0  # routes and rules added and removed since the start
        self._traffic = Traffic()
        self._counted = self._started
        self._published: Snapshot | None = None

    # --- from start to stop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until told to stop. NetbondError if it cannot start; then nothing was changed."""
        async with contextlib.AsyncExitStack() as stack:
            kernel = await stack.enter_async_context(Kernel())
            await kernel.check_policy_routing()
            commands = {
                "status": Command(self._answer_status, anybody=True),
                "hook": Command(self._answer_hook),
                "facts": Command(lambda _request, _peer: self._answer_facts(kernel)),
            }
            control = ControlServer(self.config.agent.control_socket, commands)
            await control.start()
            stack.push_async_callback(control.stop)
            self._wake.heed_signals(stack)
            ready = asyncio.Event()
            watcher = asyncio.create_task(netlink.watch(self._news_of_kernel, self._health.neighbour, ready))
            stack.push_async_callback(_cancelled, watcher)
            await ready.wait()
            await self._sources.start(stack, await kernel.read_links())
            for output in self._outputs:
                stack.push_async_callback(output.stop)
                if not isinstance(output, Source):
                    await output.start(self._wake.look, ())
            await self._pass(kernel)
            await self._engines.run()
            # What is there by now stays: to go through it in each full collection would take 30 ms.
            gc.collect()
            gc.freeze()
            logger.info("running: %s", summary(self._goal.uplinks))
            self._realtime = RealtimePriority()
            self._realtime.update(0.0, wanted=self.config.agent.realtime)
            await self._loop(kernel)
            logger.info("stopping")
            if self.config.agent.on_stop == "remove":
                await self._leave(kernel)

    async def _loop(self, kernel: Kernel) -> None:
        """Passes and ticks until told to stop."""
        due = time.monotonic() + RESYNC_S
        tick = time.monotonic() + TICK_S
        while not self._wake.stopping():
            woken = await self._wake.wait(min(due, tick))
            if self._wake.stopping():
                return
            if woken or time.monotonic() >= due:
                await pause(settle_s(time.monotonic() - self._passed, self._read_cost_s))
                if self._wake.answered():  # only now: what came while it settled counts, too
                    self._reload()
                due = time.monotonic() + await self._pass(kernel)
            if time.monotonic() >= tick:
                tick = time.monotonic() + TICK_S
                await self._attempt("counting", self._count(kernel))

    def _news_of_kernel(self, moved: bool) -> None:
        """`moved`: of links or addresses."""
        self._moved |= moved
        self._wake.look()

    def _reload(self) -> None:
        """Read the configuration again; an invalid one leaves the old one in force."""
        try:
            read = load(self._config_file)
        except NetbondError as error:
            why = f"not reloaded, what was read before stays in force: {error}"
            self._problems.report("configuration", [why])
            return
        new, fixed = reloaded(self.config, read)
        self._problems.report(
            "configuration", [f"{key} has changed: restart netbond to apply it" for key in fixed]
        )
        logger.info("the configuration is reloaded%s", "" if new != self.config else "; nothing has changed")
        if new.agent.log_level != self.config.agent.log_level:  # --log-level holds until the key changes
            logging.getLogger("netbond").setLevel(new.agent.log_level.upper())
        self.config = new
        self._sources.configure(new)

    async def _leave(self, kernel: Kernel) -> None:
        """Take away what netbond put there; the box is as its DHCP clients left it."""
        left: list[object] = []
        for output in self._outputs:
            left += await output.leave()
        try:
            facts = await kernel.read()
            await self._taken.give_back(kernel, facts)
            left += await kernel.apply(plan(facts, Desired(), self.config.routing.protocol), facts.links)
        except OSError as error:
            left.append(f"routes and rules: {error}")
        for what in left:
            logger.error("left behind: %s", what)

    # --- one pass ------------------------------------------------------------------------------------------

    async def _pass(self, kernel: Kernel) -> float:
        """Look at everything and put it right; seconds until the next look that nothing asks for."""
        began = time.thread_time()
        pause_s = await self._attempt("a look at the kernel", self._reconcile(kernel))
        self._passed = time.monotonic()
        if self._realtime is not None:
            self._realtime.update(time.thread_time() - began, wanted=self.config.agent.realtime)
        if pause_s is None:
            self._moved = True  # that pass may have been the one to see it
            return RETRY_S
        return pause_s

    async def _attempt(self, what: str, work: Coroutine[Any, Any, Found]) -> Found | None:
        """What `work` returns; None if it failed, which is logged and shown until it succeeds again.

        Also for bugs of ours: exiting would stop the engines, and a restart would hit the same bug, while
        routes and streams that are right stay so without us.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        error = task.exception()
        if error is None:
            self._problems.report(what, ())
            return task.result()
        problem = f"{what} failed: {str(error) or type(error).__name__}; trying again"
        if not isinstance(error, OSError | NetbondError) and not self._problems.has(what, problem):
            logger.error("a bug in netbond", exc_info=error)
        self._problems.report(what, [problem])
        return None

    async def _reconcile(self, kernel: Kernel) -> float:
        moved, self._moved = self._moved, False
        began = time.thread_time()  # not what it waited for others
        read = await kernel.read()
        self._read_cost_s = time.thread_time() - began
        facts = self._facts(read)
        goal = await self._taken.settle(kernel, facts, desired(facts, self.config))
        now = time.monotonic()
        prune = may_prune(complete=self._sources.complete, since_start_s=now - self._started)
        operations = plan(facts, goal, self.config.routing.protocol, prune=prune)
        wanted = {*goal.routes, *goal.rules, *goal.nexthops, *goal.take}
        admitted, due = self._backoff.admit(operations, wanted, now, moved=moved)
        for operation in admitted:
            logger.debug("%s (%s)", operation.command(), operation.why)
        refusals = await kernel.apply(admitted, facts.links)
        self._changes += len(admitted) - len(refusals)
        judgement = judge(refusals, self._refused, moved=moved)
        self._refused = frozenset(map(str, refusals))
        if (found := barred(goal.uplinks, judgement.lasting)) != self._barred:
            self._barred = found
            self._wake.look()
        self._tell(facts, goal, judgement.problems)
        for output in self._outputs:
            self._problems.report(output.name, await output.apply(facts, goal, self.config))
        if not self._traffic.links:
            await self._count(kernel)
        self._publish()
        return next_look_s(judgement.retry_s, None if due is None else due - now)

    def _facts(self, read: Facts) -> Facts:
        facts = self._sources.facts(read, clock.now())
        return replace(facts, health=(*facts.health, *self._barred))

    # --- what people are told ------------------------------------------------------------------------------

    def _tell(self, facts: Facts, goal: Desired, refused: Sequence[str]) -> None:
        """What is wrong with routes and rules, and which uplinks have changed."""
        self._problems.report("routes", refused)
        contested = [
            f"another program keeps undoing: {object_words(what)}" for what in self._backoff.contested()
        ]
        self._problems.report("contested", contested)
        self._problems.report("idle", tuple(map(str, goal.idle)))
        self._problems.report("conflicts", conflicts(facts, goal, self.config))
        for line in changes(self._goal.uplinks, goal.uplinks):
            logger.info("%s", line)
        self._goal = goal

    async def _count(self, kernel: Kernel) -> None:
        """Byte counters into rates, and the engines' news into the snapshot."""
        try:
            links = await kernel.read_links()
        except OSError as error:
            logger.debug("reading byte counters failed: %s", error)
            return
        now = time.monotonic()
        rates = snapshot.rates(self._traffic.links, links, now - self._counted)
        self._traffic, self._counted = Traffic(links, rates, self._engines.states()), now
        self._sources.tick(self._traffic, now)
        self._publish()

    def _publish(self) -> None:
        for name, problems in self._sources.problems():
            self._problems.report(f"source {name}", problems)
        now = time.monotonic()
        file = None if self._config_file is None else str(self._config_file)
        self._published = snapshot.build(
            snapshot.AgentInfo(
                __version__, os.getpid(), self._started, file, self._changes, self._problems.lines()
            ),
            self._goal,
            self._traffic.links,
            self._engines.states(),
            ecmp_table=self.config.routing.ecmp_table,
            now=now,
            booted=clock.started(),
            current_rates=self._traffic.rates,
            sections=self._sources.sections({uplink.device for uplink in self._goal.uplinks}, now),
        )

    def _answer_status(self, _request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        self._publish()
        return {"status": to_json(self._published)}

    def _answer_hook(self, request: Mapping[str, Any], _peer: Peer) -> dict[str, Any]:
        logger.debug("hook: %r", request)
        self._wake.look()
        return {}

    async def _answer_facts(self, kernel: Kernel) -> dict[str, Any]:
        """What `netbond plan` and `netbond explain` decide by."""
        return {"version": FACTS_VERSION, "facts": to_json(self._facts(await kernel.read()))}


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
