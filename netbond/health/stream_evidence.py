"""What a sender's statistics say of the uplinks under its links. No I/O.

The engine faces the internet without root, so its words are checked for their form. That they are true cannot
be checked; a false one can keep an uplink in use at most, never take one out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from netbond.model import EngineState

FRESH = 1000  # milliseconds since the receiver was heard, for a good word; links are asked each second
SILENT = 3000  # milliseconds, for a bad word


@dataclass(frozen=True, slots=True)
class Word:
    """The arguments of Monitor.evidence()."""

    device: str
    address: str
    ok: bool
    detail: str


def words(stats: Mapping[str, Any] | None) -> list[Word]:
    """A word for each link that has something to say, from `stats` as docs/send.md describes them.

    `silent_ms` of a link is the time since its receiver was last heard on it, null if never. A link without
    it speaks only when it is down.
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
        if state == "up" and silent is not None and 0 <= silent <= FRESH:
            found.append(Word(device, address, True, "the SRTLA receiver answers"))
        elif state == "down" or (state == "up" and silent is not None and silent >= SILENT):
            found.append(Word(device, address, False, "the SRTLA receiver is silent"))
    return found


class Ear:
    """Hears each statistics of an engine once: those of one that hangs would go on praising its links."""

    def __init__(self) -> None:
        self._heard: dict[str, Mapping[str, Any] | None] = {}  # by engine

    def listen(self, engines: Iterable[EngineState]) -> list[Word]:
        """The words in what is new since the last call; the supervisor makes a new dict of each message."""
        found: list[Word] = []
        heard = {engine.name: engine.stats for engine in engines}
        for name, stats in heard.items():
            if stats is not self._heard.get(name):
                found += words(stats)
        self._heard = dict(heard)
        return found
