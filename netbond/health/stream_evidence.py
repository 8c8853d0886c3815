"""Reads from a sender's statistics whether the uplinks under its links lead anywhere. No I/O.

The engine faces the internet and is untrusted. Whether its statistics are true cannot be checked. False ones
can keep an uplink in use, and make the agent ask for itself (netbond.health.suspects). They alone take no
uplink down. Where `check_quality` is configured, they can call some uplinks worse than others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netbond.config.targets import as_address
from netbond.model import EngineState, IPAddress
from netbond.srtla.statistics import EngineStatistics, LinkStatistics, SenderStatistics

LinkKey = tuple[str, IPAddress]  # a link, and the uplink under it: device, and address that is bound to

FRESH_MS = 1000  # good evidence: the receiver was heard within this time; links are asked each second
CARRIES_BPS = 50_000  # a link that carries less tells nothing of loss: that may be keepalives alone
LONGEST_RTT_MS = 60_000
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
        if _hears(link):
            found.append(Evidence(link.device, link.address, True, "the SRTLA receiver answers"))
        elif link.state == "down" or (link.state == "up" and _silent_long(link)):
            found.append(Evidence(link.device, link.address, False, "the SRTLA receiver is silent"))
    return found


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a link hears of its receiver.

    `hears`: True; False if it has been silent for long; None if neither is certain. `joined`: whether the
    receiver has taken the link. `receiver` is the address that the link uses; "" if the engine names none.
    """

    key: LinkKey
    receiver: str
    hears: bool | None
    joined: bool = True


def hearings(stats: EngineStatistics | None) -> list[Hearing]:
    """What each link hears, if these are the statistics of a sender.

    A link without a socket is left out: it has asked nothing.
    """
    found = []
    for link in stats.links if isinstance(stats, SenderStatistics) else ():
        address = as_address(link.address)
        if not link.device or address is None or link.state not in ("up", "registering", "down"):
            continue
        silent = link.state == "down" or (link.state == "up" and _silent_long(link))
        hears = True if _hears(link) else False if silent else None
        key = (link.device, address)
        found.append(Hearing(key, link.receiver_address or "", hears, joined=link.state == "up"))
    return found


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """Loss (0 to 1) and round-trip time of a link that is up; None: not known. For Monitor.measure()."""

    device: str
    address: str
    loss: float | None
    rtt_s: float | None


def qualities(stats: EngineStatistics | None) -> list[LinkQuality]:
    """The figures of each link that is up, if these are the statistics of a sender.

    A link that carries next to nothing shows no loss, whatever it would lose.
    """
    found = []
    for link in stats.links if isinstance(stats, SenderStatistics) else ():
        if not link.device or link.state != "up":
            continue
        tells = link.bitrate_bps >= CARRIES_BPS and 0 <= link.loss_pct <= 100
        loss = link.loss_pct / 100 if tells else None
        known = link.rtt_ms is not None and 0 <= link.rtt_ms <= LONGEST_RTT_MS
        rtt_s = link.rtt_ms / 1000 if known and link.rtt_ms is not None else None
        found.append(LinkQuality(link.device, link.address, loss, rtt_s))
    return found


def _hears(link: LinkStatistics) -> bool:
    return link.state == "up" and link.silent_ms is not None and 0 <= link.silent_ms <= FRESH_MS


def _silent_long(link: LinkStatistics) -> bool:
    return link.silent_ms is not None and link.silent_ms >= SILENT_MS


class EvidenceReader:
    """Finds statistics that are new. Those of an engine that hangs say nothing new."""

    def __init__(self) -> None:
        self._heard: dict[str, EngineStatistics | None] = {}  # by engine

    def fresh(self, engines: Iterable[EngineState]) -> list[EngineState]:
        """The engines whose statistics are new since the last call.

        The supervisor makes a new object of each message.
        """
        engines = list(engines)
        found = [each for each in engines if each.stats is not self._heard.get(each.name)]
        self._heard = {engine.name: engine.stats for engine in engines}
        return found
