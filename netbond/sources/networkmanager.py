"""Reports gateways and metered interfaces as NetworkManager knows them, also across its restarts. Source."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from netbond.config.schema import Config
from netbond.dhcp.store import MANAGED, LeaseList
from netbond.model import Facts, GatewayClaim
from netbond.sources.bus_source import BusSource
from netbond.sources.kept_leases import as_claim, as_lease
from netbond.status.schema import Sections
from netbond.watchers import networkmanager


class NetworkManager(BusSource[networkmanager.NMDevice]):
    """The gateways that NetworkManager has configured, or had configured before it was restarted."""

    name = "NetworkManager"

    def __init__(self, config: Config) -> None:
        self._store = LeaseList(config.agent.state_dir / MANAGED)
        self._claims: tuple[GatewayClaim, ...] = ()  # its latest report
        self._metered: frozenset[str] = frozenset()
        super().__init__(
            networkmanager.NetworkManagerWatcher(), self._store.path, followed=config.agent.networkmanager
        )

    def recall(self) -> None:
        """Use the claims that the last agent kept."""
        self._claims = tuple(replace(as_claim(lease), standing=True) for lease in self._store.load())

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add its gateways, and what it says is metered; while it restarts, those from before."""
        here = {link.name for link in facts.interfaces}
        before = [claim for claim in self._claims if claim.device in here]
        devices = self._watcher.facts()
        self._claims = networkmanager.claims(devices, now_s, before)
        self._metered = networkmanager.metered(devices, self._metered & here) & here
        self.keep(lambda: self._store.save(map(as_lease, self._claims)))
        return replace(facts, claims=(*facts.claims, *self._claims), metered=self._metered)

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """What it knows of the uplinks' interfaces."""
        known = {
            each.device: networkmanager.device_snapshot(each)
            for each in self._watcher.facts()
            if each.device in devices
        }
        return replace(sections, networkmanager=known)
