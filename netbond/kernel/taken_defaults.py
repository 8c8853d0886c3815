"""Records the default routes that netbond takes out of main (`take_over_default`), and puts them back.

The record is a file in the state directory. So the next agent can put them back after a kill, or with another
configuration. If the file cannot be written, nothing is taken.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from netbond.kernel.client import Kernel
from netbond.model import MAIN_TABLE, PATH_ATTRIBUTES, Facts, Nexthop, Route
from netbond.plan import Operation
from netbond.refusals import Refusal
from netbond.system.state_file import StateFile
from netbond.system.text import quoted
from netbond.tables import DEFAULT, on_link

LARGEST_BYTES = 65536
SCOPES = frozenset({"global", "site", "link", "host", "nowhere"})


def still_valid(route: Route, facts: Facts) -> bool:
    """Whether its interfaces still exist and have an address that reaches its gateways."""
    names = {link.name for link in facts.interfaces}

    def valid(hop: Nexthop) -> bool:
        addresses = [a for a in facts.addresses if a.device == hop.device]
        of_family = any(a.family == route.family for a in addresses)  # a gateway may be of the other one
        return hop.device in names and of_family and (hop.onlink or on_link(hop.gateway, addresses))

    return bool(route.nexthops) and all(map(valid, route.nexthops))


def merged(known: Iterable[Route], taken: Iterable[Route]) -> tuple[Route, ...]:
    """The recorded routes and those taken now. A new one replaces an old one of the same key and devices."""

    def place(route: Route) -> tuple[object, ...]:
        return (route.family, route.metric, *(hop.device for hop in route.nexthops))

    return tuple({place(route): route for route in (*known, *taken)}.values())


def to_json(routes: Iterable[Route]) -> list[dict[str, Any]]:
    """The routes as JSON values, as the file holds them."""
    return [
        {
            "family": route.family,
            "metric": route.metric,
            "protocol": route.protocol,
            "scope": route.scope,
            "source": None if route.source is None else str(route.source),
            "attributes": [list(attribute) for attribute in route.attributes],
            "nexthops": [
                {
                    "device": hop.device,
                    "gateway": None if hop.gateway is None else str(hop.gateway),
                    "weight": hop.weight,
                    "onlink": hop.onlink,
                }
                for hop in route.nexthops
            ],
        }
        for route in routes
    ]


def from_json(found: object) -> tuple[Route, ...]:
    """Read what to_json() made; ValueError for anything else."""
    try:
        if not isinstance(found, list):
            raise TypeError("not a list")
        return tuple(_route(item) for item in found)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a record of default routes: {quoted(error)}") from None


def _route(item: dict[str, Any]) -> Route:
    return Route(
        MAIN_TABLE,
        DEFAULT[item["family"]],
        nexthops=tuple(
            Nexthop(
                str(hop["device"]),
                None if hop["gateway"] is None else ipaddress.ip_address(str(hop["gateway"])),
                int(hop["weight"]),
                bool(hop["onlink"]),
            )
            for hop in item["nexthops"]
        ),
        metric=int(item["metric"]),
        source=None if item["source"] is None else ipaddress.ip_address(str(item["source"])),
        scope=_scope(item["scope"]),
        protocol=int(item["protocol"]),
        attributes=tuple(map(_attribute, item.get("attributes", ()))),  # not before 0.2.0
    )


def _attribute(found: Any) -> tuple[str, int | str]:
    """An attribute of the path, as netbond.kernel.rtnetlink reads it."""
    name, value = found
    fits = isinstance(value, str) if name == "congctl" else type(value) is int and 0 <= value < 2**32
    if name not in PATH_ATTRIBUTES or not fits:
        raise ValueError(f"not a record of default routes: {quoted(name)} is not an attribute with its value")
    return name, value


def _scope(word: object) -> str:
    """A scope as netbond.kernel.rtnetlink reads it: a name, or a number without a name."""
    if word in SCOPES or (isinstance(word, str) and word.isascii() and word.isdigit() and int(word) < 256):
        return str(word)
    raise ValueError(f"not a record of default routes: there is no scope {quoted(word)}")


class DefaultStore:
    """The record in DIRECTORY/defaults.json."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "defaults.json"
        self._file = StateFile(self.path, "defaults", LARGEST_BYTES, old=lambda found: {"routes": found})
        self._kept: tuple[Route, ...] | None = None

    def load(self) -> tuple[Route, ...]:
        """What is recorded; () if there is nothing. OSError or ValueError if it cannot be read."""
        if self._kept is None:
            try:
                self._kept = from_json(self._file.read().get("routes"))
            except FileNotFoundError:
                self._kept = ()
        return self._kept

    def save(self, routes: Iterable[Route]) -> None:
        """Record these, and no others; a record that cannot be used is replaced.

        OSError if that fails: then nothing must be taken.
        """
        new = tuple(routes)
        with contextlib.suppress(ValueError):
            if new == self.load():
                return
        if new:
            self._file.write({"routes": to_json(new)}, indent=1)
        else:
            self._file.remove()
        self._kept = new


async def give_back(
    kernel: Kernel, store: DefaultStore, facts: Facts, families: Collection[int] = (4, 6)
) -> tuple[list[Operation], list[Refusal]]:
    """Put back into main what was taken out of it in these families, as far as it still leads anywhere.

    The additions that were asked for, and those that failed. OSError or ValueError if the record cannot be
    read or emptied.
    """
    recorded = store.load()
    taken = [route for route in recorded if route.family in families]
    if not taken:
        return [], []
    back = [Operation("add", route, "was there") for route in taken if still_valid(route, facts)]
    failures = await kernel.apply(back, facts.interfaces)
    store.save(route for route in recorded if route.family not in families)
    return back, failures
