"""Reads the values of [[policy]]: tiers of uplinks, and what traffic is told apart by. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from netbond.config import values as v
from netbond.config.values import InvalidValueError, Kind, kind

MOST = 64  # values of one key
MOST_TIERS = 8

Tier = tuple[tuple[str, int], ...]  # names or patterns of uplinks, each with its weight; 0: the uplink's own

# Numbers for IPv4 and IPv6 (IANA, protocol numbers).
PROTOCOLS = {
    "tcp": (6, 6),
    "udp": (17, 17),
    "icmp": (1, 58),
    "gre": (47, 47),
    "esp": (50, 50),
    "ah": (51, 51),
    "sctp": (132, 132),
    "udplite": (136, 136),
}
WITH_PORTS = frozenset({"tcp", "udp", "sctp", "udplite"})

# Code points by name (RFC 2474, 2597, 3246, 5865, 8622). 0 is missing: a rule cannot ask for it.
DSCP = {
    "le": 1,
    **{f"cs{number}": 8 * number for number in range(1, 8)},
    **{f"af{one}{two}": 8 * one + 2 * two for one in range(1, 5) for two in range(1, 4)},
    "va": 44,
    "ef": 46,
}


def some(of: Kind, what: str, longest: int = MOST) -> Kind:
    """One value, or a list of several different ones; `what` are the words for them. Gives a tuple."""

    @kind(
        {
            "anyOf": [
                of.schema,
                {"type": "array", "items": of.schema, "maxItems": longest, "uniqueItems": True},
            ]
        }
    )
    def read(value: object) -> tuple[Any, ...]:
        values = value if isinstance(value, list) else [value]
        if len(values) > longest:
            raise InvalidValueError(f"at most {longest} {what}")
        found = tuple(of(item) for item in values)
        if len(set(found)) != len(found):
            raise InvalidValueError(f"{what} without repetition")
        return found

    return read


_DESTINATION = v.destinations.schema["items"]


@kind(_DESTINATION)
def _destination(value: object) -> str:
    found: tuple[str, ...] = v.destinations([value])
    return found[0]


destinations = some(_destination, "prefixes, addresses and host names")


@kind(_DESTINATION["anyOf"][0])
def _source(value: object) -> str:
    try:
        network = ipaddress.ip_network(value) if isinstance(value, str) else None
    except ValueError:
        network = None
    if network is None:
        raise InvalidValueError("addresses and prefixes without host bits, like '192.168.1.20'")
    if not network.prefixlen:
        raise InvalidValueError("prefixes that are not everything; leave the key out for that")
    return str(network)


sources = some(_source, "addresses and prefixes")


@kind({"type": "string", "minLength": 1, "maxLength": 64, "not": {"pattern": r"[\s/]"}})
def _interface(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 64 or re.search(r"[\s/]", value):
        raise InvalidValueError("interface names or patterns, like 'br0'")
    return value


interfaces = some(_interface, "interface names or patterns")


def _number(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@kind({"anyOf": [{"enum": sorted(PROTOCOLS)}, {"type": "integer", "minimum": 1, "maximum": 255}]})
def _protocol(value: object) -> str:
    if isinstance(value, str) and value in PROTOCOLS:
        return value
    if not _number(value, 1, 255):
        raise InvalidValueError("a number from 1 to 255, or one of " + ", ".join(map(repr, PROTOCOLS)))
    return next((name for name, (four, six) in PROTOCOLS.items() if four == six == value), str(value))


protocols = some(_protocol, "protocols")


def _range(low: int, high: int, what: str) -> Callable[[object], tuple[int, int]]:
    def read(value: object) -> tuple[int, int]:
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
        if not low <= first <= last <= high:
            raise InvalidValueError(what)
        return first, last

    return read


ports = some(
    Kind(
        _range(1, 65535, "ports from 1 to 65535, or ranges of them, like '5000-5010'"),
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$"},
            ]
        },
    ),
    "ports or ranges of ports",
)


@kind({"anyOf": [{"enum": sorted(DSCP)}, {"type": "integer", "minimum": 1, "maximum": 63}]})
def _dscp(value: object) -> int:
    if isinstance(value, str) and value in DSCP:
        return DSCP[value]
    if not isinstance(value, int) or not _number(value, 1, 63):
        raise InvalidValueError("code points by name, like 'ef', 'af41' or 'cs5', or from 1 to 63")
    return value


dscps = some(_dscp, "code points")


@kind(
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 0xFFFFFFFF},
            {
                "type": "string",
                "pattern": "^(0x[0-9A-Fa-f]{1,8}|[0-9]{1,10})(/(0x[0-9A-Fa-f]{1,8}|[0-9]{1,10}))?$",
            },
        ]
    }
)
def _mark(value: object) -> tuple[int, int]:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    number = "(0x[0-9A-Fa-f]{1,8}|[0-9]{1,10})"
    match = re.fullmatch(f"{number}(?:/{number})?", text)
    base = {True: 16, False: 10}
    mark, mask = (
        tuple(int(part, base[part.startswith("0x")]) for part in (match[1], match[2] or "0xffffffff"))
        if match
        else (0, 0)
    )
    if not 0 < mark <= 0xFFFFFFFF or not mask <= 0xFFFFFFFF or mark & ~mask:
        raise InvalidValueError("marks other than 0, with or without a mask: '0x10/0xff'")
    return mark, mask


marks = some(_mark, "marks")

HIGHEST_UID = 2**32 - 2
_uids = _range(0, HIGHEST_UID, "")


@kind(
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": HIGHEST_UID},
            {"type": "string", "pattern": "^([0-9]{1,10}(-[0-9]{1,10})?|[A-Za-z_][A-Za-z0-9_.-]{0,31}[$]?)$"},
        ]
    }
)
def _user(value: object) -> str:
    """The name of a user, or "1000-1000" for numbers."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}[$]?", value):
        return value
    try:
        return "{}-{}".format(*_uids(value))
    except InvalidValueError:
        raise InvalidValueError("users by name or number, or ranges of numbers, like '1000-1999'") from None


users = some(_user, "users")

# --- tiers -------------------------------------------------------------------------------------------------

_UPLINK = v.names.schema["items"]


def _name(value: object) -> str:
    found: tuple[str, ...] = v.names([value])
    return found[0]


def _tier(value: object) -> Tier:
    if isinstance(value, str):
        return ((_name(value), 0),)
    if not isinstance(value, list | dict):
        raise InvalidValueError(
            "tiers, each a name, a list of names, or a table of weights: ['dsl', ['usb0', 'usb1'],"
            " {wwan0 = 2, wwan1 = 1}]"
        )
    if not value:
        raise InvalidValueError("at least one uplink in each tier")
    if len(value) > MOST:
        raise InvalidValueError(f"at most {MOST} uplinks in a tier")
    if isinstance(value, list):
        return tuple((_name(name), 0) for name in value)
    for name, weight in value.items():
        if not _number(weight, 1, 256):
            raise InvalidValueError(f"a weight from 1 to 256 for {name!r}")
    return tuple((_name(name), weight) for name, weight in value.items())


@kind(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_TIERS,
        "uniqueItems": True,
        "items": {
            "anyOf": [
                _UPLINK,
                {
                    "type": "array",
                    "items": _UPLINK,
                    "minItems": 1,
                    "maxItems": MOST,
                    "uniqueItems": True,
                },
                {
                    "type": "object",
                    "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 256},
                    "minProperties": 1,
                    "maxProperties": MOST,
                },
            ]
        },
    }
)
def tiers(value: object) -> tuple[Tier, ...]:
    """The tiers in the order of preference."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_TIERS:
        raise InvalidValueError(f"a list of 1 to {MOST_TIERS} tiers of uplinks, like ['dsl', 'lte*']")
    found = tuple(_tier(item) for item in value)
    names = [name for tier in found for name, _ in tier]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidValueError(f"each name once; {twice!r} is there twice")
    return found


# --- time and rate -----------------------------------------------------------------------------------------

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
LONGEST_S = 7 * 86400


@kind({"anyOf": [{"const": ""}, {"type": "string", "pattern": "^[0-9]{1,6} ?(s|min|h|d)$"}]})
def duration(value: object) -> int:
    """Seconds; 0 for an empty string."""
    if value == "":
        return 0
    match = re.fullmatch(r"([0-9]{1,6}) ?(s|min|h|d)", value if isinstance(value, str) else "")
    found = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 1 <= found <= LONGEST_S:
        raise InvalidValueError("a time up to 7 days with its unit, like '30s', '10min' or '2h'")
    return found


_BIT_S = {"kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9}
LEAST_BPS, MOST_BPS = 10_000, 400 * 10**9


@kind(
    {
        "anyOf": [
            {"const": ""},
            {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})? ?[kMG]bit/s$"},
        ]
    }
)
def line_rate(value: object) -> int:
    """Bit/s; 0 for an empty string."""
    if value == "":
        return 0
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{1,6}))? ?([kMG]bit/s)", text)
    fraction = (match[2] or "") if match else ""
    scale: int = 10 ** len(fraction)
    found = int(match[1] + fraction) * _BIT_S[match[3]] // scale if match else 0
    if not LEAST_BPS <= found <= MOST_BPS:
        raise InvalidValueError("a rate from 10 kbit/s on, like '8Mbit/s' or '800kbit/s'")
    return found
