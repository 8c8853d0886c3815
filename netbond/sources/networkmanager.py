"""Source: the gateways that NetworkManager knows, also across its restarts and the agent's."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netbond.config.schema import Config
from netbond.contracts import Look, Source
from netbond.dhcp.store import MANAGED, LeaseList
from netbond.model import Facts, GatewayClaim, Link
from netbond.sources.kept_leases import as_claim, as_lease
from netbond.system import files
from netbond.system.state_file import reason
from netbond.watchers import bus, networkmanager

logger = logging.getLogger(__name__)

SPEAK_WITHIN_S = 1.0  # how long the first pass waits for a service on the system bus


class NetworkManager(Source):
    """Follows NetworkManager on the system bus, if the configuration lets it."""

    name = "NetworkManager"

    def __init__(self, config: Config) -> None:
        self._followed = config.agent.networkmanager
        self._watcher = networkmanager.NetworkManagerWatcher()
        self._store = LeaseList(config.agent.state_dir / MANAGED)
        self._claims: tuple[GatewayClaim, ...] = ()  # what it said last
        self._keeps = config.agent.networkmanager  # what it said is kept for the next agent
        self._silent = False
        self._unkept = ""  # why they could not be kept

    async def start(self, look: Look, links: Sequence[Link]) -> None:
        """Follow it. A restart of the agent must not cut an uplink that only NetworkManager knows of."""
        if not self._followed:
            return
        self._recall()
        self._watcher.start(look)
        self._silent = not await self._watcher.reported(SPEAK_WITHIN_S)
        if self._silent:
            logger.info("%s has not answered yet", self.name)

    async def once(self) -> None:
        """What it said to the agent, as that kept it."""
        self._keeps = False
        if self._followed:
            self._recall()

    async def stop(self) -> None:
        """Follow it no more."""
        await self._watcher.stop()

    @property
    def problems(self) -> Sequence[str]:  # type: ignore[override]
        """That it hangs, and that what it said cannot be kept."""
        hangs = self._watcher.status() == bus.NOT_ANSWERING
        return (
            *((f"{self.name} does not answer: {self._watcher.reason()}",) if hangs else ()),
            *((self._unkept,) if self._unkept else ()),
        )

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Its gateways, and what it said before it was restarted."""
        here = {link.name for link in facts.links}
        before = [claim for claim in self._claims if claim.device in here]
        self._claims = networkmanager.claims(self._watcher.facts(), now_s, before)
        if self._keeps:
            self._keep()
        return replace(facts, claims=(*facts.claims, *self._claims))

    def complete(self) -> bool:
        """Whether it has said what it knows, or is known not to be there."""
        return not self._silent

    def tick(self, traffic: object, now_s: float) -> None:
        """It may have spoken by now."""
        if self._watcher.status() != bus.CONNECTING:
            self._silent = False

    def status(self, devices: Collection[str], now_s: float) -> Mapping[str, Any]:
        """What it knows of the uplinks' interfaces."""
        return {
            "networkmanager": {
                each.device: networkmanager.device_snapshot(each)
                for each in self._watcher.facts()
                if each.device in devices
            }
        }

    def _recall(self) -> None:
        try:
            self._claims = tuple(replace(claim, standing=True) for claim in map(as_claim, self._store.load()))
        except (OSError, ValueError) as error:
            logger.warning("%s: %s; ignored", self._store.path, reason(error))

    def _keep(self) -> None:
        try:
            self._store.save(map(as_lease, self._claims))
        except OSError as error:
            self._unkept = f"{self._store.path}: {files.why(error)}"
        else:
            self._unkept = ""
