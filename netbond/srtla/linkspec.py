"""A sender's link as it is asked for, by the agent or by a list file, and the checks of its parts."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

MAX_LINKS = 64  # in one list
MAX_PRIORITY = 100

_DEVICE = re.compile(r"[^\s/\0%]{1,15}")  # IFNAMSIZ - 1


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A link as it was asked for: a local address, and the device it must leave by ("": any)."""

    label: str
    address: str
    device: str = ""
    priority: int = 0  # links of a higher one carry first
    enabled: bool = True  # False: registered and probed like the others, but given no packets
    metered: bool = False  # its data costs money: only what the stream itself needs is sent over it

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same link when a new list arrives."""
        return (self.address, self.device)

    @property
    def family(self) -> int:
        """4 or 6: a link reaches receivers' addresses of its own family only."""
        return 6 if ":" in self.address else 4


def make_link(label: object, address: object, device: object) -> LinkSpec | None:
    """A link from unchecked values; None if they are not a local address and a device's name."""
    if not (isinstance(label, str) and isinstance(address, str) and isinstance(device, str)):
        return None
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if ip.is_unspecified or ip.is_multicast or "%" in address:
        return None
    if device and not _DEVICE.fullmatch(device):
        return None
    return LinkSpec(label[:64] or str(ip), str(ip), device)
