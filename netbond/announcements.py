"""What the log says of uplinks that came, changed or went. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netbond.model import Uplink


def describe(uplink: Uplink) -> str:
    """An uplink in a line of the log."""
    way = "point-to-point" if uplink.gateway is None else f"via {uplink.gateway}"
    state = uplink.state + (f" ({uplink.reason})" if uplink.reason not in ("", uplink.state) else "")
    return f"{uplink.name} is {state}: {uplink.address} {way} ({uplink.gateway_source}), table {uplink.table}"


def changes(before: Iterable[Uplink], now: Iterable[Uplink]) -> list[str]:
    """A line for each uplink that is no more, is new, or is another than before."""
    old = {(uplink.name, uplink.family): uplink for uplink in before}
    new = {(uplink.name, uplink.family): uplink for uplink in now}
    gone = [f"{name} is no IPv{family} uplink any more" for name, family in sorted(old.keys() - new.keys())]
    return gone + [describe(uplink) for key, uplink in new.items() if old.get(key) != uplink]


def summary(uplinks: Iterable[Uplink]) -> str:
    """How many uplinks can be used, and their names."""
    usable = list(dict.fromkeys(uplink.name for uplink in uplinks if uplink.usable))
    return f"{len(usable)} uplinks ({', '.join(usable)})" if usable else "no uplinks yet"
