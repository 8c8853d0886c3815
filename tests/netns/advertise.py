"""Sends router advertisements (RFC 4861, 4.2) into a namespace, as an IPv6 router does. Needs root."""

from __future__ import annotations

import ipaddress
import socket
import struct

from tests.netns.spaces import inside

PREFERENCE = {"medium": 0b00, "high": 0b01, "low": 0b11}  # RFC 4191, 2.1


def advertise(
    namespace: str,
    device: str,
    *prefixes: str,
    source: str = "fe80::1",
    lifetime_s: int = 1800,
    valid_s: int = 3600,
    preference: str = "medium",
) -> None:
    """Send one advertisement from `source`, a link-local address that `device` has."""
    packet = struct.pack("!BBHBBHII", 134, 0, 0, 64, PREFERENCE[preference] << 3, lifetime_s, 0, 0)
    for prefix in map(ipaddress.IPv6Network, prefixes):
        packet += struct.pack("!BBBBIII", 3, 4, prefix.prefixlen, 0xC0, valid_s, valid_s, 0)
        packet += prefix.network_address.packed
    with inside(namespace):
        out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        index = socket.if_nametoindex(device)
    with out:
        out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        out.bind((source, 0, 0, index))
        out.sendto(packet, ("ff02::1", 0, 0, index))
