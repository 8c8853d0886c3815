"""`netbond send`: an SRTLA sender, a drop-in for srtla_send; the agent starts it with --control-fd."""

from __future__ import annotations

import argparse
import ipaddress
import re
import signal
from pathlib import Path

from netbond.config import targets
from netbond.config.values import HostPort, parse_host_port
from netbond.errors import UsageError

HELP = "Carry one SRT stream over several links to an SRTLA receiver (drop-in for srtla_send)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = (
        "%(prog)s [OPTIONS] LISTEN_PORT RECEIVER_HOST RECEIVER_PORT IPS_FILE\n"
        "       %(prog)s [OPTIONS] --listen HOST:PORT --receiver HOST:PORT [IPS_FILE]"
    )
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help=argparse.SUPPRESS)
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the SRT caller connects")
    parser.add_argument("--receiver", metavar="HOST:PORT", help="the SRTLA receiver; a name is fine")
    parser.add_argument(
        "--mode", choices=["adaptive", "classic"], default="adaptive", help="how links are used (adaptive)"
    )
    parser.add_argument(
        "--latency", metavar="MS", help="SRT's latency, where it is not to be learnt from the handshake"
    )
    add_engine_options(parser)
    parser.epilog = (
        "IPS_FILE holds one link a line, ADDRESS or ADDRESS%DEVICE; SIGHUP reads it again. LISTEN_PORT alone"
        " listens on every IPv4 address, as srtla_send does; --listen narrows it."
    )


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """The options that both engines have."""
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="a key that senders and receivers share; other programs ignore it",
    )
    parser.add_argument(
        "--require-key", action="store_true", help="deal only with the other end if it has shown that key"
    )
    parser.add_argument(
        "--stats-file",
        type=Path,
        metavar="FILE",
        help="keep the statistics of the last second there, as JSON",
    )
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info", help="default: info"
    )
    parser.add_argument("--verbose", action="store_true", help="the same as --log-level debug")
    parser.add_argument("--control-fd", type=int, metavar="N", help="the channel with the agent")
    parser.add_argument("--user", metavar="NAME", help="become this user before any socket is opened")


def run(args: argparse.Namespace) -> int:
    """Send until told to stop; the exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the engine is there to heed it
    from netbond.srtla.process.engine import prepare, serve, set_up_logging
    from netbond.srtla.process.sending import SendEngine, SendOptions

    listen, receiver, list_file = _places(args)
    options = SendOptions(
        listen=listen,
        receiver=receiver,
        list_file=list_file,
        mode=args.mode,
        latency=_latency(args.latency),
        key=key_of(args),
        require_key=args.require_key,
        stats_file=args.stats_file,
    )
    set_up_logging("debug" if args.verbose else args.log_level)
    channel, resume = prepare(args.user, args.control_fd)
    return serve(SendEngine(options, channel, resume))


def _places(args: argparse.Namespace) -> tuple[HostPort, HostPort, Path | None]:
    words: list[str] = args.arguments
    if (args.listen is None) != (args.receiver is None):
        raise UsageError("--listen and --receiver belong together", "give both, or LISTEN_PORT and the rest")
    if args.listen is None:
        if len(words) != 4:
            raise UsageError(
                f"{len(words)} arguments given",
                "expected LISTEN_PORT RECEIVER_HOST RECEIVER_PORT IPS_FILE; see 'netbond send --help'",
            )
        listen = HostPort("", port_number(words[0], "LISTEN_PORT"))
        receiver = HostPort(_host(words[1]), port_number(words[2], "RECEIVER_PORT"))
        return listen, receiver, Path(words[3])
    if len(words) > 1:
        raise UsageError(f"{len(words)} arguments given beside --listen", "expected IPS_FILE alone")
    if not words and args.control_fd is None:
        raise UsageError("there is no list of links", "add IPS_FILE")
    list_file = Path(words[0]) if words and words[0] != "-" else None
    return address_port(args.listen, "--listen"), host_port(args.receiver, "--receiver"), list_file


def key_of(args: argparse.Namespace) -> bytes | None:
    """The key that --key-file names; UsageError if it cannot be had, or --require-key is without one."""
    from netbond.srtla.registration import psk

    if args.key_file is not None:
        return psk.read(args.key_file)
    if args.require_key:
        raise UsageError("--require-key needs a key", "add --key-file FILE")
    return None


def port_number(text: str, what: str) -> int:
    """A UDP port from the command line; UsageError names `what`."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise UsageError(f"{what} {text!r} is not a port", "expected a number from 1 to 65535")
    return int(text)


def host_port(text: str, what: str) -> HostPort:
    """HOST:PORT from the command line; UsageError names `what`."""
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise UsageError(f"{what} {text!r} is not valid", f"expected {error}") from None


def address_port(text: str, what: str) -> HostPort:
    """ADDRESS:PORT of this box from the command line; UsageError names `what`."""
    where = host_port(text, what)
    try:
        ipaddress.ip_address(where.host)
    except ValueError:
        raise UsageError(
            f"{what} {text!r} names no address",
            "expected something like '127.0.0.1:6000' or '[::]:5000'",
        ) from None
    return where


def _latency(text: str | None) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{2,4}", text) or not 20 <= int(text) <= 8000:
        raise UsageError(f"--latency {text!r} is not valid", "expected milliseconds from 20 to 8000")
    return int(text) / 1000


def _host(text: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not targets.is_host(host):
        raise UsageError(f"RECEIVER_HOST {text!r} is not a host", "expected a name or an address")
    return host
