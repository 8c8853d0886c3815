"""Which links a sender shall use: the list file of a drop-in sender, and the list that the agent sends.

A line of the file is `ADDRESS` or `ADDRESS%DEVICE`; empty lines and `#` comments are fine. What is wrong is
named and left out, and the rest is used.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

from netbond.srtla.link import LinkSpec

MAX_LINKS = 64
FILE_MAX = 64 * 1024  # bytes

_DEVICE = re.compile(r"[^\s/\0%]{1,15}")  # IFNAMSIZ - 1


def parse(text: str, name: str) -> tuple[list[LinkSpec], list[str]]:
    """The links in `text`, and a complaint per line that is not one; `name` is the file's."""
    links: list[LinkSpec] = []
    complaints: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        address, _, device = line.partition("%")
        spec = make_link(line, address, device) if device or "%" not in line else None
        if spec is None:
            complaints.append(
                f"{name}:{number}: {line[:60]!r} is neither ADDRESS nor ADDRESS%DEVICE; skipped"
            )
        elif len(links) >= MAX_LINKS:
            complaints.append(f"{name}:{number}: more than {MAX_LINKS} links; the rest is skipped")
            break
        else:
            links.append(spec)
    return links, complaints


def read(path: Path) -> tuple[list[LinkSpec] | None, list[str]]:
    """The links in the file; None, with the reason as complaint, if it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_MAX).decode("utf-8", "replace")
    except OSError as error:
        return None, [f"{path}: {error.strerror}"]
    return parse(text, str(path))


def make_link(label: object, address: object, device: object) -> LinkSpec | None:
    """A link from parts of unknown making; None if they make no sense."""
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


def from_message(message: Any) -> list[LinkSpec]:
    """The value of the agent's `links`; entries that are no links are left out."""
    links = []
    for entry in message if isinstance(message, list) else []:
        if isinstance(entry, dict):
            address = entry.get("address")
            spec = make_link(entry.get("label", address), address, entry.get("device", ""))
            if spec is not None:
                links.append(spec)
    return links[:MAX_LINKS]
