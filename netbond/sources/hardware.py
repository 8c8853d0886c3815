"""Reports the hardware of each interface, from udev and /sys. Source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from netbond.contracts import Look, Source
from netbond.model import Device, Facts, Interface
from netbond.status.schema import HardwareStatus, Sections
from netbond.watchers.udev import Udev


class Hardware(Source):
    """The port, maker and serial number of each interface."""

    name = "udev"

    def __init__(self) -> None:
        self._udev = Udev()
        self._devices: tuple[Device, ...] = ()  # as of the last pass

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Follow udev."""
        self._udev.start(look)

    async def stop(self) -> None:
        """Stop following udev."""
        self._udev.stop()

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Add the devices of the interfaces that exist."""
        self._devices = self._udev.devices({link.name: link.index for link in facts.interfaces})
        return replace(facts, devices=self._devices)

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """What is known of the uplinks' hardware."""
        # A pass follows each change. To ask again each second is to read a file for each interface.
        known = {each.name: HardwareStatus.of(each) for each in self._devices if each.name in devices}
        return replace(sections, hardware=known)
