"""Source: the leases of systemd-networkd's own DHCP client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from netbond.contracts import Look, Source
from netbond.model import Facts, Link
from netbond.watchers.networkd import Networkd


class NetworkdLeases(Source):
    """What systemd-networkd has in /run/systemd/netif/leases."""

    name = "systemd-networkd"

    def __init__(self) -> None:
        self._networkd = Networkd()

    async def start(self, look: Look, links: Sequence[Link]) -> None:
        """Watch its folder."""
        self._networkd.start(look)

    async def stop(self) -> None:
        """Watch it no more."""
        self._networkd.stop()

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Its leases of the interfaces that are there."""
        found = self._networkd.leases(facts.links, now_s, time.time())
        return replace(facts, leases=(*facts.leases, *found))
