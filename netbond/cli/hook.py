"""Runs `netbond hook CLIENT`, which takes a lease from a DHCP client's script.

The client waits, so this must be quick. A problem here must not look like a failure of the client: if the
command line is correct and root runs it, the exit status is 0, and problems are logged. The lease is stored
first, and then the agent is told. So without an agent, or with one that hangs, no lease is lost.

Most of the time is Python's start and its imports; a small box needs several times as long as a server. So
this module imports argparse, TOML and pathlib only if they are needed, and reads only two values of the
configuration.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import time

from netbond.config import paths
from netbond.dhcp.clients import LeaseError, parse_dhclient, parse_dhcpcd, parse_networkmanager, parse_udhcpc
from netbond.dhcp.lease import TYPE_CHECKING, Lease, Released
from netbond.errors import EXIT_OK, NotPermittedError, UsageError
from netbond.system import clock, files
from netbond.system.text import counted, shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from netbond.dhcp.lease import News

HELP = "Take a lease from the script of a DHCP client; contrib/ has the scripts that call this."

# The arguments of each client's script, which the script passes on.
WORDS: dict[str, tuple[str, ...]] = {
    "dhclient": (),
    "dhcpcd": (),
    "udhcpc": ("EVENT",),
    "networkmanager": ("INTERFACE", "ACTION"),
}

# For connecting, sending and the answer together. Everything else takes 0.1 s on a machine with little load,
# and a client's script should wait no longer than 0.2 s.
ANSWER_WAIT_S = 0.05
UNSTORED_WAIT_S = 1.0  # instead, if the lease could not be stored: then the agent alone has it
MOST_LATE_S = 300.0  # the scripts end a call that hangs after this time
SIOCGIFADDR = 0x8915  # include/uapi/linux/sockios.h


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from netbond.config.load import config_argument

    config_argument(parser)
    parser.add_argument("client", choices=list(WORDS), help="the DHCP client that calls the script")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="udhcpc: the script's EVENT; networkmanager: the dispatcher's INTERFACE and ACTION",
    )


def run(args: argparse.Namespace) -> int:
    """Take the lease from the environment; 0 unless the command line is wrong or the user is not root."""
    return _run(args.client, args.words, None if args.config is None else str(args.config))


def plain(argv: Sequence[str]) -> bool:
    """Whether the command line needs no parser: CLIENT, its words, and nothing else."""
    return bool(argv) and argv[0] in WORDS and not any(word.startswith("-") for word in argv)


def run_plain(argv: Sequence[str]) -> int:
    """As run(), for a command line that is plain()."""
    return _run(argv[0], argv[1:], paths.config_file())


def _run(client: str, words: Sequence[str], config: str | None) -> int:
    wanted = WORDS[client]
    if len(words) != len(wanted):
        raise UsageError(
            f"{client} takes {counted(len(wanted), 'word')}, not {len(words)}",
            f"call: {' '.join(('netbond hook', client, *wanted))}",
        )
    if os.geteuid() != 0:
        raise NotPermittedError(
            "only root may hand over leases, because they change routes",
            "DHCP clients run their hooks as root; by hand, use sudo",
        )
    take(client, words, os.environ, config, called(os.environ, clock.now()))
    return EXIT_OK


def called(environ: Mapping[str, str], now_s: float) -> float:
    """Return when the client called its script, in seconds since boot.

    The scripts pass this time in NETBOND_AT, as the first field of /proc/uptime. It gives the order of the
    calls, because on an overloaded machine a later call can overtake an earlier one.
    """
    text = environ.get("NETBOND_AT", "")
    if len(text) > 20 or not text.isascii() or not text.replace(".", "", 1).isdigit():
        return now_s
    return at_s if now_s - MOST_LATE_S <= (at_s := float(text)) <= now_s else now_s


def take(
    client: str, words: Sequence[str], environ: Mapping[str, str], config: str | None, now_s: float
) -> None:
    """Parse the lease, store it, and tell the agent. An error is logged, and the other steps are still done.

    `now_s` is in seconds since boot.
    """
    try:
        news = parse(client, words, environ, now_s)
    except LeaseError as error:
        log(f"{client}: {error}; this lease is ignored")
        return
    if news is None:
        return
    if isinstance(news, Lease):
        if client == "dhclient" and environ["reason"] == "TIMEOUT":
            news = tried(news)
        else:
            news = Lease(news.device, news.source, news.address, news.routers, now_s, index_of(news.device))
    from netbond.dhcp.store import LeaseStore  # most calls of dhclient's script bring no lease

    state_dir, control_socket = settings(config)
    store = LeaseStore(f"{state_dir}/leases")
    message: dict[str, object] = {"command": "hook", "source": news.source, "device": news.device}
    why = ""
    try:
        if isinstance(news, Released):
            # An agent may have a lease that was never stored.
            message |= {"released": str(news.address or ""), "at_s": now_s}
            store.forget(news.device, news.address, news.source, now_s)
        elif isinstance(news, Lease):
            store.save(news)
    except OSError as error:
        why = f"{state_dir}/leases: {files.why(error)}; the lease of {news.device} is not "
        why += "stored" if isinstance(news, Lease) else "removed"
        if isinstance(news, Lease):
            message["lease"] = store.as_json(news)
    took = tell(control_socket, message, UNSTORED_WAIT_S if "lease" in message else ANSWER_WAIT_S)
    if why:
        todo = (
            "the agent has it, and stores it as soon as it can" if took else "mend that, and renew the lease"
        )
        log(f"{why}; {todo}")


def parse(client: str, words: Sequence[str], environ: Mapping[str, str], now_s: float) -> News | None:
    """Parse the client's words and environment; LeaseError if a value is invalid."""
    if client == "networkmanager":
        return parse_networkmanager(words, environ, now_s)
    if client == "udhcpc":
        return parse_udhcpc(words[0], environ, now_s)
    return (parse_dhcpcd if client == "dhcpcd" else parse_dhclient)(environ, now_s)


def tried(lease: Lease) -> Lease | Released:
    """Decide whether an old lease is in use that the script tried without a DHCP answer (reason TIMEOUT).

    The script removes the address again if the router does not answer. Its exit status would say so, but
    Debian's script hides that from hooks.
    """
    ip = lease.address.ip
    if has_address(lease.device, ip):
        return Lease(
            lease.device, lease.source, lease.address, lease.routers, lease.received, index_of(lease.device)
        )
    return Released(lease.device, lease.source, ip)


def index_of(device: str) -> int:
    """Return the interface's current index; 0 if no interface has that name."""
    import socket

    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def settings(path: str | None) -> tuple[str, str]:
    """Read state_dir and control_socket from the configuration; the defaults where that is impossible.

    The rest of the file is not checked. The file may have become invalid since the agent read it, and a lease
    that is stored in the folder it names is not lost, but one that is dropped is.
    """
    default = paths.STATE_DIR, paths.CONTROL_SOCKET
    file = path or paths.CONFIG
    try:
        # Opening a FIFO would block, and with it the client.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if mode & stat.S_IWOTH:
                raise OSError(errno.EPERM, "writable by everybody")
            data = opened.read()
    except FileNotFoundError as error:
        if path is not None:
            _log_unread(file, files.why(error), default)
        return default
    except OSError as error:
        _log_unread(file, files.why(error), default)
        return default
    if b"state_dir" not in data and b"control_socket" not in data:
        return default  # the usual case; parsing the file would take a third of the total time
    import tomli

    try:
        table = tomli.loads(data.decode()).get("agent", {})
    except (ValueError, RecursionError) as error:
        _log_unread(file, str(error), default)
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
        _log_unread(file, ", ".join(wrong), found)
    return found


def _log_unread(file: str, why: str, used: tuple[str, str]) -> None:
    log(f"{file}: {why}; using state_dir {used[0]}, control_socket {used[1]}")


def has_address(device: str, address: IPv4Address | IPv6Address) -> bool:
    """Whether the device has this IPv4 address; False if the kernel does not answer.

    SIOCGIFADDR looks for the address that is passed in (net/ipv4/devinet.c). It returns another address of
    the device only if the device does not have this one.
    """
    import socket
    import struct

    request = struct.pack("16sHH4s16x", os.fsencode(device), socket.AF_INET, 0, address.packed)
    if address.version != 4:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFADDR, request)
        except OSError:
            return False
    return answer[20:24] == address.packed


def tell(path: str, message: Mapping[str, object], wait_s: float = ANSWER_WAIT_S) -> bool:
    """Tell the agent, and wait up to `wait_s` for its answer: the next hook may need the new routes.

    That no agent runs is not an error: the agent reads the store when it starts. Whether it says that it has
    taken the message's lease.
    """
    import socket

    deadline_s = time.monotonic() + wait_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(wait_s)
            try:
                connection.connect(path + paths.ROOT_SUFFIX)
            except OSError:
                connection.connect(path)  # an agent from before there were two sockets
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < 65536:
                connection.settimeout(max(deadline_s - time.monotonic(), 0.001))
                more = connection.recv(4096)
                if not more:
                    break
                answer += more
        except OSError:
            return False  # the agent is absent, starting, overloaded or hanging; the store has the lease
    return b'"lease": true' in answer


def log(line: str) -> None:
    """Write one line to the system's log, and to standard error, which the client may have closed."""
    import syslog

    line = shown(line).encode("ascii", "backslashreplace").decode()  # syslog refuses names that are not UTF-8
    syslog.openlog("netbond-hook", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_WARNING, line)
    try:
        print(f"netbond hook: {line}", file=sys.stderr)
    except (OSError, AttributeError):
        return  # stderr is closed, or was never open
