"""Writes the log's lines about uplinks that appeared, changed or disappeared. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netbond.model import Uplink
from netbond.system.text import counted


def describe(uplink: Uplink) -> str:
    """Describe an uplink in one line."""
    way = "point-to-point" if uplink.gateway is None else f"via {uplink.gateway}"
    state = uplink.state + (f" ({uplink.reason})" if uplink.reason not in ("", uplink.state) else "")
    return f"{uplink.name} is {state}: {uplink.address} {way} ({uplink.gateway_source}), table {uplink.table}"


def changes(before: Iterable[Uplink], now: Iterable[Uplink]) -> list[str]:
    """Return a line for each uplink that has disappeared, is new, or differs from before."""
    old = {(uplink.name, uplink.family): uplink for uplink in before}
    new = {(uplink.name, uplink.family): uplink for uplink in now}
    departed = [
        f"{name} is no longer an IPv{family} uplink" for name, family in sorted(old.keys() - new.keys())
    ]
    return departed + [describe(uplink) for key, uplink in new.items() if old.get(key) != uplink]


def summary(uplinks: Iterable[Uplink]) -> str:
    """Return how many uplinks are usable, and their names."""
    usable = list(dict.fromkeys(uplink.name for uplink in uplinks if uplink.usable))
    return f"{counted(len(usable), 'uplink')} ({', '.join(usable)})" if usable else "no uplinks yet"
