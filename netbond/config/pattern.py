"""Describes the hardware behind an interface, and matches it with the patterns of an [[uplink]]. Pure.

The kernel names interfaces in the order in which it finds them: the modem that was usb0 may be usb1 after the
next boot. Its port, its maker and its serial number stay the same. A MAC address tells less: sticks of one
model often share it (and their serial number), so both tell interfaces apart only where they differ.

It must be quick to import: netbond.config.load needs it, and a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

from netbond.model import Device, Interface
from netbond.system.text import printable

LONGEST = 96  # characters of a property; what a stick says about itself may be anything


def from_properties(name: str, properties: Mapping[str, str], mac: str = "") -> Device:
    """The device of interface `name`, from its udev properties (`udevadm info /sys/class/net/NAME`).

    The properties come from the device, udev's rules and the hardware database (udev(7)); any may be missing.
    A stick may say anything of itself, so values are cut short and made printable.
    """

    def first(*names: str) -> str:
        return next((printable(properties[n].strip(), LONGEST) for n in names if properties.get(n)), "")

    def spoken(*names: str) -> str:
        return first(*names).replace("_", " ").strip()  # udev writes blanks as "_"

    return Device(
        name=name,
        path=first("ID_PATH"),
        vendor=first("ID_VENDOR_ID").lower().removeprefix("0x"),  # PCI has the prefix, USB has not
        model=first("ID_MODEL_ID").lower().removeprefix("0x"),
        vendor_name=spoken("ID_VENDOR_FROM_DATABASE", "ID_VENDOR"),
        model_name=spoken("ID_MODEL_FROM_DATABASE", "ID_MODEL"),
        serial=first("ID_SERIAL_SHORT"),
        driver=first("ID_NET_DRIVER", "ID_USB_DRIVER"),
        mac=mac.lower(),
        bus=first("ID_BUS"),
    )


def of_links(links: Iterable[Interface], known: Iterable[Device]) -> tuple[Device, ...]:
    """A device for each interface but loopback: the known device, with its present MAC address."""
    by_name = {device.name: device for device in known}
    found = []
    for link in links:
        if not link.loopback:
            device, mac = by_name.get(link.name) or Device(link.name), link.mac.lower()
            found.append(device if device.mac == mac else replace(device, mac=mac))
    return tuple(found)


def port_order(device: Device) -> tuple[bool, list[tuple[int, str]], str]:
    """A key to sort devices by port, 1.2 before 1.10; those without a port come last, by name."""
    parts = [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", device.path)]
    return (not device.path, parts, device.name)


# --- patterns ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Match:
    """Patterns as in a shell for the properties of a device; all given patterns must match.

    In the configuration a string is a pattern for the name, a table names several: `"usb*"`,
    `{path = "*usb-0:1.2:*", driver = "cdc_ether"}`. Kept as text: "usb*", or
    "path=*usb-0:1.2:* driver=cdc_ether".
    """

    name: str = ""
    path: str = ""
    vendor: str = ""
    model: str = ""
    serial: str = ""
    mac: str = ""
    driver: str = ""

    def __str__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name)}
        return self.name if list(given) == ["name"] else " ".join(f"{k}={v}" for k, v in given.items())

    @classmethod
    def parse(cls, text: str) -> Match:
        """Read the text that `str` wrote; ValueError for an unknown key."""
        words = text.split()
        if len(words) == 1 and words[0].partition("=")[0] not in KEYS:
            return cls(name=text)
        pairs = dict(word.partition("=")[::2] for word in words)
        if unknown := [key for key in pairs if key not in KEYS]:
            raise ValueError(f"there is no {unknown[0]!r} to match by")
        return cls(**pairs)

    @property
    def single(self) -> bool:
        """Whether it is for one interface: by port, serial number, MAC address or exact name."""
        exact = bool(self.name) and not any(c in self.name for c in "*?[")
        return exact or bool(self.path or self.serial or self.mac)

    def covers(self, other: Match) -> bool:
        """Whether this fits all that `other` fits; False also where patterns do not tell."""
        both = [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return any(mine for mine, _ in both) and all(_covers(mine, its) for mine, its in both if mine)

    def fits(self, device: Device) -> bool:
        """Whether all given patterns match. Makers, models and MAC addresses match in any case."""

        def fit(pattern: str, *values: str) -> bool:
            return not pattern or any(value and fnmatchcase(value, pattern) for value in values)

        def fit_any_case(pattern: str, *values: str) -> bool:
            return not pattern or fit(pattern.lower(), *(value.lower() for value in values))

        return (
            fit(self.name, device.name)
            and fit(self.path, device.path)
            and fit(self.serial, device.serial)
            and fit(self.driver, device.driver)
            and fit_any_case(self.mac, device.mac)
            and fit_any_case(self.vendor, device.vendor, device.vendor_name)
            and fit_any_case(self.model, device.model, device.model_name)
        )


KEYS = tuple(f.name for f in fields(Match))


def _covers(pattern: str, other: str) -> bool:
    """Whether all that `other` matches, `pattern` does; False also where it is not clear."""
    if pattern == other:
        return bool(other)
    # "usb?" would match the text "usb*", which stands for more: only "*" covers other wildcards.
    clear = not set(pattern) & set("?[") and "[" not in other
    return bool(other) and (clear or not set(other) & set("*?[")) and fnmatchcase(other, pattern)


def looks_like_regex(name: str) -> bool:
    """Whether a pattern for names is most likely meant as a regular expression ("usb.*", "^wwan[0-9]+$").

    "eth0.*" is not: VLANs are named so.
    """
    return re.search(r"[\\^$()|+]|(?<![0-9])\.\*", name) is not None
