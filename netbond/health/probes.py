"""Asks one target once, bound to the uplink's device and address, so that the answer is about that uplink.

Every probe ends within its timeout, reads a bounded amount, and closes what it opened, also when cancelled.
One socket stays open in ProbedUplink, because closing it takes long. No thread is used. Names are looked up
through the uplink itself, not by the system's resolver.
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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

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
from netbond.health.spare import SilentError, Way, way
from netbond.model import IPAddress
from netbond.srtla import wire
from netbond.system import hosts
from netbond.system.text import printable

T = TypeVar("T")

SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1
SERVFAIL = 2
SRTLA_ANSWERS = frozenset({wire.REG_NGP, wire.REG_ERR, wire.REG_NAK})  # to a REG2 with an unknown id
MAX_DATAGRAM_BYTES = 4096
TTL_RANGE_S = (60.0, 3600.0)  # a name's addresses are kept no shorter and no longer, whatever its TTL
MAX_NAMES = 64
SPARE_GATEWAY_S = 1.0  # for the hardware address of a gateway that is not in use

# Failures of this box, which say nothing about the uplink. A tentative IPv6 address is not available.
LOCAL_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM, errno.EADDRNOTAVAIL})


class _Failed(Exception):  # noqa: N818 - never leaves this module
    """The target did not answer as it should; the text says how, without naming it."""


class _Skipped(Exception):  # noqa: N818
    """The probe does not apply to this uplink; the text says why."""


@dataclass(slots=True)
class ProbedUplink:
    """An uplink that is probed. `names` is a cache of names resolved through it.

    `spare`: `gateway` is not the one that its routes use (netbond.health.spare). Close `arp_socket` after the
    last probe.
    """

    device: str
    address: IPAddress
    gateway: IPAddress | None = None
    resolvers: tuple[IPAddress, ...] = ()
    spare: bool = False
    names: dict[str, tuple[IPAddress, float]] = field(default_factory=dict)
    arp_socket: arp_nd.ArpSocket = field(default_factory=arp_nd.ArpSocket)


def questions(check: CheckConfig, uplink: ProbedUplink) -> list[Target]:
    """The targets that this check asks on this uplink: none that are addresses of the other family."""
    if check.kind == "gateway":
        return [] if uplink.gateway is None else [Target(str(uplink.gateway), str(uplink.gateway))]
    if check.kind == "command":
        return [Target(check.command[0], "")]
    found = []
    for text in check.targets:
        target = parse(check.kind, text)
        if target.host == GATEWAY:
            if uplink.gateway is None:
                continue
            target = replace(target, host=str(uplink.gateway))
        address = target.address
        if address is None or address.version == uplink.address.version:
            found.append(target)
    return found


async def probe(check: CheckConfig, target: Target, uplink: ProbedUplink) -> Answer:
    """Ask `target` once, for at most `check.timeout` seconds. Raises nothing but cancellation."""
    began = time.monotonic()
    # arp_nd.ask() has the same timeout, and says more when it is over.
    limit = None if check.kind == "gateway" else check.timeout
    try:
        async with asyncio.timeout(limit):
            rtt, detail = await _ask(check, target, uplink)
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
        uplink.names.pop(target.host, None)  # its address may have changed
    return Answer(target.text, outcome, rtt, printable(detail, 300))


async def _ask(check: CheckConfig, target: Target, uplink: ProbedUplink) -> tuple[float | None, str]:
    """The round-trip time in seconds (None: use the time that this took), and a detail for people."""
    if check.kind == "gateway":
        return await _gateway(uplink, check.timeout), ""
    address = target.address or await _resolve(target.host, uplink)
    if check.kind == "icmp":
        return await (_by_spare(uplink, address, Way.echo) if uplink.spare else _icmp(address, uplink)), ""
    if check.kind == "tcp" and uplink.spare:
        return await _by_spare(uplink, address, lambda way: way.connect(target.port)), ""
    if check.kind == "tcp":
        return await _tcp(address, target.port, uplink), ""
    if check.kind == "srtla":
        return await _srtla(address, target.port, uplink, check.timeout / 2), ""
    if check.kind == "dns":
        answer = await _dns(address, target.port, check.query, uplink)
        if answer.rcode == SERVFAIL:
            raise _Failed("SERVFAIL")
        return None, answer.verdict
    rtt, head = await _http(address, target, uplink)
    if head.status != check.expect:
        portal = head.status < 400 or head.status == 511  # RFC 6585: Network Authentication Required
        hint = ": a captive portal, or the data plan is used up" if portal else ""
        raise _Failed(f"{head} instead of {check.expect}{hint}")
    return rtt, str(head)


# --- sockets -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def bound_socket(uplink: ProbedUplink, kind: int, protocol: int = 0) -> Iterator[socket.socket]:
    """A non-blocking socket that can only use this uplink."""
    family = socket.AF_INET if uplink.address.version == 4 else socket.AF_INET6
    with socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol) as sock:
        sock.setblocking(False)
        # The device first: two modems may have the same address, and a link-local address needs a device.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, uplink.device.encode())
        sock.bind(endpoint_of(uplink.address, 0, uplink))
        yield sock


def endpoint_of(
    address: IPAddress, port: int, uplink: ProbedUplink
) -> tuple[str, int] | tuple[str, int, int, int]:
    if address.version == 4:
        return (str(address), port)
    scope = socket.if_nametoindex(uplink.device) if address.is_link_local else 0
    return (str(address), port, 0, scope)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


# --- the kinds ---------------------------------------------------------------------------------------------


async def _gateway(uplink: ProbedUplink, timeout_s: float) -> float:
    if uplink.gateway is None:
        raise _Skipped("point-to-point, there is no gateway")
    try:
        rtt = await arp_nd.ask(uplink.device, uplink.address, uplink.gateway, timeout_s, uplink.arp_socket)
        if rtt is not None:
            return rtt
        state = arp_nd.state(uplink.device, uplink.gateway)
    except arp_nd.NoNeighboursError:
        raise _Skipped(f"{uplink.device} has no neighbours to ask") from None
    if state in arp_nd.FIXED:
        raise _Skipped(f"has a fixed neighbour entry ({state}) and need not answer")
    asked = "ARP" if uplink.gateway.version == 4 else "neighbour solicitation"
    raise _Failed(f"no answer to {asked}")


async def _by_spare(uplink: ProbedUplink, target: IPAddress, ask: Callable[[Way], Awaitable[T]]) -> T:
    """Ask a target by a gateway that is not in use."""
    if uplink.gateway is None or uplink.gateway == target:
        raise _Skipped("asked by the gateway in use alone")
    try:
        found = await way(
            uplink.device, uplink.address, uplink.gateway, target, SPARE_GATEWAY_S, uplink.arp_socket
        )
    except SilentError:
        raise _Failed(f"gateway {uplink.gateway} does not answer") from None
    except arp_nd.NoNeighboursError:
        raise _Skipped(f"{uplink.device} has no neighbours to ask") from None
    if found is None:
        raise _Skipped(f"gateway {uplink.gateway} does not tell its hardware address")
    return await ask(found)


async def _icmp(address: IPAddress, uplink: ProbedUplink) -> float:
    loop = asyncio.get_running_loop()
    version = address.version
    ident, token = secrets.randbelow(0x10000), secrets.token_bytes(16)
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    # A raw socket, as a ping socket is refused, also to root, unless a sysctl allows it.
    with bound_socket(uplink, socket.SOCK_RAW, protocol) as sock:
        if version == 4:
            sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << 0) & 0xFFFFFFFF))
        else:
            words = [0xFFFFFFFF] * 8
            words[129 // 32] &= ~(1 << 129 % 32)
            sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))
        sock.connect(endpoint_of(address, 0, uplink))
        began = loop.time()
        sock.send(echo_request(version, ident, 1, token))
        while not is_echo_reply(version, await loop.sock_recv(sock, 512), ident, 1, token):
            pass
        return loop.time() - began


async def _connect(sock: socket.socket, address: IPAddress, port: int, uplink: ProbedUplink) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await loop.sock_connect(sock, endpoint_of(address, port, uplink))
    return loop.time() - began


async def _tcp(address: IPAddress, port: int, uplink: ProbedUplink) -> float | None:
    with bound_socket(uplink, socket.SOCK_STREAM) as sock:
        try:
            return await _connect(sock, address, port, uplink)
        except ConnectionRefusedError:
            return None  # a refusal is an answer


async def _srtla(receiver: IPAddress, port: int, uplink: ProbedUplink, repeat_s: float) -> float:
    """Ask an SRTLA receiver for a group that does not exist, at most twice; every receiver answers that.

    A refusal by ICMP is no answer: modems and firewalls on the way refuse in a receiver's name. The time is
    that since the last question.
    """
    loop = asyncio.get_running_loop()
    question = wire.build_registration(wire.REG2, secrets.token_bytes(wire.ID_LENGTH))
    with bound_socket(uplink, socket.SOCK_DGRAM) as sock:
        sock.connect(endpoint_of(receiver, port, uplink))

        async def ask() -> float:
            began = loop.time()
            sock.send(question)
            while wire.packet_type(await loop.sock_recv(sock, wire.MTU)) not in SRTLA_ANSWERS:
                pass
            return loop.time() - began

        try:
            async with asyncio.timeout(repeat_s):
                return await ask()
        except TimeoutError:
            return await ask()


async def _dns(server: IPAddress, port: int, name: str, uplink: ProbedUplink) -> DnsAnswer:
    loop = asyncio.get_running_loop()
    query = dns_query(secrets.randbelow(0x10000), name, A if uplink.address.version == 4 else AAAA)
    if uplink.spare:
        return await _by_spare(uplink, server, lambda way: way.dns(port, query))
    # Connected, so that only packets from that server and port arrive. Our port is random.
    with bound_socket(uplink, socket.SOCK_DGRAM) as sock:
        sock.connect(endpoint_of(server, port, uplink))
        sock.send(query)
        while True:
            answer = dns_answer(await loop.sock_recv(sock, MAX_DATAGRAM_BYTES), query)
            if answer is not None:
                return answer


async def _http(address: IPAddress, target: Target, uplink: ProbedUplink) -> tuple[float, HttpHead]:
    loop = asyncio.get_running_loop()
    with bound_socket(uplink, socket.SOCK_STREAM) as sock:
        rtt = await _connect(sock, address, target.port, uplink)
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


async def _resolve(name: str, uplink: ProbedUplink) -> IPAddress:
    """The first address of `name` in the uplink's family: of /etc/hosts, or as the resolvers say, one by one.

    Runs within the caller's timeout. A resolver that is silent for a second is skipped; the last one may use
    the rest of the time.
    """
    now = time.monotonic()
    kept = uplink.names.get(name)
    if kept is not None and now < kept[1]:
        return kept[0]
    family = uplink.address.version
    if (listed := hosts.address_of(name, family)) is not None:
        uplink.names[name] = (listed, now + TTL_RANGE_S[0])
        return listed
    servers = [server for server in uplink.resolvers if server.version == family]
    if not servers:
        raise _Skipped(f"no resolver for IPv{family} is configured")
    why = "no resolver answers"
    for server in servers:
        try:
            async with asyncio.timeout(_resolver_timeout_s(servers)):
                answer = await _dns(server, 53, name, uplink)
        except TimeoutError:
            why = f"resolver {server} does not answer"
            continue
        except OSError as error:
            why = f"resolver {server}: {_reason(error)}"
            continue
        if answer.addresses:
            if len(uplink.names) >= MAX_NAMES:
                uplink.names.clear()
            keep = min(max(answer.ttl, TTL_RANGE_S[0]), TTL_RANGE_S[1])
            uplink.names[name] = (answer.addresses[0], now + keep)
            return answer.addresses[0]
        if answer.rcode == 0:
            raise _Skipped(f"has no IPv{family} address")
        why = f"resolver {server} says {answer.verdict}"
    raise _Failed(why)


def _resolver_timeout_s(servers: Sequence[IPAddress]) -> float | None:
    """How long to wait for one of several resolvers; None: until the caller's timeout."""
    return None if len(servers) == 1 else 1.0


def resolvers(texts: Sequence[str]) -> tuple[IPAddress, ...]:
    """The addresses in `[health] resolvers`, which the configuration has checked."""
    return tuple(address for text in texts if (address := as_address(text)) is not None)
