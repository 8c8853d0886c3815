"""Reads single values of the configuration: one small object for each kind of value. Pure.

A Kind takes what TOML gave and returns what netbond works with, or raises InvalidValueError with the words
that follow "expected". It also says the same as a JSON Schema, as far as a schema can
(netbond.config.json_schema).
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from netbond.config import targets
from netbond.config.pattern import KEYS, Match

TABLES_PER_NAME = 5  # tables of each of `table_bases`: usb0-4 have 100-104 (netbond.tables)
HIGHEST_TABLE = 252  # 253-255 are the kernel's
DEFAULT_QUERY = "example.com"  # of a DNS check
DEFAULT_EXPECT = 204  # of an HTTP check


class InvalidValueError(Exception):
    """The value is invalid. The text says what is expected; netbond.config.load makes a ConfigError of it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: called with a value of TOML it returns what netbond works with.

    It raises InvalidValueError if the value is invalid. `schema` is a JSON Schema of the valid values.
    """

    read: Callable[[object], Any]
    schema: Mapping[str, Any]

    def __call__(self, value: object) -> Any:
        return self.read(value)


def kind(schema: Mapping[str, Any]) -> Callable[[Callable[[object], Any]], Kind]:
    """Makes a Kind of a function that reads a value."""
    return lambda read: Kind(read, schema)


def or_empty(of: Kind, empty: object = None) -> Kind:
    """`of`, or an empty string, which stands for `empty`."""

    def read(value: object) -> Any:
        return empty if value == "" else of(value)

    return Kind(read, {"anyOf": [{"const": ""}, of.schema]})


# --- endpoints ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostPort:
    """A UDP or TCP endpoint as the user wrote it; `host` is a name or an address, without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_host_port(text: str) -> HostPort:
    """Read 'host:port' or '[v6]:port'; ValueError says what is expected."""
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


# --- patterns of the schemas -------------------------------------------------------------------------------
# In the language that JSON Schema has for them (ECMA-262), which has neither \A nor \Z.

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(\.{_OCTET}){{3}}"
_IPV6 = "(?=[^%]*:[^%]*:)[0-9A-Fa-f:.]{2,45}(%[^%/]+)?"  # which of these is an address the reader decides
_PORT = (
    "(0{0,4}[1-9]|0{0,3}[1-9][0-9]|0{0,2}[1-9][0-9]{2}|0?[1-9][0-9]{3}|[1-5][0-9]{4}"
    "|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"{_LABEL}(\.{_LABEL})*\.?"

_ADDRESS: Mapping[str, Any] = {"type": "string", "pattern": rf"^({_IPV4}|{_IPV6})$"}
# No multicast, loopback or unspecified address.
_GATEWAY: Mapping[str, Any] = {
    **_ADDRESS,
    "not": {"pattern": r"^(0\.0\.0\.0$|127\.|22[4-9]\.|23[0-9]\.|[Ff]{2}[0-9A-Fa-f]{2}:|[0:]*[01]?(%.*)?$)"},
}
_HOST_NAME: Mapping[str, Any] = {
    "type": "string",
    "maxLength": 253,
    "pattern": f"^{_NAME}$",
    "not": {"pattern": r"(^|\.)[0-9]+\.?$"},  # a last label of digits is a mistyped address
}
_PREFIX: Mapping[str, Any] = {
    "type": "string",
    "pattern": rf"^({_IPV4}(/[0-9.]{{1,15}})?|{_IPV6}(/[0-9]{{1,3}})?)$",
    "not": {"pattern": "/0+$"},
}
_NO_CONTROL: Mapping[str, Any] = {"not": {"pattern": "[\\u0000-\\u001f\\u007f]"}}


# --- plain values ------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValueError("a string")
    return value


string = Kind(_text, {"type": "string"})


@kind({"type": "boolean"})
def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError("true or false")
    return value


def whole(low: int, high: int) -> Kind:
    """Whole numbers from `low` to `high`."""

    @kind({"type": "integer", "minimum": low, "maximum": high})
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidValueError(f"a whole number from {low} to {high}")
        return value

    return read


def number(low: float, high: float) -> Kind:
    """Numbers from `low` to `high`, with or without a fraction."""

    @kind({"type": "number", "minimum": low, "maximum": high})
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InvalidValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return read


def zero_or(of: Kind, what: str) -> Kind:
    """`of`, or 0; `what` are the words for the values of `of`."""

    @kind({"anyOf": [{"const": 0}, of.schema]})
    def read(value: object) -> Any:
        if value == 0 and not isinstance(value, bool):
            return 0
        try:
            return of(value)
        except InvalidValueError:
            raise InvalidValueError(f"0 or {what}") from None

    return read


def milliseconds(low: int, high: int) -> Kind:
    """Milliseconds from `low` to `high`, or 0."""
    return zero_or(whole(low, high), f"milliseconds from {low} to {high}")


def one_of(*choices: str) -> Kind:
    """One of these strings."""

    @kind({"enum": list(choices)})
    def read(value: object) -> str:
        if value not in choices:
            raise InvalidValueError("one of " + ", ".join(repr(choice) for choice in choices))
        return str(value)

    return read


def list_of(of: Kind, what: str, longest: int) -> Kind:
    """Lists without repetition; `what` are the words for several values of `of`."""

    @kind({"type": "array", "items": of.schema, "maxItems": longest, "uniqueItems": True})
    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > longest:
            raise InvalidValueError(f"a list of at most {longest} {what}")
        found = tuple(of(item) for item in value)
        if len(set(found)) != len(found):
            raise InvalidValueError(f"a list of {what} without repetition")
        return found

    return read


@kind({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,32}$"})
def word(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", text):
        raise InvalidValueError("a name of letters, digits, '.', '_' and '-'")
    return text


MAX_WORDS = 64  # of a command


@kind(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_WORDS,
        "items": {"type": "string", "maxLength": 4096, "not": {"pattern": "\\u0000"}},
        "prefixItems": [{"type": "string", "pattern": "^/[^$\\u0000]*[^$/\\u0000]$"}],
    }
)
def command(value: object) -> tuple[str, ...]:
    """A program with its arguments; no shell takes them apart."""
    words = value if isinstance(value, list) and len(value) <= MAX_WORDS else []
    texts = tuple(word for word in words if isinstance(word, str) and len(word) <= 4096 and "\0" not in word)
    if not texts or len(texts) != len(words) or not re.fullmatch(r"(?s)/[^$]*[^$/]", texts[0]):
        raise InvalidValueError(
            "a list of words, the first an absolute path, like ['/usr/local/bin/tell', '--all']"
        )
    return texts


@kind({"anyOf": [{"type": "array", "maxItems": 0}, command.schema]})
def optional_command(value: object) -> tuple[str, ...]:
    """A command, or an empty list for none."""
    found: tuple[str, ...] = () if value == [] else command(value)
    return found


@kind({"type": "string", "pattern": "^/[^\\u0000]*$"})
def absolute_path(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute() or "\0" in str(path):
        raise InvalidValueError("an absolute path")
    return path


optional_path = or_empty(absolute_path)


@kind({"type": "string", "maxLength": 261, "pattern": rf"^({_NAME}|\[({_NAME}|{_IPV6})\]):{_PORT}$"})
def host_port(value: object) -> HostPort:
    try:
        return parse_host_port(_text(value))
    except ValueError as error:
        raise InvalidValueError(str(error)) from None


MAX_RECEIVERS = 8  # of one sender


@kind(
    {
        "anyOf": [
            host_port.schema,
            {
                "type": "array",
                "items": host_port.schema,
                "minItems": 1,
                "maxItems": MAX_RECEIVERS,
                "uniqueItems": True,
            },
        ]
    }
)
def host_ports(value: object) -> HostPort | tuple[HostPort, ...]:
    """One endpoint, or a list of them in the order of preference."""
    if not isinstance(value, list):
        found: HostPort = host_port(value)
        return found
    several = tuple(host_port(item) for item in value)
    if not 1 <= len(several) <= MAX_RECEIVERS or len(set(several)) != len(several):
        raise InvalidValueError(f"one 'host:port', or a list of 1 to {MAX_RECEIVERS} different ones")
    return several[0] if len(several) == 1 else several


@kind({"type": "string", "pattern": rf"^({_IPV4}|\[({_IPV4}|{_IPV6})\]):{_PORT}$"})
def address_endpoint(value: object) -> HostPort:
    endpoint: HostPort = host_port(value)
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        raise InvalidValueError(
            "an address of this box and a port, like '127.0.0.1:6000' or '[::]:5000'"
        ) from None
    return endpoint


optional_address_endpoint = or_empty(address_endpoint)


# --- values of single keys ---------------------------------------------------------------------------------


def _hardware_pattern(key: str, value: object) -> str:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        raise InvalidValueError(f"{near[0]!r} instead of {key!r}" if near else "only " + ", ".join(KEYS))
    if not isinstance(value, str) or not value or len(value) > 128 or not value.isprintable():
        raise InvalidValueError(
            f"a pattern for {key}, like the values that `udevadm info /sys/class/net/usb0` shows"
        )
    return "?".join(value.split(" "))  # a blank fits `?`; the text of a Match separates its keys by blanks


_NAME_PATTERN: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "not": {"pattern": r"[\s/]"},
}
_HARDWARE_PATTERN: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 128, **_NO_CONTROL}


@kind(
    {
        "anyOf": [
            _NAME_PATTERN,
            {
                "type": "object",
                "properties": dict.fromkeys(KEYS, _HARDWARE_PATTERN),
                "additionalProperties": False,
                "minProperties": 1,
            },
        ]
    }
)
def match_pattern(value: object) -> str:
    """A pattern for the interface's name, or a table of patterns for its hardware: the text of a Match."""
    if isinstance(value, dict):
        given = {key: _hardware_pattern(key, pattern) for key, pattern in value.items()}
        if not given:
            raise InvalidValueError("a pattern for at least one of " + ", ".join(KEYS))
        return str(Match(**given))
    text = _text(value)
    if not text or len(text) > 64 or any(c.isspace() or c == "/" for c in text):
        raise InvalidValueError("an interface name or a pattern such as 'usb*'")
    return str(Match(name=text))


@kind({"type": "string", "minLength": 1, "maxLength": 512, **_NO_CONTROL})
def stream_pattern(value: object) -> str:
    text = _text(value)
    if not text or len(text) > 512 or not text.isprintable():
        raise InvalidValueError("a pattern for stream ids, like 'live/*'")
    return text


@kind({"type": "array", "items": match_pattern.schema})
def lan_patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidValueError("a list of interface names or patterns, like ['eth1', 'br0']")
    return tuple(match_pattern(item) for item in value)


@kind({"type": "string", "pattern": "^([A-Za-z0-9._-]([A-Za-z0-9 ._-]{0,30}[A-Za-z0-9._-])?)?$"})
def label_text(value: object) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"[A-Za-z0-9._-]([A-Za-z0-9 ._-]{0,30}[A-Za-z0-9._-])?", text):
        raise InvalidValueError("at most 32 letters, digits, blanks, '.', '_' and '-'")
    return text


@kind(
    {
        "anyOf": [
            {"enum": ["auto", "none"]},
            _GATEWAY,
            {"type": "array", "items": _GATEWAY, "minItems": 1, "uniqueItems": True},
        ]
    }
)
def gateways(value: object) -> tuple[str, ...]:
    if value in ("auto", "none"):
        return (str(value),)
    addresses = value if isinstance(value, list) else [value]
    try:
        found = tuple(_gateway(_text(item)) for item in addresses)
    except ValueError:
        found = ()
    if not found or len(set(found)) != len(found):
        raise InvalidValueError(
            "'auto', 'none' (point-to-point), an IP address, or a list of different addresses"
        )
    return found


def _gateway(text: str) -> str:
    """An address that a gateway can have; ValueError.

    Without its zone ("%usb0"): the uplink's interface is the zone. The kernel names none in its routes, so a
    route with one would never be the one that is there.
    """
    ipaddress.ip_address(text)
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if mapped or address.is_multicast or address.is_loopback or address.is_unspecified:
        raise ValueError
    return str(address)


FlagOrAuto = bool | Literal["auto"]  # "auto": netbond finds out


@kind({"anyOf": [{"type": "boolean"}, {"const": "auto"}]})
def flag_or_auto(value: object) -> FlagOrAuto:
    if value == "auto":
        return "auto"
    if not isinstance(value, bool):
        raise InvalidValueError("true, false, or 'auto'")
    return value


Weight = int | Literal["auto"]  # "auto": follows what is measured (netbond.sources.auto_weight)


@kind({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 256}]})
def weight(value: object) -> Weight:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
        raise InvalidValueError("a whole number from 1 to 256, or 'auto'")
    return value


def _destination(text: str) -> str:
    """A prefix in canonical form, or a host name in small letters."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        if not targets.is_name(text):
            raise InvalidValueError(
                f"prefixes without host bits, addresses and host names; {text!r} is none of them"
            ) from None
        return text.lower().removesuffix(".")
    if network.prefixlen == 0:
        raise InvalidValueError(
            "prefixes that are not everything; weights and `backup` say where everything goes"
        )
    return str(network)


@kind(
    {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [_PREFIX, _HOST_NAME]},
    }
)
def destinations(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidValueError(
            "a list of prefixes, addresses and host names, like ['203.0.113.0/24', 'bank.example']"
        )
    return tuple(_destination(_text(item)) for item in value)


@kind(
    {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string", "minLength": 1, "maxLength": 64, **_NO_CONTROL},
    }
)
def names(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else []
    if not texts or not all(isinstance(t, str) and t.isprintable() and 0 < len(t) <= 64 for t in texts):
        raise InvalidValueError("a list of names or patterns of uplinks, like ['usb0', 'usb*']")
    return tuple(texts)


@kind(
    {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z][A-Za-z_-]{0,11}$"},
        "additionalProperties": {
            "type": "integer",
            "minimum": 1,
            "maximum": HIGHEST_TABLE - TABLES_PER_NAME + 1,
        },
    }
)
def table_bases(value: object) -> tuple[tuple[str, int], ...]:
    expected = InvalidValueError(
        f"a table such as {{usb = 100, eth = 110}}: each takes {TABLES_PER_NAME} tables from 1 to"
        f" {HIGHEST_TABLE}"
    )
    if not isinstance(value, dict):
        raise expected
    taken: set[int] = set()
    for name, base in value.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,11}", name) or type(base) is not int:
            raise expected
        numbers = set(range(base, base + TABLES_PER_NAME))
        if base < 1 or base + TABLES_PER_NAME - 1 > HIGHEST_TABLE or taken & numbers:
            raise expected
        taken |= numbers
    return tuple(value.items())


@kind(
    {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": HIGHEST_TABLE},
        "minItems": 2,
        "maxItems": 2,
    }
)
def table_range(value: object) -> tuple[int, int]:
    expected = InvalidValueError("two table numbers, lowest and highest, like [130, 219], between 1 and 252")
    if not isinstance(value, list) or len(value) != 2:
        raise expected
    low, high = value
    if type(low) is not int or type(high) is not int or not 1 <= low <= high <= HIGHEST_TABLE:
        raise expected
    return (low, high)


@kind({"type": "integer", "minimum": 0xFF, "maximum": 0xFFFFFFFF})
def mark_mask(value: object) -> int:
    mask: int = whole(0xFF, 0xFFFFFFFF)(value)
    lowest = mask & -mask
    if mask & (mask + lowest) or mask // lowest < 0xFF:
        raise InvalidValueError("a mask of 8 or more bits in a row, like 0xff000000")
    return mask


UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@kind(
    {
        "anyOf": [
            {"enum": ["", 0]},
            {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})? ?[MGT]i?B$"},
        ]
    }
)
def byte_count(value: object) -> int:
    if value == "" or (type(value) is int and value == 0):
        return 0
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{1,6}))? ?([MGT]i?B)", text)
    if match is None:
        raise InvalidValueError("a number and one of " + ", ".join(UNITS) + ", like '50GB'; 0 for none")
    fraction = match[2] or ""
    factor: int = 10 ** len(fraction)
    return int(match[1] + fraction) * UNITS[match[3]] // factor


BIT_UNITS = {"k": 10**3, "M": 10**6}


def bit_rate(low: int, high: int) -> Kind:
    """Bit/s from `low` to `high`: a whole number, or text with k or M."""
    expected = f"bit/s from {low} to {high}, as a number or like '0.5M' or '800k'"

    @kind(
        {
            "anyOf": [
                {"type": "integer", "minimum": low, "maximum": high},
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?[kM]$"},
            ]
        }
    )
    def read(value: object) -> int:
        match = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?([kM])", value if type(value) is str else "")
        if match is not None:
            fraction = match[2] or ""
            scale: int = 10 ** len(fraction)
            value = int(match[1] + fraction) * BIT_UNITS[match[3]] // scale
        if type(value) is not int or not low <= value <= high:
            raise InvalidValueError(expected)
        return value

    return read


@kind(_ADDRESS)
def resolver_address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError:
        raise InvalidValueError(
            "a list of addresses of DNS servers, like ['1.1.1.1', '2606:4700:4700::1111']"
        ) from None


@kind(_HOST_NAME)
def query_name(value: object) -> str:
    try:
        target = targets.parse("icmp", _text(value))
    except ValueError:
        target = None
    if target is None or target.address is not None:
        raise InvalidValueError("a host name, like 'example.com'")
    return target.host
