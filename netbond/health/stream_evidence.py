"""Reads from a sender's statistics whether the uplinks under its links lead anywhere. No I/O.

The engine faces the internet and is untrusted. Whether its statistics are true cannot be checked. False ones
can at most keep an uplink in use, never take it out of use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netbond.model import EngineState
from netbond.srtla.statistics import EngineStatistics, SenderStatistics

FRESH_MS = 1000  # good evidence: the receiver was heard within this time; links are asked each second
SILENT_MS = 3000  # bad evidence: the receiver was not heard for this time


@dataclass(frozen=True, slots=True)
class Evidence:
    """Whether a link hears its receiver: the arguments of Monitor.evidence()."""

    device: str
    address: str
    ok: bool
    detail: str


def evidence(stats: EngineStatistics | None) -> list[Evidence]:
    """The evidence of each link that has any, if these are the statistics of a sender.

    A link on which the receiver was never heard gives evidence only when it is down.
    """
    found = []
    for link in stats.links if isinstance(stats, SenderStatistics) else ():
        if not link.device:
            continue
        device, address, state, silent = link.device, link.address, link.state, link.silent_ms
        if state == "up" and silent is not None and 0 <= silent <= FRESH_MS:
            found.append(Evidence(device, address, True, "the SRTLA receiver answers"))
        elif state == "down" or (state == "up" and silent is not None and silent >= SILENT_MS):
            found.append(Evidence(device, address, False, "the SRTLA receiver is silent"))
    return found


class EvidenceReader:
    """Reads each statistics of an engine once. Those of an engine that hangs say nothing new."""

    def __init__(self) -> None:
        self._heard: dict[str, EngineStatistics | None] = {}  # by engine

    def read(self, engines: Iterable[EngineState]) -> list[Evidence]:
        """The evidence in statistics that are new since the last call.

        The supervisor makes a new object of each message.
        """
        found: list[Evidence] = []
        heard = {engine.name: engine.stats for engine in engines}
        for name, stats in heard.items():
            if stats is not self._heard.get(name):
                found += evidence(stats)
        self._heard = dict(heard)
        return found
