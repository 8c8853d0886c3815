"""Asks the network for `netbond doctor`: name servers, receivers and packet sizes through each uplink."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from netbond.config.schema import CheckConfig, Config, ReceiverConfig
from netbond.config.targets import Target, as_address
from netbond.config.values import HostPort
from netbond.doctor.model import Asked, PathMtu
from netbond.doctor.network import sizes
from netbond.health.judge import Outcome
from netbond.health.path_mtu import largest_echo
from netbond.health.probes import ProbedUplink, probe, resolvers
from netbond.model import IPAddress, Uplink, UplinkState
from netbond.srtla import wire
from netbond.system import files

TIMEOUT_S = 3.0  # of a question; all are asked at once
# systemd-resolved's list of the servers that it asks stands for its own address in /etc/resolv.conf.
RESOLV_CONFS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
MOST_SERVERS = 4  # of the box, and of the configuration
_LARGEST_BYTES = 65536
_NFT_S = 5.0


async def ask(uplinks: Iterable[Uplink], config: Config) -> tuple[tuple[Asked, ...], tuple[PathMtu, ...]]:
    """All questions at once; ends after some TIMEOUT_S."""
    of_system = system_resolvers(RESOLV_CONFS)[:MOST_SERVERS]
    known = resolvers(config.health.resolvers)
    receivers = list(dict.fromkeys(each for sender in config.sender for each in sender.receivers))
    work = [
        _through(uplink, of_system, known, receivers)
        for uplink in uplinks
        if uplink.state not in (UplinkState.NO_CARRIER, UplinkState.DOWN)
    ]
    servers = dict.fromkeys(srt for each in config.receiver for srt in _servers(each))
    found, of_servers = await asyncio.gather(
        asyncio.gather(*work), asyncio.gather(*(_srt(server) for server in servers))
    )
    asked = [one for answers, _ in found for one in answers]
    return (*asked, *of_servers), tuple(path for _, paths in found for path in paths)


def _servers(receiver: ReceiverConfig) -> list[HostPort]:
    return [receiver.srt, *(server.srt for server in receiver.server)]


async def _through(
    uplink: Uplink, of_system: Sequence[IPAddress], known: Sequence[IPAddress], receivers: Sequence[HostPort]
) -> tuple[list[Asked], list[PathMtu]]:
    """All that is asked through one uplink."""
    family = uplink.family
    own = [server for server in of_system if server.version == family]
    others = [server for server in known if server.version == family and server not in own]
    probed = ProbedUplink(uplink.device, uplink.address.ip, uplink.gateway, (*others, *own))
    try:
        asked = await asyncio.gather(
            *(_name_server(server, probed, uplink, of_system=server in own) for server in (*own, *others)),
            *(_receiver(receiver, probed, uplink) for receiver in receivers),
        )
        paths = await asyncio.gather(*(_path(receiver, probed, uplink) for receiver in receivers))
        return [each for each in asked if each], [path for path in paths if path]
    finally:
        probed.arp_socket.close()


async def _name_server(server: IPAddress, probed: ProbedUplink, uplink: Uplink, *, of_system: bool) -> Asked:
    check = CheckConfig("dns", "dns", timeout=TIMEOUT_S)
    answer = await probe(check, Target(str(server), str(server), 53), probed)
    answered, detail = _judged(answer.outcome, answer.rtt, answer.detail, str(server))
    return Asked("dns", uplink.name, uplink.family, str(server), answered, detail, of_system)


async def _receiver(receiver: HostPort, probed: ProbedUplink, uplink: Uplink) -> Asked | None:
    literal = as_address(receiver.host)
    if literal is not None and literal.version != uplink.family:
        return None
    check = CheckConfig("receiver", "srtla", timeout=TIMEOUT_S)
    answer = await probe(check, Target(str(receiver), receiver.host, receiver.port), probed)
    answered, detail = _judged(answer.outcome, answer.rtt, answer.detail, str(receiver))
    return Asked("receiver", uplink.name, uplink.family, str(receiver), answered, detail)


def _judged(outcome: Outcome, rtt: float | None, detail: str, target: str) -> tuple[bool | None, str]:
    said = detail.removeprefix(f"{target}: ")
    if outcome is Outcome.ANSWERED:
        return True, f"answers in {1000 * (rtt or 0.0):.0f} ms"
    return (False if outcome is Outcome.FAILED else None), said


async def _path(receiver: HostPort, probed: ProbedUplink, uplink: Uplink) -> PathMtu | None:
    address = as_address(receiver.host)
    if address is None and receiver.host in probed.names:  # as found through this uplink
        address = probed.names[receiver.host][0]
    if address is None or address.version != uplink.family:
        return None
    trouble, largest = "", None
    try:
        largest = await largest_echo(address, sizes(uplink.family), probed, TIMEOUT_S)
    except OSError as error:
        trouble = files.why(error)
    return PathMtu(uplink.name, uplink.family, str(address), largest, uplink.device, trouble)


async def _srt(server: HostPort) -> Asked:
    """Ask an SRT server as a caller begins; it keeps nothing of it."""
    loop = asyncio.get_running_loop()
    number = int.from_bytes(secrets.token_bytes(4), "big") >> 2 | 1
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            with socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol) as sock:
                sock.setblocking(False)
                sock.connect(address)
                began = loop.time()
                sock.send(wire.build_induction(number))
                while True:
                    data = await loop.sock_recv(sock, wire.MTU)
                    if wire.is_handshake(data) and wire.destination_of(data) == number:
                        detail = f"answers in {1000 * (loop.time() - began):.0f} ms"
                        return Asked("srt", "", 0, str(server), True, detail)
    except TimeoutError:
        return Asked("srt", "", 0, str(server), False, f"no answer within {TIMEOUT_S:g} s")
    except OSError as error:
        return Asked("srt", "", 0, str(server), False, files.why(error))


def system_resolvers(paths: Iterable[Path]) -> list[IPAddress]:
    """The name servers of the first of these files that names some beyond this box."""
    for path in paths:
        try:
            text = files.read(path.resolve(), _LARGEST_BYTES)[0].decode(errors="replace")
        except (OSError, RuntimeError):
            continue
        words = (line.split() for line in text.splitlines())
        named = [as_address(word[1]) for word in words if len(word) > 1 and word[0] == "nameserver"]
        found = [address for address in named if address is not None and not address.is_loopback]
        if found:
            return list(dict.fromkeys(found))
    return []


def firewall() -> tuple[str | None, str]:
    """The text of `nft list ruleset`, or None and why there is none."""
    if os.geteuid() != 0:
        return None, "only root may see it"
    try:
        shown = subprocess.run(
            ["nft", "list", "ruleset"], capture_output=True, text=True, timeout=_NFT_S, check=False
        )
    except FileNotFoundError:
        return None, "nft is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    return (shown.stdout, "") if shown.returncode == 0 else (None, shown.stderr.strip()[:200])
