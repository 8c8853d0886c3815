"""Asks what is behind a gateway that is not in use: an echo, a TCP connection, a DNS server.

Routes lead by the gateway in use, for the agent's own sockets, too. So these packets are made here and given
to the other gateway's hardware address, and the answers are read where frames come in (AF_PACKET): a firewall
that keeps track of connections would drop answers to what it has not seen go. Nothing of the box's routes,
rules or neighbour entries changes. An HTTP request cannot be made in this way.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from netbond.health import arp_nd
from netbond.health.packets import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    DnsAnswer,
    dns_answer,
    echo_request,
    ip_packet,
    ip_payload,
    is_echo_reply,
    tcp_answers,
    tcp_reset,
    tcp_syn,
    udp_data,
    udp_datagram,
)
from netbond.model import IPAddress

T = TypeVar("T")

KINDS = frozenset({"gateway", "icmp", "tcp", "dns"})  # the checks that can be asked in this way

ETHER_TYPE = {4: 0x0800, 6: 0x86DD}
REPEAT_S = 0.7  # a lost packet is sent again, as TCP would
LARGEST_PACKET_BYTES = 2048
RECEIVE_BUFFER_BYTES = 1 << 16

_SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
# linux/filter.h: load a word or byte at an offset of the IP header, compare, return how much is kept
_LOAD_WORD, _LOAD_BYTE, _EQUAL, _RETURN = 0x20, 0x30, 0x15, 0x06


class SilentError(Exception):
    """The gateway itself does not answer."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def from_host(target: IPAddress, protocol: int) -> list[tuple[int, int, int, int]]:
    """A filter (classic BPF) that keeps the packets of this host and protocol, and no others."""
    at, kind = (12, 9) if target.version == 4 else (8, 6)
    tests = [(_LOAD_BYTE, kind, protocol)]
    tests += [
        (_LOAD_WORD, at + 4 * n, word) for n, (word,) in enumerate(struct.iter_unpack("!I", target.packed))
    ]
    steps: list[tuple[int, int, int, int]] = []
    for number, (load, offset, value) in enumerate(tests):
        left = len(tests) - number - 1
        steps += [(load, 0, 0, offset), (_EQUAL, 0, 2 * left + 1, value)]
    return [*steps, (_RETURN, 0, 0, LARGEST_PACKET_BYTES), (_RETURN, 0, 0, 0)]


@dataclass(frozen=True, slots=True)
class Way:
    """From an address of ours to a target, by a gateway whose hardware address is known."""

    device: str
    source: IPAddress
    target: IPAddress
    hardware: bytes

    @contextlib.asynccontextmanager
    async def socket(self, protocol: int) -> AsyncIterator[socket.socket]:
        """A socket for this protocol's packets of the target; it is closed in a thread (arp_nd.ArpSocket)."""
        # Protocol 0 until bind(), and the filter before it: else others' packets would be queued.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            sock.setblocking(False)
            code = b"".join(struct.pack("=HBBI", *step) for step in from_host(self.target, protocol))
            value = bytes(_Program(len(code) // 8, code))  # `code` must outlive the call
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, value)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sock.bind((self.device, ETHER_TYPE[self.target.version]))
            yield sock
        finally:
            arp_nd.close_in_thread(sock)

    async def exchange(
        self, protocol: int, payload: bytes, match: Callable[[bytes], T | None], last: bytes = b""
    ) -> T:
        """Send this until an answer matches; then send `last`, if there is one. Without a time limit."""
        loop = asyncio.get_running_loop()
        to = (self.device, ETHER_TYPE[self.target.version], 0, 0, self.hardware)
        async with self.socket(protocol) as sock:

            def send(what: bytes = payload) -> None:
                sock.sendto(ip_packet(self.source, self.target, protocol, what), to)

            with arp_nd.repeated(send, REPEAT_S):
                while True:
                    packet, whence = await loop.sock_recvfrom(sock, LARGEST_PACKET_BYTES)
                    if whence[2] == socket.PACKET_OUTGOING:
                        continue
                    answer = ip_payload(packet, self.target, self.source, protocol)
                    found = None if answer is None else match(answer)
                    if found is not None:
                        break
            if last:
                send(last)
            return found

    async def echo(self) -> float:
        """Ask for an echo; the round-trip time in seconds."""
        loop = asyncio.get_running_loop()
        version = self.target.version
        ident, token = secrets.randbelow(0x10000), secrets.token_bytes(16)
        began = loop.time()

        def match(answer: bytes) -> float | None:
            # is_echo_reply() takes what a raw socket gives: of IPv4 with the IP header.
            head = b"\x45" + bytes(19) if version == 4 else b""
            return loop.time() - began if is_echo_reply(version, head + answer, ident, 1, token) else None

        protocol = ICMP if version == 4 else ICMPV6
        return await self.exchange(protocol, echo_request(version, ident, 1, token), match)

    async def connect(self, port: int) -> float:
        """Ask for a TCP connection, and give it up at once; the round-trip time in seconds."""
        loop = asyncio.get_running_loop()
        number = secrets.randbelow(1 << 32)
        with self._port(socket.SOCK_STREAM) as ours:
            ends = (self.source, self.target, (ours, port), number)
            began = loop.time()

            def match(answer: bytes) -> float | None:
                return loop.time() - began if tcp_answers(answer, (ours, port), number) else None

            return await self.exchange(TCP, tcp_syn(*ends), match, tcp_reset(*ends))

    async def dns(self, port: int, query: bytes) -> DnsAnswer:
        """Ask a DNS server."""
        with self._port(socket.SOCK_DGRAM) as ours:
            ports = (ours, port)

            def match(answer: bytes) -> DnsAnswer | None:
                data = udp_data(answer, ports)
                return None if data is None else dns_answer(data, query)

            return await self.exchange(UDP, udp_datagram(self.source, self.target, ports, query), match)

    @contextlib.contextmanager
    def _port(self, kind: int) -> Iterator[int]:
        """A port of ours that nobody else uses meanwhile."""
        family = socket.AF_INET if self.source.version == 4 else socket.AF_INET6
        with socket.socket(family, kind | socket.SOCK_CLOEXEC) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode())
            sock.bind((str(self.source), 0))
            yield sock.getsockname()[1]


async def way(
    device: str,
    source: IPAddress,
    gateway: IPAddress,
    target: IPAddress,
    timeout_s: float,
    arp_socket: arp_nd.ArpSocket,
) -> Way | None:
    """Find the gateway's hardware address; None if it does not tell one.

    SilentError, OSError, arp_nd.NoNeighboursError.
    """
    found = await arp_nd.find(device, source, gateway, timeout_s, arp_socket)
    if found is None:
        raise SilentError
    return None if found[1] is None else Way(device, source, target, found[1])
