"""Reads what the sending engine before has left: in a file that only root can write, checked all the same."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from netbond.config.values import HostPort, parse_host_port
from netbond.srtla import wire
from netbond.srtla.linkspec import make_link
from netbond.srtla.process.protocol import ResumeData

MAX_LATENCY_S: Final = 65.535  # what fits into SRT's handshake


def group(resume: ResumeData) -> bytes | None:
    group = resume.get("group")
    try:
        data = bytes.fromhex(group) if isinstance(group, str) else b""
    except ValueError:
        return None
    return data if len(data) == wire.ID_LENGTH else None


def receiver(resume: ResumeData, receivers: Sequence[HostPort]) -> int:
    """The place of the receiver that was in use; that of the first, if it is unknown."""
    names = [str(each) for each in receivers]
    said = resume.get("receiver")
    return names.index(said) if isinstance(said, str) and said in names else 0


def ports(resume: ResumeData) -> dict[tuple[str, str], int]:
    ports: dict[tuple[str, str], int] = {}
    links = resume.get("links")
    for entry in links if isinstance(links, list) else []:
        if not isinstance(entry, dict):
            continue
        spec = make_link("", entry.get("address"), entry.get("device", ""))
        port = entry.get("port")
        if spec is not None and type(port) is int and 0 < port < 65536:
            ports[spec.key] = port
    return ports


def addresses(resume: ResumeData) -> list[str]:
    """The receiver's addresses that were in use: that of each link, and of 0.1.0, which had one for all."""
    links = resume.get("links")
    entries = [resume, *(links if isinstance(links, list) else [])]
    found = [entry.get("receiver_address") for entry in entries if isinstance(entry, dict)]
    return [address for address in found if isinstance(address, str)]


def latency(resume: ResumeData) -> float | None:
    latency = resume.get("latency")
    if isinstance(latency, bool) or not isinstance(latency, int | float):
        return None
    return float(latency) if 0 < latency <= MAX_LATENCY_S else None


def caller(resume: ResumeData) -> tuple[str, int] | None:
    text = resume.get("caller")
    try:
        caller = parse_host_port(text) if isinstance(text, str) else None
        if caller is None or ipaddress.ip_address(caller.host).version != 4:
            return None
    except ValueError:
        return None
    return (caller.host, caller.port)
