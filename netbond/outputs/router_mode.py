"""Keeps netbond's nftables table, and deletes the connections of dead uplinks. Output."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from netbond.config.schema import Config, RouterConfig
from netbond.contracts import Look, Output
from netbond.desired import Desired
from netbond.errors import KernelLacksError, NetbondError, UnavailableError
from netbond.lan import Lan
from netbond.model import Facts, Interface, Uplink
from netbond.router import nft

WAIT_S = 0.25  # how long a pass waits for nft
LEAVE_S = 4.0  # how long leave() waits for nft
LOOK_FOR_S = 10.0  # between two looks whether nft is installed
RETRY_S = 600.0  # until a kernel that could not hold flows is asked again


class RouterMode(Output):
    """Updates the table in a task of its own, because routing must not wait for a slow `nft`."""

    name = "router"

    def __init__(self, config: Config) -> None:
        self._router = nft.Router(config.agent.state_dir)
        self._on = bool(config.router.lan)
        self._look: Look = lambda: None
        self._watching = contextlib.ExitStack()
        self._syncing: asyncio.Task[None] | None = None
        self._overdue = False  # the pass that began the update did not wait for its end
        self._problems: Sequence[str] = ()
        self._prepared = False  # the table was there before the routes
        self._installed = False  # nft, when somebody looked
        self._looked: float | None = None  # monotonic seconds
        self._lacking_until = 0.0  # the kernel cannot hold flows by marks; monotonic seconds

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Watch nftables, and call `look` when another program changes rules."""
        self._look = look
        self._watching.enter_context(nft.watch(self._changed))

    async def stop(self) -> None:
        """Stop watching nftables."""
        self._watching.close()

    def _changed(self) -> None:
        if self._on:
            self._look()

    def usable(self) -> bool:
        """Whether forwarded flows can be held by a table of nftables: `Facts.nft`."""
        now = time.monotonic()
        if self._looked is None or now - self._looked > LOOK_FOR_S:
            self._installed, self._looked = nft.installed() is not None, now
        return self._installed and now >= self._lacking_until

    async def prepare(self, facts: Facts, goal: Desired, config: Config) -> None:
        """Make the table before routes change, if there is none yet: flows would move with the routes."""
        if not goal.inside.held:
            self._prepared = False
        elif not self._prepared:
            self._prepared = True
            await self.apply(facts, goal, config)

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Begin to update the table; if that takes longer than WAIT_S, return the last update's problems."""
        self._on = bool(config.router.lan or goal.inside.held)
        if self._syncing is not None and not self._syncing.done():
            return self._problems  # its end leads to another pass
        self._syncing = asyncio.create_task(self._sync(goal.uplinks, goal.inside, config.router))
        self._overdue = False
        _, running = await asyncio.wait([self._syncing], timeout=WAIT_S)
        self._overdue = bool(running)
        return self._problems

    async def _sync(self, uplinks: tuple[Uplink, ...], inside: Lan, router: RouterConfig) -> None:
        try:
            found: Sequence[str] = await self._router.sync(uplinks, inside, router)
        except NetbondError as error:
            found = [str(error)]
            if not router.lan and isinstance(error, nft.NftError | KernelLacksError | UnavailableError):
                # Nobody has asked for the table. The next pass holds flows in another way.
                found, self._lacking_until = (), time.monotonic() + RETRY_S
                self._look()
        self._problems = found
        if self._overdue:
            self._look()

    async def leave(self) -> Sequence[str]:
        """Remove the table, in less time than a service manager waits."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._router.remove()
        except NetbondError as error:
            return [str(error)]
        except TimeoutError:
            return ["netbond's nftables table, because nft does not finish"]
        return ()
