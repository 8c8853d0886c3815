"""The loop: something happened, settle, read everything, decide, apply, publish.

All I/O of the agent meets here, and nothing is decided here: netbond.plan says what to do. One pass at a
time; whatever happens during a pass leads to another one. A pass that fails is logged, shown in status, and
tried again: a routing daemon on a remote box does not give up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import time
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from netbond import __version__
from netbond.config.load import load
from netbond.config.reload import reloaded
from netbond.config.schema import Config
from netbond.conflicts import clashes
from netbond.desired import Desired, desired
from netbond.engines.address_list import AddressList
from netbond.engines.supervisor import Supervisor
from netbond.errors import NetbondError
from netbond.kernel import sysctls
from netbond.kernel.client import Failure, Kernel
from netbond.kernel.iproute2_names import NameFiles
from netbond.kernel.restore import give_back
from netbond.kernel.taken_defaults import merged
from netbond.model import Facts, Health, Link, Rate, Route, Uplink
from netbond.plan import object_words, plan
from netbond.repair_backoff import Pace
from netbond.router import nft, ruleset
from netbond.sources.running import Sources
from netbond.status import snapshot
from netbond.status.control import Command, ControlServer, Peer
from netbond.status.metrics import MetricsServer
from netbond.system import clock
from netbond.system.realtime import Haste
from netbond.usability import DEAD
from netbond.watchers import netlink

logger = logging.getLogger(__name__)

# One change is several events (an address comes with its routes): wait for the rest of them, but not for a
# storm to end. Everything is read anew in any case, so what comes later is not lost. The first news after a
# while of quiet is attended to sooner than in a storm.
SETTLE = 0.0005  # seconds
SETTLE_BUSY = 0.002  # seconds, when the last pass is more recent than
QUIET = 0.005  # seconds
TICK = 1.0  # seconds between two readings of the byte counters
RESYNC = 10.0  # seconds between two passes that nothing asked for: the kernel does not tell everything
RETRY = 1.0  # seconds after a pass that failed
AGAIN = 0.05  # seconds after something was refused for the first time
PATIENCE = 10.0  # seconds after the start during which what looks stale stays if a source has not spoken yet
NFT_WAIT = 0.25  # seconds that a pass waits for nft
NFT_LEAVE = 4.0  # seconds that the end waits for it
RENAME = 10.0  # seconds after which the files of names are looked at again, if nothing has changed

Found = TypeVar("Found")


class Agent:
    """`await Agent(config, file).run()` keeps the box right until SIGTERM or SIGINT."""

    def __init__(self, config: Config, config_file: Path | None) -> None:
        self.config = config
        self._started = time.monotonic()
        self._info = snapshot.AgentInfo(
            __version__, os.getpid(), self._started, None if config_file is None else str(config_file)
        )
        state_dir = config.agent.state_dir
        self._sources = Sources(config, self._news)
        self._sysctls = sysctls.Sysctls(state_dir)
        self._router = nft.Router(state_dir)
        self._names = NameFiles(config.agent.iproute2_dir)
        self._named: tuple[object, float] = (None, 0.0)  # what names were written, and when
        self._addresses = _address_list(config)
        self._config_file = config_file
        self._supervisor = Supervisor(
            (*config.sender, *config.receiver),
            state_dir=state_dir,
            user=config.agent.user,
            changed=self._publish,
        )
        self._pace = Pace()
        self._haste: Haste | None = None  # while it runs
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hung_up = False
        self._review_sysctls = False  # after a reload: some may have to go back
        self._refused: set[str] | None = None  # what the kernel refused in the last pass
        self._barred: frozenset[Health] = frozenset()  # uplinks whose own default the kernel refuses
        self._cost = 0.0  # seconds of a processor's time that the last reading of the kernel took
        self._passed = 0.0  # when the last pass ended, monotonic seconds
        self._moved = False  # links or addresses have changed since the last pass
        self._rearranging: asyncio.Task[None] | None = None
        self._filtering: asyncio.Task[None] | None = None  # router mode's table is being brought up to date
        self._filter_again = False  # and what it is brought up to is history already
        self._goal = Desired()
        self._links: tuple[Link, ...] = ()
        self._rates: dict[str, Rate] = {}
        self._counted = self._started
        self._counted_links: tuple[Link, ...] = ()
        self._problems: dict[str, tuple[str, ...]] = {}  # by where they come from; shown until they are gone
        self._changes = 0
        self._published: dict[str, Any] = {}

    # --- from start to stop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until told to stop. NetbondError if it cannot start; then nothing was changed."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            kernel = await stack.enter_async_context(Kernel())
            await kernel.check_policy_routing()
            control = ControlServer(
                self.config.agent.control_socket,
                {"status": Command(self._answer_status, anybody=True), "hook": Command(self._answer_hook)},
            )
            await control.start()
            stack.push_async_callback(control.stop)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop)
                stack.callback(loop.remove_signal_handler, number)
            loop.add_signal_handler(signal.SIGHUP, self._hangup)
            stack.callback(loop.remove_signal_handler, signal.SIGHUP)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # `netbond run` held it back
            self._start_metrics(stack)
            ready = asyncio.Event()
            watcher = asyncio.create_task(netlink.watch(self._look, self._sources.neighbour, ready))
            stack.push_async_callback(_cancelled, watcher)
            await ready.wait()
            await self._sources.start(stack, await kernel.read_links())
            stack.enter_context(nft.watch(self._nftables_changed))
            await self._pass(kernel)
            await self._supervisor.start()
            stack.push_async_callback(self._supervisor.stop)
            # What is there by now stays: to go through it in each full collection would take 30 ms.
            gc.collect()
            gc.freeze()
            logger.info("running: %s", _summary(self._goal.uplinks))
            self._haste = Haste()
            self._haste.judge(0.0, wanted=self.config.agent.realtime)
            await self._loop(kernel)
            logger.info("stopping")
            if self.config.agent.on_stop == "remove":
                await self._leave(kernel)

    async def _loop(self, kernel: Kernel) -> None:
        """Passes and ticks until told to stop."""
        due = time.monotonic() + RESYNC
        tick = time.monotonic() + TICK
        while not self._stopping.is_set():
            await self._sleep_until(min(due, tick))
            if self._stopping.is_set():
                return
            if self._wake.is_set() or time.monotonic() >= due:
                await self._settle()
                self._wake.clear()
                if self._hung_up:  # only now: what came while it settled counts, too
                    self._reload()
                due = time.monotonic() + min(RESYNC, await self._pass(kernel))
            if time.monotonic() >= tick:
                tick = time.monotonic() + TICK
                await self._attempt("counting", self._count(kernel))

    async def _sleep_until(self, moment: float) -> None:
        """Until `moment` (monotonic seconds), an event, or the word to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(moment - time.monotonic()):
                await self._wake.wait()

    async def _settle(self) -> None:
        """Let the rest of what happens come in."""
        if time.monotonic() - self._passed > QUIET and self._cost < SETTLE_BUSY:
            until = time.monotonic() + SETTLE
            while time.monotonic() < until:  # noqa: ASYNC110 - the loop's clock counts milliseconds
                await asyncio.sleep(0)
        else:
            # With very many routes reading takes its time: no more than half of ours.
            await asyncio.sleep(max(SETTLE_BUSY, self._cost))

    def _stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def _look(self, moved: bool) -> None:
        """The kernel has news; `moved`: of links or addresses."""
        self._moved |= moved
        self._wake.set()

    def _news(self) -> None:
        """One of the other sources has news."""
        self._wake.set()

    def _nftables_changed(self) -> None:
        if self.config.router.lan:
            self._wake.set()

    def _hangup(self) -> None:
        self._hung_up = True
        self._wake.set()

    def _reload(self) -> None:
        """Read the configuration again; an invalid one leaves the old one in force."""
        self._hung_up = False
        try:
            new = load(self._config_file)
        except NetbondError as error:
            self._report("configuration", [f"not reloaded, what was read before stays in force: {error}"])
            return
        old = self.config
        self.config, need_restart = reloaded(old, new)
        new = self.config
        self._report(
            "configuration", [f"{key} has changed: restart netbond to apply it" for key in need_restart]
        )
        if new.agent.iproute2_dir != old.agent.iproute2_dir:
            self._names.remove()
            self._names = NameFiles(new.agent.iproute2_dir)
            self._named = (None, 0.0)
        self._addresses = _address_list(new)
        if new.agent.log_level != old.agent.log_level:
            logging.getLogger("netbond").setLevel(new.agent.log_level.upper())
        self._sources.configure(new)
        self._review_sysctls |= (old.sysctl, old.router) != (new.sysctl, new.router)
        engines = (*new.sender, *new.receiver)
        if engines != (*old.sender, *old.receiver):
            # Engines that end take up to three seconds, and routing does not wait for them.
            self._rearranging = asyncio.create_task(self._rearrange(self._rearranging))
        logger.info("the configuration is reloaded%s", "" if new != old else "; nothing has changed")

    async def _rearrange(self, before: asyncio.Task[None] | None) -> None:
        """The engines as the configuration wants them now; one such change at a time."""
        if before is not None:
            await asyncio.wait([before])
        await self._supervisor.reconfigure((*self.config.sender, *self.config.receiver))

    def _start_metrics(self, stack: contextlib.AsyncExitStack) -> None:
        listen = self.config.agent.metrics
        if listen is None:
            return
        metrics = MetricsServer(listen.host, listen.port, lambda: self._published)
        try:
            metrics.start()
        except NetbondError as error:
            # Routing matters more than being watched.
            logger.error("no metrics: %s", error)
            self._problems["metrics"] = (str(error),)
        else:
            stack.callback(metrics.stop)

    async def _leave(self, kernel: Kernel) -> None:
        """Take away what netbond put there; the box is as its DHCP clients left it."""
        await self._unfilter()
        for problem in self._sysctls.restore():
            logger.error("left behind: %s", problem)
        try:
            facts = await kernel.read()
            await self._give_back(kernel, facts)
            failures = await kernel.apply(plan(facts, Desired(), self.config.routing.protocol), facts.links)
        except OSError as error:
            logger.error("left behind: routes and rules: %s", error)
        else:
            for failure in failures:
                logger.error("left behind: %s", failure)
        for problem in self._names.remove():
            logger.error("left behind: %s", problem)

    # --- one pass ------------------------------------------------------------------------------------------

    async def _pass(self, kernel: Kernel) -> float:
        """Look at everything and put it right; seconds until the next look that nothing asks for."""
        began = time.thread_time()
        pause = await self._attempt("a look at the kernel", self._reconcile(kernel))
        self._passed = time.monotonic()
        if self._haste is not None:
            self._haste.judge(time.thread_time() - began, wanted=self.config.agent.realtime)
        if pause is None:
            self._moved = True  # that pass may have been the one to see it
            return RETRY
        return pause

    async def _attempt(self, what: str, work: Coroutine[Any, Any, Found]) -> Found | None:
        """What `work` returns; None if it failed, which is logged and shown until it succeeds again.

        Also for mistakes of ours: to end for one would stop the engines, and the next start would meet it
        again, while routes and streams that are right stay so without us.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        error = task.exception()
        if error is None:
            self._report(what, [])
            return task.result()
        problem = f"{what} failed: {str(error) or type(error).__name__}; trying again"
        if not isinstance(error, OSError | NetbondError) and (problem,) != self._problems.get(what):
            logger.error("a mistake in netbond", exc_info=error)
        self._report(what, [problem])
        return None

    async def _reconcile(self, kernel: Kernel) -> float:
        moved, self._moved = self._moved, False
        began = time.thread_time()  # not what it waited for others
        read = await kernel.read()
        self._cost = time.thread_time() - began
        facts = self._sources.facts(read, clock.now())
        facts = replace(facts, health=(*facts.health, *self._barred))
        goal = desired(facts, self.config)
        now = time.monotonic()
        if self.config.routing.take_over_default:
            goal = replace(goal, take=self._record(facts, goal.take))
        else:
            await self._give_back(kernel, facts)
        prune = self._sources.complete or now - self._started > PATIENCE
        operations = plan(facts, goal, self.config.routing.protocol, prune=prune)
        wanted = {*goal.routes, *goal.rules, *goal.nexthops, *goal.take}
        admitted, due = self._pace.admit(operations, wanted, now, moved=moved)
        for operation in admitted:
            logger.debug("%s (%s)", operation.command(), operation.why)
        failures = await kernel.apply(admitted, facts.links)
        self._changes += len(admitted) - len(failures)
        refused = {str(failure) for failure in failures}
        # What is refused once may be a link that went down meanwhile; what is refused again while no link or
        # address moves is worth a word.
        lasting = refused if self._refused is None else set() if moved else refused & self._refused
        self._refused = refused
        self._report("routes", sorted(lasting))
        self._bar(goal.uplinks, [failure for failure in failures if str(failure) in lasting])
        self._report(
            "fight", [f"another program keeps undoing: {object_words(what)}" for what in self._pace.fights()]
        )
        self._report("idle", goal.idle)
        self._report("clashes", clashes(facts, goal, self.config))
        self._tell_changes(goal.uplinks)
        self._goal = goal
        self._hand_out(goal)
        await self._forward(goal, facts)
        self._sources.decided(goal)
        if not self._links:
            await self._count(kernel)
        self._publish()
        if refused:
            return RETRY if refused == lasting else AGAIN
        return RESYNC if due is None else max(0.0, due - now)

    def _bar(self, uplinks: Iterable[Uplink], lasting: Iterable[Failure]) -> None:
        """Uplinks with a gateway that the kernel does not take count as down: a group with one of them would
        be refused as a whole, and the default of all others stay as it is, whatever becomes of them.
        """
        refused = {
            (failure.operation.what.table, failure.operation.what.family)
            for failure in lasting
            if isinstance(failure.operation.what, Route)
            and failure.operation.what.destination.prefixlen == 0
            and failure.error != errno.EEXIST
        }
        barred = frozenset(
            Health(
                uplink.device, uplink.family, "down", "the kernel refuses its gateway", 0.0, uplink.address.ip
            )
            for uplink in uplinks
            if (uplink.table, uplink.family) in refused
        )
        if barred != self._barred:
            self._barred = barred
            self._wake.set()

    def _record(self, facts: Facts, take: tuple[Route, ...]) -> tuple[Route, ...]:
        """Remember defaults before they are taken out of main; those that may be taken."""
        try:
            self._sources.defaults.save(merged(facts.taken, take))
        except (OSError, ValueError) as error:
            self._report("defaults", [f"defaults in main stay: {self._sources.defaults.path}: {error}"])
            return ()
        self._report("defaults", [])
        return take

    async def _give_back(self, kernel: Kernel, facts: Facts) -> None:
        """Put back into main what was taken out of it."""
        try:
            _, failures = await give_back(kernel, self._sources.defaults, facts)
        except (OSError, ValueError) as error:
            self._report("defaults", [f"{self._sources.defaults.path}: {error}"])
        else:
            for failure in failures:
                logger.info("not put back: %s", failure)

    async def _forward(self, goal: Desired, facts: Facts) -> None:
        """Kernel settings, then router mode: forwarding before the table that relies on it."""
        local = replace(self.config, uplink=goal.settings)
        inside = ruleset.lan(facts.links, goal.uplinks, local)

        def wanted(observed: sysctls.Observed) -> list[sysctls.Change]:
            return sysctls.wanted(goal.uplinks, local, observed, lan=inside.devices, links=facts.links)

        changes = wanted(self._sysctls.read)
        for change in changes:
            logger.info("%s", change.line())
        problems = self._sysctls.apply(changes)
        if self._review_sysctls:
            # What the configuration before wanted and this one does not.
            self._review_sysctls = False
            problems += self._sysctls.restore(keep={change.name for change in wanted(self._sysctls.before)})
        self._report("sysctls", problems)
        if self._filtering is not None and not self._filtering.done():
            self._filter_again = True
            return
        self._filter_again = False
        self._filtering = asyncio.create_task(self._filter(goal.uplinks, facts.links, local))
        # It takes milliseconds. If not, routing does not wait for it.
        await asyncio.wait([self._filtering], timeout=NFT_WAIT)

    async def _filter(self, uplinks: tuple[Uplink, ...], links: tuple[Link, ...], config: Config) -> None:
        """Router mode's table as it should be now; one run at a time."""
        try:
            self._report("router", await self._router.sync(uplinks, links, config))
        except NetbondError as error:
            self._report("router", [str(error)])
        if self._filter_again:
            self._wake.set()

    async def _unfilter(self) -> None:
        """Router mode's table goes, within a time that a service manager grants."""
        if self._filtering is not None:
            await _cancelled(self._filtering)
        try:
            async with asyncio.timeout(NFT_LEAVE):
                await self._router.remove()
        except NetbondError as error:
            logger.error("left behind: %s", error)
        except TimeoutError:
            logger.error("left behind: router mode's nftables table, as nft does not finish")

    def _hand_out(self, goal: Desired) -> None:
        """Tell those who need to know which uplinks there are."""
        routing = self.config.routing
        tables = {uplink.name: uplink.table for uplink in goal.uplinks}
        key, now = (tables, routing.ecmp_table), time.monotonic()
        if key != self._named[0] or now - self._named[1] > RENAME:
            self._named = (key, now)
            self._report("names", self._names.write(tables, routing.ecmp_table, routing.protocol))
        update = self._addresses.update(goal.uplinks)
        self._report("ip_list", update.problems)
        if update.notified:
            logger.info("told of the new address list: process %s", ", ".join(map(str, update.notified)))
        self._supervisor.set_links(
            [
                {
                    "label": uplink.name if uplink.family == 4 else f"{uplink.name}/6",
                    "address": str(uplink.address.ip),
                    "device": uplink.device,
                    "priority": uplink.priority,
                    "enabled": uplink.streams,
                }
                for uplink in goal.uplinks
                # A dead uplink stays a link: the engine judges links itself, and is first to hear of life.
                if uplink.in_list or uplink.state == DEAD
            ]
        )

    # --- what people are told ------------------------------------------------------------------------------

    def _report(self, source: str, problems: Iterable[str]) -> None:
        """These are the problems of `source` now; a new one is logged, once."""
        found = tuple(problems)
        for problem in found:
            if problem not in self._problems.get(source, ()):
                logger.warning("%s", problem)
        self._problems[source] = found

    def _tell_changes(self, uplinks: tuple[Uplink, ...]) -> None:
        before = {(uplink.name, uplink.family): uplink for uplink in self._goal.uplinks}
        now = {(uplink.name, uplink.family): uplink for uplink in uplinks}
        for name, family in before.keys() - now.keys():
            logger.info("%s is no IPv%d uplink any more", name, family)
        for key, uplink in now.items():
            if before.get(key) != uplink:
                logger.info("%s", describe(uplink))

    async def _count(self, kernel: Kernel) -> None:
        """Byte counters into rates, and the engines' news into the snapshot."""
        try:
            links = await kernel.read_links()
        except OSError as error:
            logger.debug("reading byte counters failed: %s", error)
            return
        now = time.monotonic()
        self._rates = snapshot.rates(self._counted_links, links, now - self._counted)
        self._counted_links, self._counted = links, now
        self._links = links
        self._sources.tick(links, self._rates, self._supervisor.states(), now)
        self._publish()

    def _publish(self) -> None:
        for source, found in self._sources.problems.items():
            self._report(f"source {source}", found)
        problems = tuple(problem for found in self._problems.values() for problem in found)
        self._published = snapshot.build(
            replace(self._info, changes=self._changes, problems=problems),
            self._goal,
            self._links,
            self._supervisor.states(),
            ecmp_table=self.config.routing.ecmp_table,
            now=time.monotonic(),
            booted=clock.started(),
            current_rates=self._rates,
            sections=self._sources.sections(time.monotonic()),
        )

    def _answer_status(self, _request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        self._publish()
        return {"status": self._published}

    def _answer_hook(self, request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        logger.debug("hook: %r", request)
        self._wake.set()
        return {}


def _address_list(config: Config) -> AddressList:
    agent = config.agent
    return AddressList(
        agent.ip_list,
        devices=agent.ip_list_devices,
        ipv6=agent.ip_list_ipv6,
        empty=agent.ip_list_empty,
        pid_file=agent.notify_pid_file,
        process=agent.notify_process,
    )


def describe(uplink: Uplink) -> str:
    """An uplink in a line of the log."""
    way = "point-to-point" if uplink.gateway is None else f"via {uplink.gateway}"
    state = uplink.state + (f" ({uplink.reason})" if uplink.reason not in ("", uplink.state) else "")
    return f"{uplink.name} is {state}: {uplink.address} {way} ({uplink.gateway_source}), table {uplink.table}"


def _summary(uplinks: tuple[Uplink, ...]) -> str:
    usable = list(dict.fromkeys(uplink.name for uplink in uplinks if uplink.usable))
    return f"{len(usable)} uplinks ({', '.join(usable)})" if usable else "no uplinks yet"


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
