"""Uplinks that were there a while ago: what a person looks for who finds one missing. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from netbond.model import Uplink
from netbond.status.schema import DepartedUplink
from netbond.system.text import printable

SHOWN = 600.0  # seconds
MOST = 32  # uplinks that are remembered; the one gone for the longest time goes first


@dataclass(frozen=True, slots=True)
class _Was:
    uplink: Uplink
    since: float


class Gone:
    """Remembers uplinks for SHOWN seconds after they are none. `now` is by a clock that never jumps."""

    def __init__(self) -> None:
        self._there: dict[tuple[str, int], Uplink] = {}
        self._gone: dict[tuple[str, int], _Was] = {}  # the longest gone first
        self._devices: Collection[str] = ()
        self._reasons: Mapping[str, str] = {}

    def observe(
        self, uplinks: Iterable[Uplink], devices: Collection[str], reasons: Mapping[str, str], now: float
    ) -> None:
        """These are the uplinks now; `devices` the interfaces, `reasons` why some of those are none."""
        there = {(uplink.name, uplink.family): uplink for uplink in uplinks}
        for key, uplink in self._there.items():
            if key not in there:
                self._gone[key] = _Was(uplink, now)
        self._gone = {
            key: was for key, was in self._gone.items() if key not in there and now - was.since < SHOWN
        }
        while len(self._gone) > MOST:
            del self._gone[next(iter(self._gone))]
        self._there, self._devices, self._reasons = there, devices, reasons

    def section(self, now: float) -> tuple[DepartedUplink, ...]:
        """The part "gone" of a snapshot."""
        return tuple(
            DepartedUplink(
                name=was.uplink.name,
                device=was.uplink.device,
                family=was.uplink.family,
                address=str(was.uplink.address.ip),
                gateway=None if was.uplink.gateway is None else str(was.uplink.gateway),
                gone_s=round(max(0.0, now - was.since), 3),
                reason=printable(self._why(was.uplink.device)),
            )
            for was in self._gone.values()
            if now - was.since < SHOWN
        )

    def _why(self, device: str) -> str:
        if device not in self._devices:
            return "unplugged"
        return self._reasons.get(device, "no address, or no known gateway")
