"""Keeps router mode's nftables table, and deletes the connections of dead uplinks. Output."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from netbond.config.schema import Config, RouterConfig
from netbond.contracts import Look, Output
from netbond.desired import Desired
from netbond.errors import NetbondError
from netbond.lan import Lan, lan_interfaces
from netbond.model import Facts, Interface, Uplink
from netbond.router import nft

WAIT_S = 0.25  # how long a pass waits for nft
LEAVE_S = 4.0  # how long leave() waits for nft


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

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Begin to update the table; if that takes longer than WAIT_S, return the last update's problems."""
        self._on = bool(config.router.lan)
        if self._syncing is not None and not self._syncing.done():
            return self._problems  # its end leads to another pass
        inside = lan_interfaces(facts.interfaces, goal.uplinks, config.router, goal.settings)
        self._syncing = asyncio.create_task(self._sync(goal.uplinks, inside, config.router))
        self._overdue = False
        _, running = await asyncio.wait([self._syncing], timeout=WAIT_S)
        self._overdue = bool(running)
        return self._problems

    async def _sync(self, uplinks: tuple[Uplink, ...], inside: Lan, router: RouterConfig) -> None:
        try:
            found: Sequence[str] = await self._router.sync(uplinks, inside, router)
        except NetbondError as error:
            found = [str(error)]
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
            return ["router mode's nftables table, because nft does not finish"]
        return ()
