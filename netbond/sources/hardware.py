"""Reports the hardware of each interface, from udev and /sys. Source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from netbond.contracts import Look, Source
from netbond.model import Facts, Interface
from netbond.status.schema import HardwareStatus, Sections
from netbond.watchers.udev import Udev


class Hardware(Source):
    """The port, maker and serial number of each interface."""

    name = "udev"

    def __init__(self) -> None:
        self._udev = Udev()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Follow udev."""
        self._udev.start(look)

    async def stop(self) -> None:
        """Stop following udev."""
        self._udev.stop()

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the devices of the interfaces that exist."""
        return replace(
            facts, devices=self._udev.devices({link.name: link.index for link in facts.interfaces})
        )

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """What is known of the uplinks' hardware."""
        known = {each.name: HardwareStatus.of(each) for each in self._udev.devices() if each.name in devices}
        return replace(sections, hardware=known)
