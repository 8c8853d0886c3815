"""Runs `netbond send`, an SRTLA sender and drop-in for srtla_send; the agent starts it with --control-fd."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
from pathlib import Path

from netbond.cli import dropin
from netbond.cli.engine_options import (
    add_options,
    address_port,
    given,
    host_name,
    host_port,
    key_of,
    port_number,
)
from netbond.config.crosscheck import encoder_mistake
from netbond.config.schema import SenderConfig
from netbond.config.values import MAX_RECEIVERS, HostPort
from netbond.errors import UsageError
from netbond.system.text import counted

log = logging.getLogger(__name__)

HELP = "Carry one SRT stream over several links to an SRTLA receiver (drop-in for srtla_send)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = (
        "%(prog)s [OPTIONS] LISTEN_PORT RECEIVER_HOST RECEIVER_PORT IPS_FILE\n"
        "       %(prog)s [OPTIONS] --listen HOST:PORT --receiver HOST:PORT [IPS_FILE]"
    )
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help=argparse.SUPPRESS)
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the SRT caller connects")
    parser.add_argument(
        "--receiver",
        metavar="HOST:PORT",
        action="append",
        help="the SRTLA receiver; a name is fine; given again: another one, for when this does not answer",
    )
    add_options(parser, SenderConfig)
    parser.add_argument(
        "--watch-socket",
        type=Path,
        metavar="PATH",
        help="a unix socket for 'netbond watch --socket PATH', of a sender without the agent",
    )
    dropin.add_sender_options(parser)
    parser.epilog = (
        "IPS_FILE has one link on each line, ADDRESS or ADDRESS%DEVICE; it is read again when it changes."
        " LISTEN_PORT listens on every IPv4 address, as srtla_send does; --listen on one address."
    )


def run(args: argparse.Namespace) -> int:
    """Send until told to stop; return the exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the engine handles it
    from netbond.srtla.process.encoder import open_bitrate_file
    from netbond.srtla.process.engine import prepare, serve, set_up_logging
    from netbond.srtla.process.sending import SendEngine, SendOptions
    from netbond.srtla.process.watchsocket import WatchSocket

    lines = dropin.translate_sender(args)
    listen, receivers, list_file = _places(args)
    if args.dry_run and list_file is not None:
        return dropin.dry_run(list_file, receivers)
    config = SenderConfig(
        listen, receivers[0] if len(receivers) == 1 else receivers, **given(args, SenderConfig)
    )
    if mistake := encoder_mistake(config):
        raise UsageError(*mistake)
    key = key_of(args)
    bitrate_file = open_bitrate_file(config.encoder) if config.encoder is not None else None
    set_up_logging(dropin.log_level(args))
    for line in lines:
        log.warning("%s", line)
    with contextlib.ExitStack() as stack:
        watch_socket = None
        if args.watch_socket is not None:  # opened as the user that starts it: its folder may be root's
            watch_socket = stack.enter_context(WatchSocket(args.watch_socket, args.user))
        channel, resume = prepare(args.user, args.control_fd)
        options = SendOptions(config, list_file, key, args.stats_file, bitrate_file, watch_socket)
        return serve(SendEngine(options, channel, resume))


def _places(args: argparse.Namespace) -> tuple[HostPort, tuple[HostPort, ...], Path | None]:
    words: list[str] = args.arguments
    if (args.listen is None) != (args.receiver is None):
        raise UsageError("--listen and --receiver belong together", "give both, or LISTEN_PORT and the rest")
    if args.listen is None:
        if len(words) != 4:
            raise UsageError(
                f"{counted(len(words), 'argument')} given",
                "expected LISTEN_PORT RECEIVER_HOST RECEIVER_PORT IPS_FILE; see 'netbond send --help'",
            )
        listen = HostPort("", port_number(words[0], "LISTEN_PORT"))
        receiver = HostPort(host_name(words[1], "RECEIVER_HOST"), port_number(words[2], "RECEIVER_PORT"))
        return listen, (receiver,), Path(words[3])
    if len(words) > 1:
        raise UsageError(
            f"{counted(len(words), 'argument')} given besides --listen", "expected only IPS_FILE"
        )
    if not words and args.control_fd is None:
        raise UsageError("there is no list of links", "add IPS_FILE")
    list_file = Path(words[0]) if words and words[0] != "-" else None
    receivers = tuple(dict.fromkeys(host_port(each, "--receiver") for each in args.receiver))
    if len(receivers) > MAX_RECEIVERS:
        raise UsageError(f"{len(receivers)} receivers given", f"{MAX_RECEIVERS} are the limit")
    return address_port(args.listen, "--listen"), receivers, list_file
