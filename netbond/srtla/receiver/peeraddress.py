"""The address of a peer as sockets give it, and as people and other programs read it. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any

PeerAddress = tuple[Any, ...]  # (host, port) or (host, port, flow, scope), as recvfrom gives it


def format_address(address: PeerAddress) -> str:
    """'192.0.2.1:5000' or '[2001:db8::1]:5000'; an IPv4 peer of a dual-stack socket is shown as IPv4."""
    host, port = format_host(address), int(address[1])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def format_host(address: PeerAddress) -> str:
    """'192.0.2.1' or '2001:db8::1'."""
    host = str(address[0])
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host


def packed_address(address: PeerAddress) -> bytes:
    """IP address and port, big-endian: 6 bytes of IPv4, 18 of IPv6."""
    host = ipaddress.ip_address(format_host(address).partition("%")[0])
    return host.packed + int(address[1]).to_bytes(2, "big")
