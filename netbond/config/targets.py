"""Reads the targets of checks: '1.1.1.1', 'example.org:443', 'http://example.org/generate_204'. Pure.

It must be quick to import: the configuration checks its targets with it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

KINDS = ("gateway", "icmp", "tcp", "dns", "http", "command")

GATEWAY = "gateway"  # as a host: the gateway of the uplink that is checked

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_URL = re.compile(
    r"http://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]/?#@:\s]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)

EXPECTED = {
    "gateway": "no targets: it asks the uplink's own gateway",
    "icmp": "addresses or host names, like '1.1.1.1' (or 'gateway')",
    "tcp": "'host:port', like '1.1.1.1:443' (IPv6 in brackets: '[2606:4700:4700::1111]:443')",
    "dns": "addresses of DNS servers, like '1.1.1.1' or '[2606:4700:4700::1111]:53' (or 'gateway')",
    "command": "no targets: it runs its command",
    "http": "plain 'http://host/path' (https cannot be intercepted, so it does not find a captive portal)",
}


@dataclass(frozen=True, slots=True)
class Target:
    """One target. `text` is what the user wrote, `host` is a name, an address or "gateway"."""

    text: str
    host: str
    port: int = 0
    path: str = ""

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host as an address; None for a name and for "gateway"."""
        return as_address(self.host)


@lru_cache(maxsize=1024)  # addresses of links and receivers are asked for each second
def as_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address without scope, or None."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address


def is_host(text: str) -> bool:
    """Whether a resolver can be asked for it: a name, or an address with or without its zone.

    Numbers such as '127.1' are for the resolver to judge.
    """
    address, zoned, zone = text.partition("%")
    if as_address(address) is None:
        return _NAME.fullmatch(text) is not None
    return not zoned or (":" in address and re.fullmatch(r"[A-Za-z0-9._-]{1,15}", zone) is not None)


def is_name(text: str) -> bool:
    """Whether it can be a host's name. A last label of digits is a mistyped address (RFC 3696, section 2)."""
    return bool(_NAME.fullmatch(text)) and not text.removesuffix(".").rpartition(".")[2].isdigit()


def parse(kind: str, text: str) -> Target:
    """Read a target of a check of this kind; ValueError says what is expected."""
    found = _parse(kind, text)
    if found is None:
        raise ValueError(EXPECTED[kind])
    return found


def _parse(kind: str, text: str) -> Target | None:
    if kind == "icmp":
        host = _host(text)
        return None if host is None else Target(text, host)
    if kind == "tcp":
        return _host_port(text, None)
    if kind == "dns":
        target = _host_port(text, 53)
        # A DNS check that first needs a DNS server would say little when it fails.
        return target if target and (target.address or target.host == GATEWAY) else None
    if kind == "http":
        return _url(text)
    return None


def _host(text: str) -> str | None:
    """A name or an address; None for anything else, such as '1.2.3' or '300.1.1.1'."""
    address = as_address(text)
    if address is not None:
        return None if address.is_multicast or address.is_unspecified else str(address)
    return text if is_name(text) else None


def _port(text: str) -> int | None:
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    return port if 1 <= port <= 65535 else None


def _host_port(text: str, default: int | None) -> Target | None:
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(.+))?", text)
    if bracketed:
        name, given = bracketed[1], bracketed[2]
    elif as_address(text) is not None:  # an IPv6 address without port
        name, given = text, None
    else:
        name, colon, after = text.partition(":")
        given = after if colon else None
    host = _host(name)
    port = default if given is None else _port(given)
    return None if host is None or port is None else Target(text, host, port)


def _url(text: str) -> Target | None:
    match = _URL.fullmatch(text)
    if match is None or not text.isascii() or not text.isprintable() or " " in text:
        return None
    host = _host(match["host"].strip("[]"))
    port = 80 if match["port"] is None else _port(match["port"])
    if host is None or port is None:
        return None
    return Target(text, host, port, (match["path"] or "/").partition("#")[0])
