"""Reports which modems roam, and what ModemManager knows about each modem. Source."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from netbond.config.schema import Config
from netbond.model import Facts
from netbond.sources.bus_source import BusSource
from netbond.status.schema import Sections
from netbond.watchers import modemmanager


class ModemManager(BusSource[modemmanager.Modem]):
    """Follows ModemManager. Until it answers after a restart, modems that roamed before count as roaming."""

    name = "ModemManager"

    def __init__(self, config: Config) -> None:
        self._modems = modemmanager.ModemManagerWatcher()
        self._file = modemmanager.RoamingFile(config.agent.state_dir)
        self._kept: frozenset[str] = frozenset()  # the content of that file
        super().__init__(self._modems, self._file.path, followed=config.agent.modemmanager)

    def recall(self) -> None:
        """Use the modems that roamed when the last agent ended."""
        self._kept = self._file.load()
        self._modems.recall(self._kept)

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the interfaces whose modem is roaming."""
        modems = self._watcher.facts()
        devices = {device for modem in modems for device in modem.devices}
        roaming = frozenset(d for d in devices if modemmanager.excluded_by_roaming(modems, d))
        if roaming != self._kept:
            self.keep(lambda: self._save(roaming))
        return replace(facts, roaming=roaming)

    def _save(self, roaming: frozenset[str]) -> None:
        self._file.save(roaming)
        self._kept = roaming

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """The modems of the uplinks by interface, and those of none with the reason."""
        modems = self._watcher.facts()
        return replace(
            sections,
            modems={
                device: modemmanager.modem_snapshot(modem)
                for modem in modems
                for device in modem.devices
                if device in devices
            },
            idle_modems=tuple(
                modemmanager.idle_modem(modem) for modem in modems if set(devices).isdisjoint(modem.devices)
            ),
        )
