"""Asking one target once, bound to the uplink's device and address, so that the answer is about that uplink.

Every probe ends within its timeout, reads a bounded amount, and closes what it opened, also when cancelled;
one socket stays open in its Way, because closing it takes long. Nothing waits in a thread, and names are
looked up through the uplink itself, not by the system's resolver.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from netbond.config.schema import CheckConfig
from netbond.config.targets import GATEWAY, Target, as_address, parse
from netbond.health import arp_nd
from netbond.health.judge import Answer, Outcome
from netbond.health.packets import (
    AAAA,
    MAX_HEAD,
    A,
    DnsAnswer,
    HttpHead,
    dns_answer,
    dns_query,
    echo_request,
    http_head,
    http_request,
    is_echo_reply,
)
from netbond.model import IPAddress
from netbond.system.text import printable

SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1
SERVFAIL = 2
MAX_DATAGRAM = 4096
TTL = (60.0, 3600.0)  # seconds for which a name's addresses are kept, whatever its TTL says
MAX_NAMES = 64

# Failures of this box, which say nothing of the uplink. A tentative IPv6 address is not available.
LOCAL_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM, errno.EADDRNOTAVAIL})


class _Failed(Exception):  # noqa: N818 - never leaves this module
    """The target did not answer as it should; says how, without naming it."""


class _Skipped(Exception):  # noqa: N818
    """The question does not apply to this uplink; says why."""


@dataclass(slots=True)
class Way:
    """The uplink through which is asked, and what is known there. `names` is a cache of resolved names.

    `frames` is to be closed when no more is asked."""

    device: str
    address: IPAddress
    gateway: IPAddress | None = None
    resolvers: tuple[IPAddress, ...] = ()
    names: dict[str, tuple[IPAddress, float]] = field(default_factory=dict)
    frames: arp_nd.Frames = field(default_factory=arp_nd.Frames)


def questions(check: CheckConfig, way: Way) -> list[Target]:
    """What this check asks on this uplink: its targets, without addresses of the other family."""
    if check.kind == "gateway":
        return [] if way.gateway is None else [Target(str(way.gateway), str(way.gateway))]
    found = []
    for text in check.targets:
        target = parse(check.kind, text)
        if target.host == GATEWAY:
            if way.gateway is None:
                continue
            target = replace(target, host=str(way.gateway))
        address = target.address
        if address is None or address.version == way.address.version:
            found.append(target)
    return found


async def probe(check: CheckConfig, target: Target, way: Way) -> Answer:
    """Ask `target` once; no longer than check.timeout, and no exception but cancellation."""
    began = time.monotonic()
    # neighbour.ask() keeps to the timeout itself, and has more to say when it is over.
    limit = None if check.kind == "gateway" else check.timeout
    try:
        async with asyncio.timeout(limit):
            rtt, detail = await _ask(check, target, way)
    except TimeoutError:
        outcome, rtt, detail = Outcome.FAILED, None, f"{target.text}: no answer within {check.timeout:g} s"
    except _Failed as failed:
        outcome, rtt, detail = Outcome.FAILED, None, f"{target.text}: {failed}"
    except _Skipped as skipped:
        outcome, rtt, detail = Outcome.SKIPPED, None, f"{target.text}: {skipped}"
    except OSError as error:
        outcome = Outcome.LOCAL if error.errno in LOCAL_ERRORS else Outcome.FAILED
        rtt, detail = None, f"{target.text}: {_reason(error)}"
    else:
        outcome, rtt = Outcome.ANSWERED, time.monotonic() - began if rtt is None else rtt
    if outcome is Outcome.FAILED:
        way.names.pop(target.host, None)  # perhaps it has moved
    return Answer(target.text, outcome, rtt, printable(detail, 300))


async def _ask(check: CheckConfig, target: Target, way: Way) -> tuple[float | None, str]:
    """The round-trip time (None: the time it took) and what to say of it."""
    if check.kind == "gateway":
        return await _gateway(way, check.timeout), ""
    address = target.address or await _resolve(target.host, way)
    if check.kind == "icmp":
        return await _icmp(address, way), ""
    if check.kind == "tcp":
        return await _tcp(address, target.port, way), ""
    if check.kind == "dns":
        answer = await _dns(address, target.port, check.query, way)
        if answer.rcode == SERVFAIL:
            raise _Failed("SERVFAIL")
        return None, answer.verdict
    rtt, head = await _http(address, target, way)
    if head.status != check.expect:
        portal = head.status < 400 or head.status == 511  # RFC 6585: Network Authentication Required
        hint = ": a captive portal, or the data plan is used up" if portal else ""
        raise _Failed(f"{head} instead of {check.expect}{hint}")
    return rtt, str(head)


# --- sockets -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _socket(way: Way, kind: int, protocol: int = 0) -> Iterator[socket.socket]:
    """A non-blocking socket that can only use this uplink."""
    family = socket.AF_INET if way.address.version == 4 else socket.AF_INET6
    with socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol) as sock:
        sock.setblocking(False)
        # The device first: the address alone does not tell twins apart, and a link-local one needs a device.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, way.device.encode())
        sock.bind(_endpoint(way.address, 0, way))
        yield sock


def _endpoint(address: IPAddress, port: int, way: Way) -> tuple[str, int] | tuple[str, int, int, int]:
    if address.version == 4:
        return (str(address), port)
    scope = socket.if_nametoindex(way.device) if address.is_link_local else 0
    return (str(address), port, 0, scope)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


# --- the kinds ---------------------------------------------------------------------------------------------


async def _gateway(way: Way, patience: float) -> float:
    if way.gateway is None:
        raise _Skipped("point-to-point, there is no gateway")
    try:
        rtt = await arp_nd.ask(way.device, way.address, way.gateway, patience, way.frames)
        if rtt is not None:
            return rtt
        state = arp_nd.state(way.device, way.gateway)
    except arp_nd.NoNeighboursError:
        raise _Skipped(f"{way.device} has no neighbours to ask") from None
    if state in arp_nd.FIXED:
        raise _Skipped(f"has a fixed neighbour entry ({state}) and need not answer")
    asked = "ARP" if way.gateway.version == 4 else "neighbour solicitation"
    raise _Failed(f"no answer to {asked}")


async def _icmp(address: IPAddress, way: Way) -> float:
    loop = asyncio.get_running_loop()
    version = address.version
    ident, token = secrets.randbelow(0x10000), secrets.token_bytes(16)
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    # A raw socket and not a ping socket: the latter is refused, also to root, unless a sysctl allows it.
    with _socket(way, socket.SOCK_RAW, protocol) as sock:
        if version == 4:
            sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << 0) & 0xFFFFFFFF))
        else:
            words = [0xFFFFFFFF] * 8
            words[129 // 32] &= ~(1 << 129 % 32)
            sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))
        sock.connect(_endpoint(address, 0, way))
        began = loop.time()
        sock.send(echo_request(version, ident, 1, token))
        while not is_echo_reply(version, await loop.sock_recv(sock, 512), ident, 1, token):
            pass
        return loop.time() - began


async def _connect(sock: socket.socket, address: IPAddress, port: int, way: Way) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await loop.sock_connect(sock, _endpoint(address, port, way))
    return loop.time() - began


async def _tcp(address: IPAddress, port: int, way: Way) -> float | None:
    with _socket(way, socket.SOCK_STREAM) as sock:
        try:
            return await _connect(sock, address, port, way)
        except ConnectionRefusedError:
            return None  # somebody is there to refuse


async def _dns(server: IPAddress, port: int, name: str, way: Way) -> DnsAnswer:
    loop = asyncio.get_running_loop()
    query = dns_query(secrets.randbelow(0x10000), name, A if way.address.version == 4 else AAAA)
    # Connected: the kernel hands over only what comes from that server and port. Our port is random.
    with _socket(way, socket.SOCK_DGRAM) as sock:
        sock.connect(_endpoint(server, port, way))
        sock.send(query)
        while True:
            answer = dns_answer(await loop.sock_recv(sock, MAX_DATAGRAM), query)
            if answer is not None:
                return answer


async def _http(address: IPAddress, target: Target, way: Way) -> tuple[float, HttpHead]:
    loop = asyncio.get_running_loop()
    with _socket(way, socket.SOCK_STREAM) as sock:
        rtt = await _connect(sock, address, target.port, way)
        await loop.sock_sendall(sock, http_request(target.host, target.port, target.path))
        data = b""
        try:
            while True:
                head = http_head(data)
                if head is not None:
                    return rtt, head
                more = await loop.sock_recv(sock, MAX_HEAD - len(data))
                if not more:
                    raise _Failed("closed the connection before it had answered")
                data += more
        except ValueError as error:
            raise _Failed(str(error)) from None


# --- names -------------------------------------------------------------------------------------------------


async def _resolve(name: str, way: Way) -> IPAddress:
    """The first address of `name` in the uplink's family, asked of the resolvers one after the other.

    The caller's timeout covers it: a resolver that is silent for a while is passed over, and the last one may
    use what is left.
    """
    now = time.monotonic()
    kept = way.names.get(name)
    if kept is not None and now < kept[1]:
        return kept[0]
    family = way.address.version
    servers = [server for server in way.resolvers if server.version == family]
    if not servers:
        raise _Skipped(f"no resolver for IPv{family} is configured")
    why = "no resolver answers"
    for server in servers:
        try:
            async with asyncio.timeout(_patience(servers)):
                answer = await _dns(server, 53, name, way)
        except TimeoutError:
            why = f"resolver {server} does not answer"
            continue
        except OSError as error:
            why = f"resolver {server}: {_reason(error)}"
            continue
        if answer.addresses:
            if len(way.names) >= MAX_NAMES:
                way.names.clear()
            keep = min(max(answer.ttl, TTL[0]), TTL[1])
            way.names[name] = (answer.addresses[0], now + keep)
            return answer.addresses[0]
        if answer.rcode == 0:
            raise _Skipped(f"has no IPv{family} address")
        why = f"resolver {server} says {answer.verdict}"
    raise _Failed(why)


def _patience(servers: Sequence[IPAddress]) -> float | None:
    """Seconds to wait for one of several resolvers; None: as long as there is time at all."""
    return None if len(servers) == 1 else 1.0


def resolvers(texts: Sequence[str]) -> tuple[IPAddress, ...]:
    """The addresses in `[health] resolvers`, which the configuration has checked."""
    return tuple(address for text in texts if (address := as_address(text)) is not None)
