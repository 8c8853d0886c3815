"""Reads from a sender's statistics whether the uplinks under its links lead anywhere. No I/O.

The engine faces the internet and is untrusted, so the form of its statistics is checked. Whether they are
true cannot be checked. False ones can at most keep an uplink in use, never take it out of use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from netbond.model import EngineState

FRESH_MS = 1000  # good evidence: the receiver was heard within this time; links are asked each second
SILENT_MS = 3000  # bad evidence: the receiver was not heard for this time


@dataclass(frozen=True, slots=True)
class Evidence:
    """Whether a link hears its receiver: the arguments of Monitor.evidence()."""

    device: str
    address: str
    ok: bool
    detail: str


def evidence(stats: Mapping[str, Any] | None) -> list[Evidence]:
    """The evidence of each link that has any, from `stats` as docs/send.md describes them.

    `silent_ms` of a link is the time since its receiver was last heard on it, null if never. Without it, a
    link gives evidence only when it is down.
    """
    links = stats.get("links") if stats is not None and stats.get("role") == "sender" else None
    found = []
    for link in links if isinstance(links, list) else []:
        if not isinstance(link, dict):
            continue
        device, address, state = link.get("device"), link.get("address"), link.get("state")
        if not isinstance(device, str) or not isinstance(address, str) or not device:
            continue
        silent = link.get("silent_ms")
        if not isinstance(silent, int | float) or isinstance(silent, bool):
            silent = None
        if state == "up" and silent is not None and 0 <= silent <= FRESH_MS:
            found.append(Evidence(device, address, True, "the SRTLA receiver answers"))
        elif state == "down" or (state == "up" and silent is not None and silent >= SILENT_MS):
            found.append(Evidence(device, address, False, "the SRTLA receiver is silent"))
    return found


class EvidenceReader:
    """Reads each statistics of an engine once. Those of an engine that hangs say nothing new."""

    def __init__(self) -> None:
        self._heard: dict[str, Mapping[str, Any] | None] = {}  # by engine

    def read(self, engines: Iterable[EngineState]) -> list[Evidence]:
        """The evidence in statistics that are new since the last call.

        The supervisor makes a new dict of each message.
        """
        found: list[Evidence] = []
        heard = {engine.name: engine.stats for engine in engines}
        for name, stats in heard.items():
            if stats is not self._heard.get(name):
                found += evidence(stats)
        self._heard = dict(heard)
        return found
