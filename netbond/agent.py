"""Runs the agent's loop: wait for an event, let events settle, make a pass, wait again.

There is one pass at a time (netbond.reconciler); an event during a pass leads to another pass. A pass that
fails is logged, shown in status, and retried: a routing daemon on a remote box must not give up.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from netbond import __version__
from netbond.announcements import summary
from netbond.config.load import load
from netbond.config.reload import reloaded
from netbond.config.schema import Config
from netbond.errors import NetbondError
from netbond.events import News
from netbond.kernel.client import Kernel
from netbond.model import FACTS_VERSION
from netbond.pacing import RESYNC_S, settle_s
from netbond.problems import NOTICE, Problem
from netbond.reconciler import Reconciler
from netbond.refusals import RETRY_S
from netbond.srtla.watch import WatchLine
from netbond.status.control import Command, ControlServer, Peer, Subscription
from netbond.status.protocol import (
    EventsReply,
    EventsRequest,
    FactsReply,
    FactsRequest,
    HookReply,
    HookRequest,
    SetReply,
    SetRequest,
    StatusReply,
    StatusRequest,
    UnsetRequest,
    WatchRequest,
)
from netbond.status.snapshot import for_everybody
from netbond.system.file_change import FileChange
from netbond.system.realtime import RealtimePriority
from netbond.system.wake import Wake, pause
from netbond.watchers import netlink

logger = logging.getLogger(__name__)

TICK_S = 1.0  # between two readings of the byte counters
UNREAD_S = 30.0  # for which the configuration file may be another than what was read: it is being edited
STOP_GRACE_S = 3.0  # for a pass that runs when the agent is told to stop; the unit gives 10 s for all
RELOAD_HINT = "check it with netbond config check, then systemctl reload netbond"

Found = TypeVar("Found")


class Agent:
    """`await Agent(config, file).run()` keeps routes, rules and outputs right until SIGTERM or SIGINT."""

    def __init__(self, config: Config, config_file: Path | None) -> None:
        self._config_file = config_file
        self._wake = Wake()
        self._reconciler = Reconciler(config, config_file, self._wake.look)
        self._problems = self._reconciler.problems
        self._realtime: RealtimePriority | None = None  # while it runs
        self._moved = False  # links or addresses have changed since the last pass
        self._file_change = FileChange(config_file)
        self._passed = 0.0  # when the last pass ended, monotonic seconds

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._reconciler.config

    # --- from start to stop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until told to stop. NetbondError if it cannot start; then nothing was changed."""
        async with contextlib.AsyncExitStack() as stack:
            kernel = await stack.enter_async_context(Kernel())
            await kernel.check_policy_routing()
            await self._open_control_socket(stack, kernel)
            self._wake.heed_signals(stack)
            start = asyncio.create_task(self._start(stack, kernel))
            if not await self._wake.finish(start, 0.0):
                await asyncio.wait({start}, timeout=STOP_GRACE_S)
                if self.config.agent.on_stop == "remove":
                    await self._reconciler.leave(kernel)
                return
            start.result()
            self._reconciler.systemd.ready()
            # The objects that exist now stay: scanning them would take 30 ms in each full collection.
            gc.collect()
            gc.freeze()
            stack.callback(lambda: self._reconciler.events.close(time.monotonic()))
            running = f"netbond {__version__} running: {summary(self._reconciler.goal.uplinks)}"
            self._reconciler.tell(News("started", "", running))
            self._realtime = RealtimePriority()
            self._realtime.update(0.0, time.monotonic(), wanted=self.config.agent.realtime)
            await self._loop(kernel)
            self._reconciler.systemd.stopping()
            self._reconciler.tell(News("stopped", "", "netbond is stopping"))
            if self.config.agent.on_stop == "remove":
                await self._reconciler.leave(kernel)

    async def _start(self, stack: contextlib.AsyncExitStack, kernel: Kernel) -> None:
        """All that may take time; what it has started is stopped by `stack`, also if it is cancelled."""
        await self._watch_kernel(stack)
        await self._reconciler.start(stack, kernel)
        await self._pass(kernel)
        await self._reconciler.engines.run()

    async def _watch_kernel(self, stack: contextlib.AsyncExitStack) -> None:
        ready = asyncio.Event()
        watcher = asyncio.create_task(
            netlink.watch(self._news_of_kernel, self._reconciler.health.neighbour, ready)
        )
        stack.push_async_callback(_cancelled, watcher)
        await ready.wait()

    def _news_of_kernel(self, moved: bool) -> None:
        """`moved`: of links or addresses."""
        self._moved |= moved
        self._wake.look()

    async def _loop(self, kernel: Kernel) -> None:
        """Make passes, and count traffic at each tick, until told to stop."""
        due = time.monotonic() + RESYNC_S
        tick = time.monotonic() + TICK_S
        while not self._wake.stopping():
            woken = await self._wake.wait(min(due, tick))
            if self._wake.stopping():
                return
            if woken or time.monotonic() >= due:
                await pause(settle_s(time.monotonic() - self._passed, self._reconciler.read_cost_s))
                reload = self._wake.answered()  # asked only now, because events during the pause count, too
                if reload:
                    self._reconciler.systemd.reloading(time.monotonic())
                    self._reload()
                due = time.monotonic() + await self._pass(kernel)
                if reload:
                    self._reconciler.systemd.ready()
            if time.monotonic() >= tick:
                tick = time.monotonic() + TICK_S
                self._look_at_file()
                await self._attempt("counting", self._reconciler.count(kernel))

    def _reload(self) -> None:
        """Read the configuration again; if it is invalid, keep the old one."""
        old = self.config
        self._file_change.read()
        try:
            read = load(self._config_file)
        except NetbondError as error:
            why = f"not reloaded, what was read before stays in force: {error}"
            file = str(self._config_file or "")
            self._problems.report("configuration", [Problem("configuration", why, file, RELOAD_HINT)])
            return
        new, fixed = reloaded(old, read)
        self._problems.report("configuration", map(_restart_needed, fixed))
        text = f"the configuration is reloaded{'' if new != old else '; nothing has changed'}"
        self._reconciler.tell(News("reloaded", str(self._config_file or ""), text))
        if new.agent.log_level != old.agent.log_level:  # --log-level holds until the key changes
            logging.getLogger("netbond").setLevel(new.agent.log_level.upper())
        self._reconciler.configure(new)

    def _look_at_file(self) -> None:
        """Say that the configuration file has changed, if nobody asks to read it again."""
        changed_s = self._file_change.look(time.monotonic())
        found = []
        if changed_s is not None and changed_s >= UNREAD_S:
            text = f"{self._config_file} has changed since it was read"
            found = [Problem("configuration-unread", text, str(self._config_file), RELOAD_HINT, NOTICE)]
        self._problems.report("configuration file", found)

    # --- one pass ------------------------------------------------------------------------------------------

    async def _pass(self, kernel: Kernel) -> float:
        """Make one pass; return the seconds until the next one, if no event comes first."""
        moved, self._moved = self._moved, False
        began = time.thread_time()
        with _without_collections():
            pass_ = self._reconciler.reconcile(kernel, moved=moved)
            pause_s = await self._attempt("a look at the kernel", pass_)
        self._passed = time.monotonic()
        if self._realtime is not None:
            cost_s = time.thread_time() - began
            self._realtime.update(cost_s, self._passed, wanted=self.config.agent.realtime)
        if pause_s is None:
            self._moved = True  # the failed pass may have consumed the change
            return RETRY_S
        self._reconciler.systemd.alive(self._passed)
        return pause_s

    async def _attempt(self, what: str, work: Coroutine[Any, Any, Found]) -> Found | None:
        """Return what `work` returns; None if it fails, which is logged and shown until it succeeds again.

        It also catches netbond's own bugs: exiting would stop the engines, and a restart would hit the same
        bug. Routes and streams that are right stay right without the agent.
        """
        task = asyncio.create_task(work)
        if not await self._wake.finish(task, STOP_GRACE_S):
            return None
        error = task.exception()
        if error is None:
            self._problems.report(what, ())
            return task.result()
        problem = f"{what} failed: {str(error) or type(error).__name__}; trying again"
        if not isinstance(error, OSError | NetbondError) and not self._problems.has(what, problem):
            logger.error("a bug in netbond", exc_info=error)
        self._problems.report(what, [problem])
        return None

    # --- what it is asked ----------------------------------------------------------------------------------

    async def _open_control_socket(self, stack: contextlib.AsyncExitStack, kernel: Kernel) -> None:
        async def facts(_request: FactsRequest, _peer: Peer) -> FactsReply:
            return FactsReply(FACTS_VERSION, self._reconciler.facts(await kernel.read()))

        def status(_request: StatusRequest, peer: Peer) -> StatusReply:
            found = self._reconciler.publish()
            return StatusReply(found if peer.privileged else for_everybody(found))

        def hook(request: HookRequest, _peer: Peer) -> HookReply:
            logger.debug("hook: %r", request)
            took = self._reconciler.hook_leases.hear(request)
            self._wake.look()
            return HookReply(took)

        async def set_override(request: SetRequest, _peer: Peer) -> SetReply:
            return await self._reconciler.overrides.set(request, self._reconciler.publish())

        async def unset_override(request: UnsetRequest, _peer: Peer) -> SetReply:
            return await self._reconciler.overrides.unset(request, self._reconciler.publish())

        def watch(request: WatchRequest) -> AsyncGenerator[WatchLine, None]:
            return self._reconciler.advice.follow(request.sender)

        def events(request: EventsRequest, _peer: Peer) -> EventsReply:
            return EventsReply(self._reconciler.events.since(request.since))

        def follow_events(request: EventsRequest) -> AsyncGenerator[EventsReply, None]:
            return self._reconciler.events.follow(request.since)

        async def doctor(_request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
            return await self._reconciler.page.doctor.findings()

        setting = {
            "set": Command.typed(SetRequest, set_override),
            "unset": Command.typed(UnsetRequest, unset_override),
        }
        commands: dict[str, Command | Subscription] = {
            "events": Command.typed(EventsRequest, events, anybody=True),
            "follow-events": Subscription.typed(EventsRequest, follow_events, anybody=True),
            "status": Command.typed(StatusRequest, status, anybody=True),
            "hook": Command.typed(HookRequest, hook),
            **setting,
            "facts": Command.typed(FactsRequest, facts),
            "watch": Subscription.typed(WatchRequest, watch, anybody=True),
        }
        control = ControlServer(self.config.agent.control_socket, commands)
        await control.start()
        stack.push_async_callback(control.stop)
        # All that the web page may ask: a page that is taken over can do this, and no more.
        of_page: dict[str, Command | Subscription] = {
            **{name: commands[name] for name in ("status", "watch", "follow-events")},
            "doctor": Command(doctor),
        }
        setting_of_page = {name: _by_page(command) for name, command in setting.items()}
        self._reconciler.page.serve = lambda connection: control.hand(
            connection, {**of_page, **setting_of_page} if self.config.page.control else of_page
        )


def _by_page(command: Command) -> Command:
    """The command as the web page may give it: in its own name."""

    async def by_page(request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        reply = command.handle({**request, "by": "the web page"}, peer)
        return await reply if inspect.isawaitable(reply) else reply

    return Command(by_page)


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Have Python look for cycles of objects afterwards, not between a change and its routes."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _restart_needed(key: str) -> Problem:
    text = f"{key} has changed: restart netbond to apply it"
    return Problem("configuration-restart", text, key, "systemctl restart netbond")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
