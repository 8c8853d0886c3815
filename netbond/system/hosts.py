"""Looks names up in /etc/hosts, for those who ask name servers themselves."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from netbond.system import files

HOSTS: Final = Path("/etc/hosts")
LARGEST_BYTES: Final = 1024 * 1024


def address_of(name: str, family: int, path: Path = HOSTS) -> IPv4Address | IPv6Address | None:
    """The first address of IP version `family` that hosts(5) has for this name; None without one."""
    try:
        text = files.read(path.resolve(), LARGEST_BYTES)[0].decode(errors="replace")
    except (OSError, RuntimeError):
        return None
    wanted = name.lower().removesuffix(".")
    for line in text.splitlines():
        words = line.partition("#")[0].lower().split()
        if wanted not in words[1:]:
            continue
        try:
            address = ip_address(words[0])
        except ValueError:
            continue
        if address.version == family:
            return address
    return None
