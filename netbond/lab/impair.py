"""Defines the impairments of a radio link, and parses them: 'rate=4 delay=60 up.loss=1 off'. Pure.

A key without prefix means both directions; `up.` means from the box to the internet, `down.` the other way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from netbond.errors import UsageError


@dataclass(frozen=True, slots=True)
class Impairment:
    """One direction of a radio link. The default is a perfect link: no limit, no delay, no loss."""

    rate: float = 0.0  # Mbit/s of IP packets; 0: no limit
    delay: float = 0.0  # ms, one way, after the packet has left the queue
    jitter: float = 0.0  # ms: up to this much is added to the delay; packets keep their order
    loss: float = 0.0  # %, for each packet independently
    burst_enter: float = (
        0.0  # %, per packet: chance to enter the bad state (Gilbert-Elliott), where all is lost
    )
    burst_leave: float = 100.0  # %, per packet: chance to leave it; a burst lasts 100 / burst_leave packets
    queue: float = 256.0  # kB, size of the queue before the bottleneck; a full queue drops (drop tail)
    off: bool = False  # new packets are lost; packets in flight still arrive

    def words(self) -> list[str]:
        """Return the settings that differ from a perfect link, as a user would write them."""
        found = [
            f"{key}={getattr(self, key):g}"
            for key in ("rate", "delay", "jitter", "loss")
            if getattr(self, key)
        ]
        if self.burst_enter:
            found.append(f"burst={self.burst_enter:g}/{self.burst_leave:g}")
        if self.queue != PERFECT.queue:
            found.append(f"queue={self.queue:g}")
        return found + ["off"] * self.off


PERFECT = Impairment()
LOWEST_RATE = 0.001  # Mbit/s; use `off` instead of a lower rate
LOWEST_QUEUE = 2.0  # kB; a queue smaller than one full packet would drop everything

# The range of each key's number: lowest, highest, and the unit for error messages.
NUMBERS: dict[str, tuple[float, float, str]] = {
    "rate": (0, 10_000, "Mbit/s, 0 for no limit"),
    "delay": (0, 60_000, "ms one way"),
    "jitter": (0, 60_000, "ms"),
    "loss": (0, 100, "%"),
    "queue": (LOWEST_QUEUE, 1_000_000, "kB"),
}
HELP = (
    "rate=MBIT/S (0: no limit) delay=MS jitter=MS loss=% burst=ENTER%/LEAVE% queue=KB off on clear;"
    " up.KEY and down.KEY for one direction; carrier=off|on for the cable between modem and box"
)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one link: new settings by direction; with `clear`, all others become perfect."""

    clear: bool = False
    up: dict[str, Any] = field(default_factory=dict)
    down: dict[str, Any] = field(default_factory=dict)
    carrier: bool | None = None  # of the Ethernet between modem and box; None: unchanged

    @property
    def touches_radio(self) -> bool:
        """Whether the radio link changes, and not only the carrier."""
        return self.clear or bool(self.up) or bool(self.down)

    def apply(self, up: Impairment, down: Impairment) -> tuple[Impairment, Impairment]:
        """Return the impairments after the change."""
        if self.clear:
            up = down = PERFECT
        return replace(up, **self.up), replace(down, **self.down)


def _number(word: str, key: str, text: str) -> float:
    low, high, unit = NUMBERS[key]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or (key == "rate" and 0 < value < LOWEST_RATE):
        raise UsageError(f"{word!r} is not valid", f"{key} is a number from {low:g} to {high:g} ({unit})")
    return value


def _setting(word: str, key: str, equals: str, text: str) -> dict[str, Any]:
    if key in ("off", "on") and not equals:
        return {"off": key == "off"}
    if key in NUMBERS and equals:
        return {key: _number(word, key, text)}
    if key == "burst" and equals:
        enter, slash, leave = text.partition("/")
        try:
            chances = float(enter), float(leave)
        except ValueError:
            chances = math.nan, math.nan
        if not slash or not 0 <= chances[0] <= 100 or not 0 < chances[1] <= 100:
            raise UsageError(
                f"{word!r} is not valid", "burst is ENTER/LEAVE in % per packet, like burst=0.5/25"
            )
        return {"burst_enter": chances[0], "burst_leave": chances[1]}
    raise UsageError(f"{word!r} is not an impairment", f"known are {HELP}")


def parse(words: Iterable[str]) -> Change:
    """Parse a user's words; UsageError names an invalid one. Later words override earlier ones."""
    clear, up, down, carrier = False, dict[str, Any](), dict[str, Any](), None
    for word in words:
        key, equals, text = word.partition("=")
        if word == "clear":
            clear, up, down = True, {}, {}
        elif key == "carrier":
            if text not in ("on", "off"):
                raise UsageError(f"{word!r} is not valid", "write carrier=off or carrier=on")
            carrier = text == "on"
        elif key.startswith("up."):
            up |= _setting(word, key.removeprefix("up."), equals, text)
        elif key.startswith("down."):
            down |= _setting(word, key.removeprefix("down."), equals, text)
        else:
            setting = _setting(word, key, equals, text)
            up |= setting
            down |= setting
    return Change(clear, up, down, carrier)


def to_json(impairment: Impairment) -> dict[str, Any]:
    """Return the impairment for the cable's socket and `status --json`."""
    return asdict(impairment)
