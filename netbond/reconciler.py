"""Makes one pass of the agent: read the kernel, let sources add facts, decide, apply, publish.

It decides nothing itself. netbond.desired decides what the box should be, netbond.plan what to change,
netbond.refusals what follows from errors, and netbond.pacing when the next pass begins.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from netbond import __version__
from netbond.announcements import changes
from netbond.config.schema import Config
from netbond.conflicts import conflicts
from netbond.contracts import Output, Source, Traffic
from netbond.desired import Desired, desired
from netbond.events import News
from netbond.kernel.client import Kernel
from netbond.model import Facts, Health
from netbond.outputs.address_list import AddressListFile
from netbond.outputs.engines import Engines
from netbond.outputs.hooks import Hooks
from netbond.outputs.kernel_settings import KernelSettings
from netbond.outputs.metrics import Metrics
from netbond.outputs.page import Page
from netbond.outputs.router_mode import RouterMode
from netbond.outputs.table_names import TableNames
from netbond.pacing import is_sooner, look_at_expiry_s, may_prune, next_look_s
from netbond.plan import object_words, plan
from netbond.policies import words
from netbond.problems import NOTICE, Problem, Problems
from netbond.refusals import barred, judge, lines
from netbond.refused_legs import RefusedLegs
from netbond.repair_backoff import RepairBackoff
from netbond.sources.health import HealthChecks
from netbond.sources.kept_leases import HookLeases
from netbond.sources.overrides import Overrides
from netbond.sources.running import Sources, all_sources
from netbond.sources.taken_defaults import TakenDefaults
from netbond.status import snapshot
from netbond.status.advice_board import AdviceBoard
from netbond.status.assessment import Assessment
from netbond.status.event_log import EventLog
from netbond.status.notify import UnitStatus
from netbond.status.schema import Snapshot
from netbond.system import clock
from netbond.system.by_identity import forget_unused

logger = logging.getLogger(__name__)


class Reconciler:
    """The sources, the outputs, and what one pass must know of the one before."""

    def __init__(self, config: Config, config_file: Path | None, look: Callable[[], None]) -> None:
        """`look` is called when there is a reason for another pass."""
        self.config = config
        self._config_file = config_file
        self._look = look
        self._started = time.monotonic()
        self._sources = Sources(all_sources(config), look)
        self._taken = next(source for source in self._sources.all if isinstance(source, TakenDefaults))
        self.hook_leases = next(source for source in self._sources.all if isinstance(source, HookLeases))
        self.health = next(source for source in self._sources.all if isinstance(source, HealthChecks))
        self.overrides = next(source for source in self._sources.all if isinstance(source, Overrides))
        self.overrides.listen(self.tell)
        self.engines = Engines(config, self.publish)
        self.advice = AdviceBoard(lambda: self.published.engines if self.published is not None else ())
        self.engines.listen(lambda sender, advice: self.advice.post(sender, advice, time.monotonic()))
        self._table = RouterMode(config)
        self.page = Page(config_file)
        self.outputs: tuple[Output, ...] = (
            TableNames(config),
            AddressListFile(),
            self.engines,
            KernelSettings(config),
            self._table,
            Hooks(),
            Metrics(config, lambda: self.published, lambda: self.advice.lines(time.monotonic())),
            self.page,
            *(source for source in self._sources.all if isinstance(source, Output)),
        )
        self.problems = Problems(time.monotonic)
        self._assessment = Assessment(self.problems, time.monotonic)
        self.events = EventLog(config.agent.state_dir)
        self.systemd = UnitStatus(os.environ)
        self._passed = False  # whether there was a pass
        self.goal = Desired()
        self.read_cost_s = 0.0  # of a processor's time, for the last reading of the kernel
        self.published: Snapshot | None = None
        self._backoff = RepairBackoff()
        self._refused: frozenset[str] | None = None  # what the kernel refused in the last pass
        self._legs = RefusedLegs()
        self._barred: frozenset[Health] = frozenset()  # uplinks whose own default the kernel refuses
        self._expiry: float | None = None  # when to look because a route has expired, monotonic seconds
        self._changes = 0  # routes and rules added and removed since the start
        self._traffic = Traffic()
        self._counted = self._started

    async def start(self, stack: contextlib.AsyncExitStack, kernel: Kernel) -> None:
        """Start sources and outputs; `stack` stops them."""
        await self._sources.start(stack, await kernel.read_links())
        for output in self.outputs:
            if not isinstance(output, Source):  # else it is started already
                stack.push_async_callback(output.stop)
                await output.start(self._look, ())

    def configure(self, config: Config) -> None:
        """Take another configuration, from the next pass on."""
        self.config = config
        self._sources.configure(config)

    async def reconcile(self, kernel: Kernel, *, moved: bool) -> float:
        """Make the box right; seconds until the next pass that nothing asks for.

        `moved`: links or addresses have changed since the last pass.
        """
        forget_unused()
        began = time.thread_time()  # without the time that it waited for others
        read = await kernel.read()
        self.read_cost_s = time.thread_time() - began
        facts = self.facts(read)
        goal = await self._taken.settle(kernel, facts, desired(facts, self.config))
        now = time.monotonic()
        prune = may_prune(complete=self._sources.complete, since_start_s=now - self._started)
        operations = plan(facts, goal, self.config.routing.protocol, prune=prune)
        wanted = {*goal.routes, *goal.rules, *goal.nexthops, *goal.take}
        admitted, due = self._backoff.admit(operations, wanted, now, moved=moved)
        for operation in admitted:
            logger.debug("%s (%s)", operation.command(), operation.why)
        await self._table.prepare(facts, goal, self.config)
        refusals = await kernel.apply(admitted, facts.interfaces)
        self._backoff.refused(refusal.operation for refusal in refusals)
        self._changes += len(admitted) - len(refusals)
        judgement = judge(refusals, self._refused, moved=moved)
        self._refused = frozenset(map(str, refusals))
        if moved:
            self._legs.moved(now)
        unexplained = self._legs.learn(
            goal, facts.left_out, operations, judgement.lasting, self.config.routing, now
        )
        if trials := self._legs.trials(goal, self.config.routing):
            self._legs.tried(await kernel.apply(trials, facts.interfaces), now)
        if self._legs.left_out(now) != facts.left_out:
            self._look()
        if (found := barred(goal.uplinks, judgement.lasting)) != self._barred:
            self._barred = found
            self._look()
        self._tell(facts, goal, [*lines(unexplained), *self._legs.problems()])
        for output in self.outputs:
            self.problems.report(output.name, await output.apply(facts, goal, self.config))
        if not self._traffic.interfaces:
            await self.count(kernel)
        self.publish()
        return next_look_s(
            judgement.retry_s,
            self._legs.next_trial_s(now),
            None if due is None else due - now,
            self._next_expiry_s(facts, now),
        )

    def _next_expiry_s(self, facts: Facts, now: float) -> float | None:
        """In how many seconds to look because a route of another program has expired: no event says so."""
        expiries = [route.expires_s for route in facts.routes if route.expires_s is not None]
        found = look_at_expiry_s(expiries, None if self._expiry is None else self._expiry - now)
        self._expiry = None if found is None else now + found
        return found

    def facts(self, read: Facts) -> Facts:
        """What was read from the kernel, with all that is known besides."""
        facts = self._sources.facts(read, clock.now())
        return replace(
            facts,
            health=(*facts.health, *self._barred),
            left_out=self._legs.left_out(time.monotonic()),
            nft=self._table.usable(),
        )

    def _tell(self, facts: Facts, goal: Desired, refused: Sequence[str]) -> None:
        """What is wrong with routes and rules, and which uplinks have changed."""
        self.problems.report("routes", refused)
        contested = [
            f"another program keeps undoing: {object_words(what)}" for what in self._backoff.contested()
        ]
        self.problems.report("contested", contested)
        self.problems.report("idle", tuple(map(str, goal.idle)))
        self.problems.report("conflicts", conflicts(facts, goal, self.config))
        limits = [Problem("policy", line, severity=NOTICE) for line in words.limits(goal.policies)]
        self.problems.report("policies", [*words.problems(goal.policies), *limits])
        for line in changes(self.goal.uplinks, goal.uplinks):
            logger.debug("%s", line)
        for line in words.changes(self.goal.policies, goal.policies):
            if self._passed:
                name = line.partition(":")[0].removeprefix("policy ")
                self.tell(News("policy", name, line))
            else:  # what is so at the start is no news
                logger.info("%s", line)
        self.goal, self._passed = goal, True

    async def count(self, kernel: Kernel) -> None:
        """Once a second: byte counters into rates, and the engines' news into the snapshot.

        Lifetimes of routers, too: an advertisement that shortens one is no event.
        """
        try:
            links = await kernel.read_links()
            lifetimes = [] if self._expiry is None else await kernel.read_lifetimes()
        except OSError as error:
            logger.debug("reading byte counters failed: %s", error)
            return
        now = time.monotonic()
        if self._expiry is not None and is_sooner(lifetimes, self._expiry - now):
            self._look()
        rates = snapshot.rates(self._traffic.interfaces, links, now - self._counted)
        self._traffic, self._counted = Traffic(links, rates, self.engines.states()), now
        self._sources.tick(self._traffic, now)
        self.publish()

    def publish(self) -> Snapshot:
        """What is known now, for people and programs to read."""
        for name, problems in self._sources.problems():
            self.problems.report(f"source {name}", problems)
        now = time.monotonic()
        file = None if self._config_file is None else str(self._config_file)
        found = snapshot.build(
            snapshot.AgentInfo(__version__, os.getpid(), self._started, file, self._changes),
            self.goal,
            self._traffic.interfaces,
            self.engines.states(),
            ecmp_table=self.config.routing.ecmp_table,
            now=now,
            booted=clock.started(),
            current_rates=self._traffic.rates,
            sections=self._sources.sections({uplink.device for uplink in self.goal.uplinks}, now),
        )
        self.published = self._assessment.complete(found)
        self.systemd.tell(self.published.verdict, now)
        if self._passed:
            self.events.look(self.published, now, time.time())
        return self.published

    def tell(self, news: News) -> None:
        """Keep an event that no snapshot shows."""
        self.events.tell(news, time.monotonic(), time.time())

    async def leave(self, kernel: Kernel) -> None:
        """Remove what netbond added, so that the box is as its DHCP clients configured it."""
        left: list[object] = []
        for output in self.outputs:
            left += await output.leave()
        try:
            facts = await kernel.read()
            await self._taken.give_back(kernel, facts)
            left += await kernel.apply(plan(facts, Desired(), self.config.routing.protocol), facts.interfaces)
        except OSError as error:
            left.append(f"routes and rules: {error}")
        for what in left:
            logger.error("left behind: %s", what)
