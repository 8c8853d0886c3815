"""Runs the commands of [[hook]] when uplinks change. Output."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from netbond.config.schema import Config, HookConfig
from netbond.contracts import Look, Output
from netbond.desired import Desired
from netbond.hook_events import Conditions, Event, Queue, carry_on, conditions, events
from netbond.model import Facts, Interface
from netbond.programs.job import Job, variables
from netbond.programs.running import Outcome, in_unit_of_systemd, run
from netbond.programs.vetting import unfit

logger = logging.getLogger(__name__)

LEAVE_S = 2.0  # for which hooks that run when the agent stops may go on, if they are its children


class Hooks(Output):
    """One queue for each hook; a hook's command runs in a task, one at a time."""

    name = "hooks"

    def __init__(self) -> None:
        self._look: Look = lambda: None
        self._before: Conditions | None = None
        self._hooks: dict[str, HookConfig] = {}
        self._queues: dict[str, Queue] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, str] = {}
        self._transient = in_unit_of_systemd()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Call `look` when a hook has failed, or works again."""
        self._look = look

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Tell the hooks what has changed since the last pass, without waiting for them."""
        self._configure(config.hook)
        if not config.hook:
            self._before = None
            return ()
        now = conditions(facts, goal)
        news = events(self._before, now)
        self._before = carry_on(self._before, now)
        for event in news:
            for hook in config.hook:
                if event.kind in hook.events:
                    self._put(hook.name, event)
        found = [
            f"hook {hook.name} is not run: {reason}"
            for hook in config.hook
            if (reason := unfit(hook.command[0], hook.user))
        ]
        return [*found, *(f"hook {name} {said}" for name, said in self._failures.items())]

    def _configure(self, hooks: Sequence[HookConfig]) -> None:
        """Take over the configuration; a command that runs goes on to its end as it was started."""
        self._hooks = {hook.name: hook for hook in hooks}
        for name in self._queues.keys() - self._hooks.keys():
            self._give_up(name, "it is no longer configured")
        self._queues = {name: self._queues.get(name) or Queue() for name in self._hooks}
        self._failures = {name: said for name, said in self._failures.items() if name in self._hooks}

    def _give_up(self, name: str, why: str) -> None:
        for event in self._queues[name].waiting:
            logger.warning("hook %s: skipped %s, because %s", name, event, why)

    def _put(self, name: str, event: Event) -> None:
        if skipped := self._queues[name].put(event):
            logger.warning("hook %s: %s", name, skipped)
        if name not in self._tasks:
            task = asyncio.create_task(self._run(name), name=f"hook {name}")
            self._tasks[name] = task
            task.add_done_callback(lambda task: self._ended(name, task))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        if not task.cancelled() and task.exception() is not None:
            logger.error("hook %s failed", name, exc_info=task.exception())

    async def _run(self, name: str) -> None:
        while name in self._hooks and (event := self._queues[name].take()) is not None:
            began = time.monotonic()
            outcome = await self._tell(self._hooks[name], event)
            logger.info("hook %s: %s: %s (%.1f s)", name, event, outcome, time.monotonic() - began)
            failure = "" if outcome.status == 0 else f"failed at its last run: {event}: {outcome}"
            if name in self._hooks and failure != self._failures.pop(name, ""):
                self._look()
            if name in self._hooks and failure:
                self._failures[name] = failure

    async def _tell(self, hook: HookConfig, event: Event) -> Outcome:
        if reason := unfit(hook.command[0], hook.user):
            return Outcome(None, last_line=reason)
        told = variables(
            event=event.kind,
            uplink=event.uplink,
            device=event.device,
            reason=event.reason,
            in_use=" ".join(event.in_use),
        )
        job = Job(f"hook {hook.name}", hook.command, hook.user, hook.timeout, told)
        return await run(
            job, lambda line: logger.info("hook %s: %s", hook.name, line), transient=self._transient
        )

    async def stop(self) -> None:
        """Give hooks that run a moment, unless systemd looks after them; then end them."""
        await asyncio.sleep(0)  # what this very pass has begun
        tasks = dict(self._tasks)
        self._hooks.clear()  # so that nothing new begins
        for name in self._queues:
            self._give_up(name, "the agent stops")
        if tasks and not self._transient:
            await asyncio.wait(tasks.values(), timeout=LEAVE_S)
        for name, task in tasks.items():
            if not task.done():
                if not self._transient:
                    logger.warning("hook %s: ended, because the agent stops", name)
                task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
