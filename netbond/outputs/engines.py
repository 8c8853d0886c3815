"""Runs the SRTLA engines of the configuration, and sends senders their links. Output."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from netbond.config.schema import Config
from netbond.contracts import Output
from netbond.desired import Desired
from netbond.engines.child import EngineConfig
from netbond.engines.supervisor import AdviceListener, Supervisor
from netbond.engines.user import engine_user
from netbond.model import EngineState, Facts, Uplink
from netbond.problems import Problem
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process.protocol import Links
from netbond.usability import stream_links

logger = logging.getLogger(__name__)


def link_specs(uplinks: Iterable[Uplink]) -> tuple[LinkSpec, ...]:
    """The links that a sender has over these uplinks."""
    return tuple(
        LinkSpec(
            label=uplink.name if uplink.family == 4 else f"{uplink.name}/6",
            address=str(uplink.address.ip),
            device=uplink.device,
            priority=uplink.priority,
            enabled=uplink.streams,
            metered=uplink.metered,
        )
        for uplink in stream_links(uplinks)
    )


class Engines(Output):
    """One child process for each [[sender]] and [[receiver]]."""

    name = "engines"

    def __init__(self, config: Config, changed: Callable[[], object]) -> None:
        """`changed` is called when the state of an engine is another."""
        self._wanted: tuple[EngineConfig, ...] = (*config.sender, *config.receiver)
        # Once: where users are known from a server, a lookup takes its time.
        user, self._user_problem = engine_user(config.agent.user)
        self._supervisor = Supervisor(
            self._wanted, state_dir=config.agent.state_dir, user=user, changed=changed
        )
        self._rearranging: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Start the engines; called after the first pass, which sets kernel settings and finds the links."""
        if self._user_problem is not None and self._wanted:
            logger.warning("%s; %s", self._user_problem.text, self._user_problem.hint)
        await self._supervisor.start()

    async def stop(self) -> None:
        """Stop all engines."""
        await self._supervisor.stop()

    def listen(self, listener: AdviceListener) -> None:
        """Call it with the name of a sender and each advice that it gives, as soon as it comes."""
        self._supervisor.advice_listeners.append(listener)

    def states(self) -> tuple[EngineState, ...]:
        """Return the state of each engine, in the order of the configuration."""
        return self._supervisor.states()

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str | Problem]:
        """Send senders their links, and run the engines of the configuration."""
        self._supervisor.set_links(Links(link_specs(goal.uplinks)))
        wanted: tuple[EngineConfig, ...] = (*config.sender, *config.receiver)
        if wanted != self._wanted:
            self._wanted = wanted
            # An engine takes up to three seconds to stop; routing must not wait for that.
            self._rearranging = asyncio.create_task(self._rearrange(self._rearranging))
        user = (self._user_problem,) if self._user_problem is not None and wanted else ()
        return (*user, *self._supervisor.problems())

    async def _rearrange(self, before: asyncio.Task[None] | None) -> None:
        """Change the engines after the change before has finished."""
        if before is not None:
            await asyncio.wait([before])
        await self._supervisor.reconfigure(self._wanted)
