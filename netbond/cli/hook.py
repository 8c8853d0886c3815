"""`netbond hook CLIENT`: take news of a lease from a DHCP client's script.

The client waits, so this is quick, and nothing that goes wrong here is the client's fault: after a correct
command line, run by root, the exit status is 0 and problems are logged. The lease goes into the store first,
and only then is the agent told: with no agent, or a hanging one, nothing is lost.

Most of the time goes into Python's start and into what is imported, on a small box several times that of a
server. So there is no argparse, no TOML and no pathlib unless they are needed, and of the configuration only
the two values that count here.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import struct
import sys
import time

from netbond.config import paths
from netbond.dhcp.clients import LeaseError, parse_dhclient, parse_dhcpcd, parse_networkmanager, parse_udhcpc
from netbond.dhcp.lease import TYPE_CHECKING, Lease, Released
from netbond.dhcp.store import LeaseStore
from netbond.errors import EXIT_OK, NotPermittedError, UsageError
from netbond.system import clock, files

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from netbond.dhcp.lease import News

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
MOST_LATE = 300.0  # seconds after which the scripts end a call that hangs
SIOCGIFADDR = 0x8915  # include/uapi/linux/sockios.h


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from netbond.config.load import config_argument

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
    return _run(args.client, args.words, None if args.config is None else str(args.config))


def plain(argv: Sequence[str]) -> bool:
    """Whether the command line is one that needs no parser: CLIENT, its words, and nothing else."""
    return bool(argv) and argv[0] in WORDS and not any(word.startswith("-") for word in argv)


def run_plain(argv: Sequence[str]) -> int:
    """As run(), for a command line that is plain()."""
    return _run(argv[0], argv[1:], paths.config_file())


def _run(client: str, words: Sequence[str], config: str | None) -> int:
    wanted = WORDS[client]
    if len(words) != len(wanted):
        raise UsageError(
            f"{client} takes {len(wanted)} words, not {len(words)}",
            f"call: {' '.join(('netbond hook', client, *wanted))}",
        )
    if os.geteuid() != 0:
        raise NotPermittedError(
            "only root may hand over leases: they decide where packets go",
            "DHCP clients run their hooks as root; by hand, use sudo",
        )
    take(client, words, os.environ, config, called(os.environ, clock.now()))
    return EXIT_OK


def called(environ: Mapping[str, str], now: float) -> float:
    """When the client had its news, in seconds since boot: the scripts say so in NETBOND_AT, as the first
    field of /proc/uptime. On a machine in trouble a later call can overtake an earlier one."""
    text = environ.get("NETBOND_AT", "")
    if len(text) > 20 or not text.isascii() or not text.replace(".", "", 1).isdigit():
        return now
    return at if now - MOST_LATE <= (at := float(text)) <= now else now


def take(
    client: str, words: Sequence[str], environ: Mapping[str, str], config: str | None, now: float
) -> None:
    """Parse, store, tell the agent. Whatever goes wrong ends up in the log, and the rest goes on.

    `now` is seconds since boot.
    """
    try:
        news = parse(client, words, environ, now)
    except LeaseError as error:
        log(f"{client}: {error}; nothing is done with this lease")
        return
    if news is None:
        return
    if isinstance(news, Lease):
        if client == "dhclient" and environ["reason"] == "TIMEOUT":
            news = tried(news)
        else:
            news = Lease(news.device, news.source, news.address, news.routers, now, index_of(news.device))
    state_dir, control_socket = settings(config)
    store = LeaseStore(f"{state_dir}/leases")
    try:
        if isinstance(news, Lease):
            store.save(news)
        elif isinstance(news, Released):
            store.forget(news.device, news.address, news.source, now)
    except OSError as error:
        log(f"{state_dir}/leases: {files.why(error)}; the lease of {news.device} is not kept")
    tell(control_socket, {"command": "hook", "source": news.source, "device": news.device})


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
    if has_address(lease.device, ip):
        return Lease(
            lease.device, lease.source, lease.address, lease.routers, lease.received, index_of(lease.device)
        )
    return Released(lease.device, lease.source, ip)


def index_of(device: str) -> int:
    """The number of the interface now; 0 if there is none of that name."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def settings(path: str | None) -> tuple[str, str]:
    """state_dir and control_socket of the configuration, as far as they can be read; else the default places.

    The rest of the file is the agent's business: it may have gone wrong since the agent read it, and a lease
    in the place that it still names is not lost; one that was thrown away is.
    """
    default = paths.STATE_DIR, paths.CONTROL_SOCKET
    file = path or paths.CONFIG
    try:
        # A FIFO would be waited for, and the client with it.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            data = opened.read()
    except FileNotFoundError as error:
        if path is not None:
            _said(file, files.why(error), default)
        return default
    except OSError as error:
        _said(file, files.why(error), default)
        return default
    if b"state_dir" not in data and b"control_socket" not in data:
        return default  # as most do: to parse the rest would take a third of all the time
    import tomli

    try:
        table = tomli.loads(data.decode()).get("agent", {})
    except (ValueError, RecursionError) as error:
        _said(file, str(error), default)
        return default
    wrong = []

    def path_at(key: str, otherwise: str) -> str:
        value = table.get(key, otherwise) if isinstance(table, dict) else None
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            return value
        wrong.append(f"agent.{key} is not an absolute path")
        return otherwise

    found = path_at("state_dir", default[0]), path_at("control_socket", default[1])
    if wrong:
        _said(file, ", ".join(wrong), found)
    return found


def _said(file: str, why: str, places_used: tuple[str, str]) -> None:
    log(f"{file}: {why}; meanwhile using state_dir {places_used[0]}, control_socket {places_used[1]}")


def has_address(device: str, address: IPv4Address | IPv6Address) -> bool:
    """Whether the kernel has this IPv4 address on this device; False if it cannot be told.

    SIOCGIFADDR looks for the address that is passed in (net/ipv4/devinet.c), and answers with another one of
    the device only if it is not there.
    """
    request = struct.pack("16sHH4s16x", os.fsencode(device), socket.AF_INET, 0, address.packed)
    if address.version != 4:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFADDR, request)
        except OSError:
            return False
    return answer[20:24] == address.packed


def tell(path: str, message: Mapping[str, str]) -> None:
    """Tell the agent, and wait a moment for its word that it looked: the next hook may build on the routes.

    No agent is no error: it reads the store when it starts.
    """
    deadline = time.monotonic() + ANSWER_WAIT
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(ANSWER_WAIT)
            connection.connect(path)
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
    import syslog

    line = line.encode("ascii", "backslashreplace").decode()  # syslog refuses names that are not UTF-8
    syslog.openlog("netbond-hook", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_WARNING, line)
    try:
        print(f"netbond hook: {line}", file=sys.stderr)
    except (OSError, AttributeError):
        return  # closed, or never open
