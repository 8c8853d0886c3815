"""Records the defaults that netbond takes out of main, and puts them back. Source."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from netbond.config.schema import Config
from netbond.contracts import Source
from netbond.desired import Desired, refusing_families
from netbond.kernel.client import Kernel
from netbond.kernel.taken_defaults import DefaultStore, give_back, merged, still_valid
from netbond.model import Facts, Route
from netbond.system.state_file import reason

logger = logging.getLogger(__name__)


class TakenDefaults(Source):
    """With `take_over_default`, netbond takes other programs' defaults out of main until the agent stops."""

    name = "defaults"

    def __init__(self, config: Config) -> None:
        self._problems: Sequence[str] = ()
        self._unread = False
        self._takes = config.routing.take_over_default
        self._protocol = config.routing.protocol
        self._store = DefaultStore(config.agent.state_dir)

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong with the record."""
        return self._problems

    def configure(self, config: Config) -> None:
        """Use another configuration from now on."""
        self._takes = config.routing.take_over_default

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the defaults that are still valid: they name a gateway as if they were in main."""
        if not self._takes:
            return facts
        try:
            found = self._store.load()
        except (OSError, ValueError) as error:
            self._problems = (f"{self._store.path}: {reason(error)}",)
            self._unread = True
            return facts
        return replace(facts, taken=tuple(route for route in found if still_valid(route, facts)))

    async def settle(self, kernel: Kernel, facts: Facts, goal: Desired) -> Desired:
        """Return the goal, with only the defaults to take that are recorded; called before the plan is made.

        Without `take_over_default`, put the recorded defaults back into main.
        """
        if self._unread:  # a record that is none is replaced now, and the problem is over
            self._unread = False
            logger.warning("%s; the defaults in it are not put back", "; ".join(self._problems))
        self._problems = ()
        if not self._takes:
            await self.give_back(kernel, facts)
            return goal
        refusing = refusing_families(facts, self._protocol)
        if any(route.family in refusing for route in facts.taken):
            # Something refuses all that main's defaults do not lead out: without them, everything.
            await self.give_back(kernel, facts, refusing)
        kept = tuple(route for route in facts.taken if route.family not in refusing)
        return replace(goal, take=self._record(kept, goal.take))

    def _record(self, taken: tuple[Route, ...], take: tuple[Route, ...]) -> tuple[Route, ...]:
        try:
            self._store.save(merged(taken, take))
        except (OSError, ValueError) as error:
            self._problems = (f"defaults in main stay: {self._store.path}: {reason(error)}",)
            return ()
        return take

    async def give_back(self, kernel: Kernel, facts: Facts, families: Collection[int] = (4, 6)) -> None:
        """Put the recorded defaults of these families back into main."""
        try:
            _, failures = await give_back(kernel, self._store, facts, families)
        except (OSError, ValueError) as error:
            self._problems = (f"{self._store.path}: {reason(error)}",)
        else:
            for failure in failures:
                logger.info("not put back: %s", failure)
