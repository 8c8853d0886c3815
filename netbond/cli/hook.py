"""`netbond hook CLIENT`: take news of a lease from a DHCP client's script.

The client waits, so this is quick (no pyroute2, no asyncio), and nothing that goes wrong here is the client's
fault: after a correct command line, run by root, the exit status is 0 and problems are logged. The lease goes
into the store first, and only then is the agent told: with no agent, or a hanging one, nothing is lost.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import syslog
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import tomli

from netbond.config import DEFAULT_PATH, AgentConfig, config_argument, load
from netbond.errors import EXIT_OK, ConfigError, NotPermittedError, UsageError
from netbond.files import why
from netbond.leases import (
    LeaseError,
    LeaseStore,
    News,
    Released,
    parse_dhclient,
    parse_dhcpcd,
    parse_networkmanager,
    parse_udhcpc,
)
from netbond.model import Lease

HELP = "Take news of a lease from the script of a DHCP client; contrib/ has the scripts that call this."

# The words that each client's script was called with, and hands on.
WORDS: dict[str, tuple[str, ...]] = {
    "dhclient": (),
    "dhcpcd": (),
    "udhcpc": ("EVENT",),
    "networkmanager": ("INTERFACE", "ACTION"),
}

# Seconds for connecting, sending and the answer together. With all else that takes 0.1 s, on a machine where
# little goes on: a client's script is to have its way within 0.2 s.
ANSWER_WAIT = 0.05
SIOCGIFADDR = 0x8915  # include/uapi/linux/sockios.h


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument("client", choices=list(WORDS), help="whose news it is")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="udhcpc: the script's EVENT; networkmanager: the dispatcher's INTERFACE and ACTION",
    )


def run(args: argparse.Namespace) -> int:
    """Take the news from the environment; 0 unless the command line is wrong or this is not root."""
    wanted = WORDS[args.client]
    if len(args.words) != len(wanted):
        raise UsageError(
            f"{args.client} takes {len(wanted)} words, not {len(args.words)}",
            f"call: {' '.join(('netbond hook', args.client, *wanted))}",
        )
    if os.geteuid() != 0:
        raise NotPermittedError(
            "only root may hand over leases: they decide where packets go",
            "DHCP clients run their hooks as root; by hand, use sudo",
        )
    take(args.client, args.words, os.environ, args.config, time.time())
    return EXIT_OK


def take(
    client: str, words: Sequence[str], environ: Mapping[str, str], config: Path | None, now: float
) -> None:
    """Parse, store, tell the agent. Whatever goes wrong ends up in the log, and the rest goes on."""
    try:
        news = parse(client, words, environ, now)
    except LeaseError as error:
        log(f"{client}: {error}; nothing is done with this lease")
        return
    if news is None:
        return
    if isinstance(news, Lease) and client == "dhclient" and environ["reason"] == "TIMEOUT":
        news = tried(news)
    agent = settings(config)
    store = LeaseStore(agent.state_dir / "leases")
    try:
        if isinstance(news, Lease):
            store.save(news)
        elif isinstance(news, Released):
            store.forget(news.device, news.address, news.source)
    except OSError as error:
        log(f"{store.directory}: {why(error)}; the lease of {news.device} is not kept")
    tell(agent.control_socket, {"command": "hook", "source": news.source, "device": news.device})


def parse(client: str, words: Sequence[str], environ: Mapping[str, str], now: float) -> News | None:
    """The client's words and environment as news; LeaseError if a value cannot be."""
    if client == "networkmanager":
        return parse_networkmanager(words, environ, now)
    if client == "udhcpc":
        return parse_udhcpc(words[0], environ, now)
    return (parse_dhcpcd if client == "dhcpcd" else parse_dhclient)(environ, now)


def tried(lease: Lease) -> Lease | Released:
    """What has become of an old lease that the script tried for want of a new one (reason TIMEOUT).

    The script takes the address off again if the router does not answer. Its exit status would say so, but
    Debian's script hides that from hooks.
    """
    ip = lease.address.ip
    return lease if has_address(lease.device, ip) else Released(lease.device, lease.source, ip)


def settings(path: Path | None) -> AgentConfig:
    """[agent] of the configuration; of a wrong one what can be read of the two keys needed here.

    A running agent has read the file before it went wrong. To it, a lease in the place that the file still
    names, or in the default place, is not lost; one that was thrown away is.
    """
    try:
        return load(path).agent
    except ConfigError as error:
        agent = salvage(path)
        log(f"{error}; meanwhile using state_dir {agent.state_dir}, control_socket {agent.control_socket}")
        return agent


def salvage(path: Path | None) -> AgentConfig:
    """state_dir and control_socket of a file that is wrong elsewhere; the defaults for what is not there."""
    default = AgentConfig()
    try:
        table = tomli.loads((path or DEFAULT_PATH).read_text(encoding="utf-8")).get("agent")
    except (OSError, ValueError, RecursionError):
        return default

    def path_at(key: str, otherwise: Path) -> Path:
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(value, str) and Path(value).is_absolute() and "\0" not in value:
            return Path(value)
        return otherwise

    return AgentConfig(
        state_dir=path_at("state_dir", default.state_dir),
        control_socket=path_at("control_socket", default.control_socket),
    )


def has_address(device: str, address: IPv4Address) -> bool:
    """Whether the kernel has this address on this device; False if it cannot be told.

    SIOCGIFADDR looks for the address that is passed in (net/ipv4/devinet.c), and answers with another one of
    the device only if it is not there.
    """
    request = struct.pack("16sHH4s16x", os.fsencode(device), socket.AF_INET, 0, address.packed)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFADDR, request)
        except OSError:
            return False
    return answer[20:24] == address.packed


def tell(path: Path, message: Mapping[str, str]) -> None:
    """Tell the agent, and wait a moment for its word that it looked: the next hook may build on the routes.

    No agent is no error: it reads the store when it starts.
    """
    deadline = time.monotonic() + ANSWER_WAIT
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(ANSWER_WAIT)
            connection.connect(str(path))
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < 65536:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                more = connection.recv(4096)
                if not more:
                    return
                answer += more
        except OSError:
            return  # absent, starting, overloaded or hanging: the store has the lease


def log(line: str) -> None:
    """One line to the system's log, and to standard error, which the client may have closed."""
    line = line.encode("ascii", "backslashreplace").decode()  # syslog refuses names that are not UTF-8
    syslog.openlog("netbond-hook", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_WARNING, line)
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"netbond hook: {line}", file=sys.stderr)
