"""Measures which packets get through an uplink: pings that must not be fragmented, of several sizes.

What routers say by ICMP of the path's MTU is not used: modems often do not pass it on, and then packets that
are too long vanish.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import struct
from collections.abc import Iterable

from netbond.health.packets import echo_request, is_echo_reply
from netbond.health.probes import ICMP6_FILTER, ICMP_FILTER, SOL_RAW, ProbedUplink, bound_socket, endpoint_of
from netbond.model import IPAddress

# linux/in.h, linux/in6.h: do not fragment, and do not believe what the kernel knows of the path.
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_PROBE = 3
_HEADERS = {4: 28, 6: 48}  # IP and ICMP
_LARGEST = 65536
_ATTEMPTS = 2
ECHO_REPLY, ECHO_REPLY6 = 0, 129


async def largest_echo(
    target: IPAddress, sizes: Iterable[int], uplink: ProbedUplink, timeout_s: float
) -> int | None:
    """The longest IP packet, in bytes, that `target` has answered through the uplink; None: it answers none.

    OSError if the packets cannot be sent at all. Needs root.
    """
    loop = asyncio.get_running_loop()
    version = target.version
    ident = secrets.randbelow(0x10000)
    tokens = {
        size: secrets.token_bytes(8) + bytes(size - _HEADERS[version] - 8) for size in sorted(set(sizes))
    }
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    best: int | None = None
    with bound_socket(uplink, socket.SOCK_RAW, protocol) as sock:
        level, option = _MTU_DISCOVER[version]
        sock.setsockopt(level, option, _PROBE)
        if version == 4:
            sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << ECHO_REPLY) & 0xFFFFFFFF))
        else:
            words = [0xFFFFFFFF] * 8
            words[ECHO_REPLY6 // 32] &= ~(1 << ECHO_REPLY6 % 32)
            sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))
        sock.connect(endpoint_of(target, 0, uplink))
        for _ in range(_ATTEMPTS):
            for size in (size for size in tokens if size > (best or 0)):
                try:
                    sock.send(echo_request(version, ident, size, tokens[size]))
                except OSError:
                    if size == min(tokens):
                        raise
                    # longer than the device's own MTU
            try:
                async with asyncio.timeout(timeout_s / _ATTEMPTS):
                    while best != max(tokens):
                        try:
                            packet = await loop.sock_recv(sock, _LARGEST)
                        except OSError as error:
                            if error.errno == errno.EMSGSIZE:
                                continue  # a router says that one was too long; others may get through
                            raise
                        best = max(best or 0, _answered(packet, version, ident, tokens)) or None
                    return best
            except TimeoutError:
                continue
    return best


def _answered(packet: bytes, version: int, ident: int, tokens: dict[int, bytes]) -> int:
    """The size of the question that this answers; 0: of none."""
    sizes = (size for size, token in tokens.items() if is_echo_reply(version, packet, ident, size, token))
    return next(sizes, 0)
