"""Source: which modems roam, and what ModemManager knows of them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netbond.config.schema import Config
from netbond.contracts import Look, Source
from netbond.model import Facts, Link
from netbond.system import files
from netbond.system.state_file import StateFileError, reason
from netbond.watchers import bus, modemmanager

logger = logging.getLogger(__name__)

SPEAK_WITHIN_S = 1.0  # how long the first pass waits for a service on the system bus


class ModemManager(Source):
    """Follows ModemManager on the system bus, if the configuration lets it."""

    name = "ModemManager"

    def __init__(self, config: Config) -> None:
        self._followed = config.agent.modemmanager
        self._watcher = modemmanager.ModemManagerWatcher()
        self._file = modemmanager.RoamingFile(config.agent.state_dir)
        self._kept: frozenset[str] = frozenset()  # what stands in that file
        self._keeps = config.agent.modemmanager  # what it said is kept for the next agent
        self._silent = False
        self._unkept = ""

    async def start(self, look: Look, links: Sequence[Link]) -> None:
        """Follow it; until it speaks, modems that roamed when the last agent ended still do."""
        if not self._followed:
            return
        self._recall()
        self._watcher.start(look)
        self._silent = not await self._watcher.reported(SPEAK_WITHIN_S)
        if self._silent:
            logger.info("%s has not answered yet", self.name)

    async def once(self) -> None:
        """Which modems roamed when the agent last heard of it."""
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
        """The interfaces whose modem is in a foreign network."""
        modems = self._watcher.facts()
        devices = {device for modem in modems for device in modem.devices}
        roaming = frozenset(d for d in devices if modemmanager.excluded_by_roaming(modems, d))
        if self._keeps and roaming != self._kept:
            self._keep(roaming)
        return replace(facts, roaming=roaming)

    def complete(self) -> bool:
        """Whether it has said what it knows, or is known not to be there."""
        return not self._silent

    def tick(self, traffic: object, now_s: float) -> None:
        """It may have spoken by now."""
        if self._watcher.status() != bus.CONNECTING:
            self._silent = False

    def status(self, devices: Collection[str], now_s: float) -> Mapping[str, Any]:
        """The modems of the uplinks by interface, and those of none with the reason."""
        modems = self._watcher.facts()
        return {
            "modems": {
                device: modemmanager.modem_snapshot(modem)
                for modem in modems
                for device in modem.devices
                if device in devices
            },
            "idle_modems": [
                {
                    "device": modem.device or None,
                    "why": modemmanager.why_idle(modem),
                    **modemmanager.modem_snapshot(modem),
                }
                for modem in modems
                if set(devices).isdisjoint(modem.devices)
            ],
        }

    def _recall(self) -> None:
        try:
            self._kept = self._file.load()
        except (OSError, StateFileError) as error:
            logger.warning("%s: %s; ignored", self._file.path, reason(error))
        else:
            self._watcher.recall(self._kept)

    def _keep(self, roaming: frozenset[str]) -> None:
        try:
            self._file.save(roaming)
        except OSError as error:
            self._unkept = f"{self._file.path}: {files.why(error)}"
        else:
            self._kept, self._unkept = roaming, ""
