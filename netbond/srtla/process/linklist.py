"""Which links a sender shall use: the list file of a drop-in sender, and the list that the agent sends.

A line of the file is `ADDRESS` or `ADDRESS%DEVICE`; empty lines and `#` comments are fine. Words may follow:
`priority=N`, `idle` (srtla_send reads an address and passes over what is behind it). What is wrong is named
and left out, and the rest is used.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netbond.srtla.link import LinkSpec

MAX_LINKS = 64
MAX_PRIORITY = 100
FILE_MAX = 64 * 1024  # bytes

_PRIORITY = re.compile(r"priority=([0-9]{1,3})")
_DEVICE = re.compile(r"[^\s/\0%]{1,15}")  # IFNAMSIZ - 1


def parse(text: str, name: str) -> tuple[list[LinkSpec], list[str]]:
    """The links in `text`, and a complaint per line that is not one; `name` is the file's."""
    links: list[LinkSpec] = []
    complaints: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        place, *words = line.split()
        address, _, device = place.partition("%")
        spec = make_link(place, address, device) if device or "%" not in place else None
        if spec is not None:
            spec = _with_words(spec, words)
        if spec is None:
            complaints.append(
                f"{name}:{number}: {line[:60]!r} is not ADDRESS or ADDRESS%DEVICE (priority=N, idle); skipped"
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


def _with_words(spec: LinkSpec, words: Sequence[str]) -> LinkSpec | None:
    """The link with what the words behind it say; None if one is unknown."""
    for word in words:
        number = _PRIORITY.fullmatch(word)
        if number is not None and int(number[1]) <= MAX_PRIORITY:
            spec = replace(spec, priority=int(number[1]))
        elif word == "idle":
            spec = replace(spec, enabled=False)
        else:
            return None
    return spec


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
                priority, enabled = entry.get("priority", 0), entry.get("enabled", True)
                if type(priority) is int and 0 <= priority <= MAX_PRIORITY:
                    spec = replace(spec, priority=priority)
                links.append(replace(spec, enabled=enabled is not False))
    return links[:MAX_LINKS]
