"""Reads the leases that dhclient holds already: its hook hears of a lease only once. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

_LEASE = re.compile(r"^lease \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_NAMES = {
    "fixed-address": "new_ip_address",
    "option subnet-mask": "new_subnet_mask",
    "option routers": "new_routers",
    "option rfc3442-classless-static-routes": "new_rfc3442_classless_static_routes",
}


def held(text: str, now: datetime.datetime) -> Iterator[dict[str, str]]:
    """The last lease of each interface in a file of dhclient.leases(5), if it is in force.

    Each is the environment that dhclient-script(8) would have. `now` is in UTC. `netbond hook` checks values.
    """
    last: dict[str, dict[str, str]] = {}
    for lease in _LEASE.finditer(text):
        fields = dict(re.findall(r"^\s*((?:option )?[a-z0-9-]+) (.+);$", lease[1], re.MULTILINE))
        interface = fields.get("interface", "").strip('"')
        last.pop(interface, None)
        if not interface or "fixed-address" not in fields or _ended(fields.get("expire", ""), now):
            continue
        values = {name: _plain(fields[key]) for key, name in _NAMES.items() if key in fields}
        last[interface] = {"reason": "BOUND", "interface": interface, **values}
    yield from last.values()


def _plain(value: str) -> str:
    """As dhclient-script gets it: lists are separated by blanks."""
    return re.sub(r"\s*,\s*", " ", value)


def _ended(expire: str, now: datetime.datetime) -> bool:
    """Whether this time ("2 2026/12/01 10:00:00", "epoch 1796119200; # ...", "never") is over."""
    if found := re.match(r"epoch (\d+)", expire):
        return int(found[1]) <= now.timestamp()
    found = re.match(r"\d (\d+)/(\d+)/(\d+) (\d+):(\d+):(\d+)", expire)
    if found is None:
        return False
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC) <= now
    except ValueError:
        return True
