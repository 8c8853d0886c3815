"""Finds the [[uplink]] of each interface, with its label and its table. Pure.

The first [[uplink]] that matches an interface gives its settings. A label and a table belong to one
interface. If an [[uplink]] that has them matches several interfaces (two sticks with one MAC address, a
pattern for a whole hub), the interface in the first port gets them; the others get the settings without label
and table, and a problem is reported. So the result does not depend on the order in which interfaces appear.

The table of a label depends on the configuration alone: it is the same after a reboot, whatever the order in
which modems appear, and no other interface gets it while the modem is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType

from netbond.config.pattern import Match, port_order
from netbond.config.schema import Config, RoutingConfig, UplinkConfig
from netbond.model import Device
from netbond.system.by_identity import by_identity
from netbond.tables import assign

# The settings of each interface that an [[uplink]] matches, by the interface's name.
Settings = Mapping[str, UplinkConfig]

NO_SETTINGS: Settings = MappingProxyType({})

# The settings of an interface that no [[uplink]] matches: it is used if it has a gateway.
UNMATCHED = UplinkConfig(match="*")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the configuration says about the interfaces that are there.

    `settings` has the interfaces that an [[uplink]] matches. Label and table are set only for the interface
    that they belong to, and a label always comes with its table. `labels` has every interface, each label
    once. `unused` are [[uplink]]s without an interface now, `problems` are lines for people.
    """

    settings: Settings = field(default_factory=lambda: NO_SETTINGS)
    labels: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[UplinkConfig, ...] = ()
    problems: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def pattern(text: str) -> Match:
    """The pattern of an [[uplink]] (`UplinkConfig.match`)."""
    return Match.parse(text)


def label_tables(config: Config) -> Mapping[str, int]:
    """The table of each label: configured, else by its number (usb0), else from the range by its hash.

    A label for which no table is left is missing from the answer.
    """
    return _label_tables(config.uplink, config.routing)


@by_identity
def _label_tables(uplinks: tuple[UplinkConfig, ...], routing: RoutingConfig) -> Mapping[str, int]:
    labels = [uplink.label for uplink in uplinks if uplink.label]
    configured = {uplink.label: uplink.table for uplink in uplinks if uplink.label and uplink.table}
    kept_free = {uplink.table for uplink in uplinks if uplink.table}
    return MappingProxyType(assign(labels, routing, {}, configured, kept_free))


def reserved_tables(config: Config) -> frozenset[int]:
    """The tables that belong to an [[uplink]], also if its interface is away: no other may use them."""
    return frozenset(label_tables(config).values()) | {u.table for u in config.uplink if u.table}


def choose(devices: Iterable[Device], config: Config) -> Choice:
    """Find the [[uplink]] of each interface, and the one interface of each label and table."""
    return _choose(tuple(devices), config.uplink, config.routing)


@by_identity  # in most passes nothing of this has changed, and it compares all with all
def _choose(devices: tuple[Device, ...], uplinks: tuple[UplinkConfig, ...], routing: RoutingConfig) -> Choice:
    in_order = sorted(devices, key=port_order)
    tables = _label_tables(uplinks, routing)
    settings: dict[str, UplinkConfig] = {}
    labels: dict[str, str] = {}
    holders: dict[int, str] = {}  # by the number of an [[uplink]], the interface with its label and table
    others: dict[int, list[str]] = {}  # and the other interfaces that it matches
    for device in in_order:
        for number, uplink in enumerate(uplinks):
            if not pattern(uplink.match).fits(device):
                continue
            if not uplink.label and not uplink.table:
                settings[device.name] = uplink
            elif number not in holders:
                holders[number] = device.name
                table = uplink.table or tables.get(uplink.label, 0)
                settings[device.name] = replace(uplink, table=table)
                if uplink.label:
                    labels[device.name] = uplink.label
            else:
                settings[device.name] = replace(uplink, label="", table=0)
                others.setdefault(number, []).append(device.name)
            break
    problems = []
    for number, names in sorted(others.items()):
        uplink = uplinks[number]
        what = f"label {uplink.label!r}" if uplink.label else f"table {uplink.table}"
        problems.append(
            f"[[uplink]] {uplink.match} fits {holders[number]} and {', '.join(names)}: {holders[number]} has"
            f" {what}, being first by port; a narrower path tells them apart"
        )
    given = set(labels.values())
    for device in in_order:
        if device.name not in labels:
            labels[device.name] = device.name if device.name not in given else f"other {device.name}"
            if device.name in given:
                problems.append(f"{device.name} has the name that is another interface's label")
    unused = tuple(
        uplink for uplink in uplinks if not any(pattern(uplink.match).fits(device) for device in in_order)
    )
    return Choice(MappingProxyType(settings), labels, unused, tuple(problems))
