"""What a value in the configuration may be: a small function per kind, which says what would be right. Pure.

Each takes what TOML gave and returns what netbond works with, or raises Wrong with the words that follow
"expected".
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from netbond.config import targets
from netbond.config.pattern import KEYS, Match

PER_FAMILY = 5  # tables of each of `table_bases`: usb0-4 have 100-104 (netbond.tables)
HIGHEST_TABLE = 252  # 253-255 are the kernel's
DEFAULT_QUERY = "example.com"  # of a DNS check
DEFAULT_EXPECT = 204  # of an HTTP check

Parse = Callable[[object], Any]


class Wrong(Exception):  # noqa: N818 - the reader of the file makes a ConfigError of it
    """What would be right, for a value that is not."""


# --- endpoints ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostPort:
    """A UDP or TCP endpoint as the user wrote it; `host` is a name or an address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host_port(text: str) -> HostPort:
    """Read 'host:port' or '[v6]:port'; ValueError says what would be right."""
    expected = "'host:port' with a port from 1 to 65535 (IPv6 in brackets: '[::1]:5000')"
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(expected)
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(expected)
    if not targets.is_host(host):
        raise ValueError(expected)
    return HostPort(host, int(port))


def string(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong("a string")
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false")
    return value


def whole(low: int, high: int) -> Parse:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong(f"a whole number from {low} to {high}")
        return value

    return parse


def milliseconds(low: int, high: int) -> Parse:
    def parse(value: object) -> int:
        if value == 0 and not isinstance(value, bool):
            return 0
        try:
            return int(whole(low, high)(value))
        except Wrong:
            raise Wrong(f"0 or milliseconds from {low} to {high}") from None

    return parse


def one_of(*choices: str) -> Parse:
    def parse(value: object) -> str:
        if value not in choices:
            raise Wrong("one of " + ", ".join(repr(choice) for choice in choices))
        return str(value)

    return parse


def absolute_path(value: object) -> Path:
    path = Path(string(value))
    if not path.is_absolute() or "\0" in str(path):
        raise Wrong("an absolute path")
    return path


def optional_path(value: object) -> Path | None:
    return None if value == "" else absolute_path(value)


def host_port(value: object) -> HostPort:
    try:
        return parse_host_port(string(value))
    except ValueError as error:
        raise Wrong(str(error)) from None


def address_endpoint(value: object) -> HostPort:
    endpoint = host_port(value)
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        raise Wrong("an address of this box and a port, like '127.0.0.1:6000' or '[::]:5000'") from None
    return endpoint


def optional_address_endpoint(value: object) -> HostPort | None:
    return None if value == "" else address_endpoint(value)


def match_pattern(value: object) -> str:
    """A pattern for the interface's name, or a table of patterns for its hardware: as the text of a Match."""
    if isinstance(value, dict):
        given = {key: hardware_pattern(key, pattern) for key, pattern in value.items()}
        if not given:
            raise Wrong("a pattern for at least one of " + ", ".join(KEYS))
        return str(Match(**given))
    text = string(value)
    if not text or len(text) > 64 or any(c.isspace() or c == "/" for c in text):
        raise Wrong("an interface name or a pattern such as 'usb*'")
    return str(Match(name=text))


def hardware_pattern(key: str, value: object) -> str:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        raise Wrong(f"{near[0]!r} instead of {key!r}" if near else "only " + ", ".join(KEYS))
    if not isinstance(value, str) or not value or len(value) > 128 or not value.isprintable():
        raise Wrong(f"a pattern for {key}, like the values that `udevadm info /sys/class/net/usb0` shows")
    return "?".join(value.split(" "))  # a blank fits `?`; the text of a Match separates its keys by blanks


def label_text(value: object) -> str:
    text = string(value)
    if text and not re.fullmatch(r"[A-Za-z0-9._-]([A-Za-z0-9 ._-]{0,30}[A-Za-z0-9._-])?", text):
        raise Wrong("at most 32 letters, digits, blanks, '.', '_' and '-'")
    return text


def gateways(value: object) -> tuple[str, ...]:
    if value in ("auto", "none"):
        return (str(value),)
    addresses = value if isinstance(value, list) else [value]
    try:
        found = tuple(str(ipaddress.ip_address(string(item))) for item in addresses)
    except ValueError:
        found = ()
    if not found or len(set(found)) != len(found):
        raise Wrong("'auto', 'none' (point-to-point), an IP address, or a list of different addresses")
    return found


Weight = int | Literal["auto"]  # "auto": follows what is measured (netbond.sources.auto_weight)


def weight(value: object) -> Weight:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
        raise Wrong("a whole number from 1 to 256, or 'auto'")
    return value


def destinations(value: object) -> tuple[str, ...]:
    """Prefixes in canonical form, host names in small letters."""
    if not isinstance(value, list) or not value:
        raise Wrong("a list of prefixes, addresses and host names, like ['203.0.113.0/24', 'bank.example']")
    return tuple(one_destination(string(item)) for item in value)


def one_destination(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        if not targets.is_name(text):
            raise Wrong(
                f"prefixes without host bits, addresses and host names; {text!r} is none of them"
            ) from None
        return text.lower().removesuffix(".")
    if network.prefixlen == 0:
        raise Wrong("prefixes that are not everything; weights and `backup` say where everything goes")
    return str(network)


def names(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else []
    if not texts or not all(isinstance(t, str) and t.isprintable() and 0 < len(t) <= 64 for t in texts):
        raise Wrong("a list of names or patterns of uplinks, like ['usb0', 'usb*']")
    return tuple(texts)


def table_bases(value: object) -> tuple[tuple[str, int], ...]:
    expected = Wrong(
        f"a table such as {{usb = 100, eth = 110}}: each takes {PER_FAMILY} tables from 1 to {HIGHEST_TABLE}"
    )
    if not isinstance(value, dict):
        raise expected
    taken: set[int] = set()
    for name, base in value.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,11}", name) or type(base) is not int:
            raise expected
        numbers = set(range(base, base + PER_FAMILY))
        if base < 1 or base + PER_FAMILY - 1 > HIGHEST_TABLE or taken & numbers:
            raise expected
        taken |= numbers
    return tuple(value.items())


def word(value: object) -> str:
    text = string(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", text):
        raise Wrong("a name of letters, digits, '.', '_' and '-'")
    return text


def table_range(value: object) -> tuple[int, int]:
    expected = Wrong("two table numbers, lowest and highest, like [130, 219], between 1 and 252")
    if not isinstance(value, list) or len(value) != 2:
        raise expected
    low, high = value
    if type(low) is not int or type(high) is not int or not 1 <= low <= high <= HIGHEST_TABLE:
        raise expected
    return (low, high)


def lan_patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Wrong("a list of interface names or patterns, like ['eth1', 'br0']")
    return tuple(match_pattern(item) for item in value)


def mark_mask(value: object) -> int:
    mask: int = whole(0xFF, 0xFFFFFFFF)(value)
    lowest = mask & -mask
    if mask & (mask + lowest) or mask // lowest < 0xFF:
        raise Wrong("a mask of 8 or more bits in a row, like 0xff000000")
    return mask


UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def byte_count(value: object) -> int:
    if value == "" or (type(value) is int and value == 0):
        return 0
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{1,6}))? ?([MGT]i?B)", text)
    if match is None:
        raise Wrong("a number and one of " + ", ".join(UNITS) + ", like '50GB'; 0 for none")
    fraction = match[2] or ""
    factor: int = 10 ** len(fraction)
    return int(match[1] + fraction) * UNITS[match[3]] // factor


def number(low: float, high: float) -> Parse:
    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise Wrong(f"a number from {low:g} to {high:g}")
        return float(value)

    return parse


def list_of(of: Parse, what: str, longest: int) -> Parse:
    def parse(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > longest:
            raise Wrong(f"a list of at most {longest} {what}")
        found = tuple(of(item) for item in value)
        if len(set(found)) != len(found):
            raise Wrong(f"a list of {what} without repetition")
        return found

    return parse


def optional_checks(value: object) -> tuple[str, ...] | None:
    checks: tuple[str, ...] = list_of(word, "names of checks", 8)(value) if value != "" else ()
    return None if value == "" else checks


def resolver_address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(string(value)))
    except ValueError:
        raise Wrong("a list of addresses of DNS servers, like ['1.1.1.1', '2606:4700:4700::1111']") from None


def query_name(value: object) -> str:
    try:
        target = targets.parse("icmp", string(value))
    except ValueError:
        target = None
    if target is None or target.address is not None:
        raise Wrong("a host name, like 'example.com'")
    return target.host
