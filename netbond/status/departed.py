"""Remembers uplinks that have gone in the last minutes, for a person who finds one missing. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from netbond.model import Uplink
from netbond.status.schema import DepartedUplink
from netbond.system.text import printable

SHOWN_S = 600.0
MOST = 32  # uplinks that are remembered; the one gone for the longest time is dropped first


@dataclass(frozen=True, slots=True)
class _DepartedUplink:
    uplink: Uplink
    since: float


class Departed:
    """Remembers uplinks for SHOWN_S after they have gone. `now` is by a clock that never jumps."""

    def __init__(self) -> None:
        self._there: dict[tuple[str, int], Uplink] = {}
        self._departed: dict[tuple[str, int], _DepartedUplink] = {}  # the longest gone first
        self._devices: Collection[str] = ()
        self._reasons: Mapping[str, str] = {}

    def observe(
        self, uplinks: Iterable[Uplink], devices: Collection[str], reasons: Mapping[str, str], now: float
    ) -> None:
        """These are the uplinks now; `devices` the interfaces, `reasons` why some of those are none."""
        there = {(uplink.name, uplink.family): uplink for uplink in uplinks}
        for key, uplink in self._there.items():
            if key not in there:
                self._departed[key] = _DepartedUplink(uplink, now)
        self._departed = {
            key: was for key, was in self._departed.items() if key not in there and now - was.since < SHOWN_S
        }
        while len(self._departed) > MOST:
            del self._departed[next(iter(self._departed))]
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
            for was in self._departed.values()
            if now - was.since < SHOWN_S
        )

    def _why(self, device: str) -> str:
        if device not in self._devices:
            return "unplugged"
        return self._reasons.get(device, "no address, or no known gateway")
