"""Reports the leases of systemd-networkd's own DHCP client. Source."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from netbond.contracts import Look, Source
from netbond.model import Facts, Interface
from netbond.watchers.networkd import Networkd


class NetworkdLeases(Source):
    """The leases that systemd-networkd keeps in /run/systemd/netif/leases."""

    name = "systemd-networkd"

    def __init__(self) -> None:
        self._networkd = Networkd()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Watch its folder."""
        self._networkd.start(look)

    async def stop(self) -> None:
        """Stop watching its folder."""
        self._networkd.stop()

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add its leases of the interfaces that exist."""
        found = self._networkd.leases(facts.interfaces, now_s, time.time())
        return replace(facts, leases=(*facts.leases, *found))
