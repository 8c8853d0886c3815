"""Runs `netbond recv`, an SRTLA receiver and drop-in for srtla_rec; the agent starts it with --control-fd."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from netbond.cli import dropin
from netbond.cli.engine_options import (
    add_options,
    address_port,
    given,
    host_name,
    host_port,
    keys_of,
    port_number,
    stats_key_of,
)
from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.errors import UsageError
from netbond.system.text import counted

HELP = "Join the links of SRTLA senders and hand their streams to an SRT server (drop-in for srtla_rec)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = (
        "%(prog)s [OPTIONS] [--srtla-port N] [--srt-hostname H] [--srt-port N]\n"
        "       %(prog)s [OPTIONS] LISTEN_PORT SRT_HOST SRT_PORT\n"
        "       %(prog)s [OPTIONS] --listen ADDRESS:PORT --srt HOST:PORT"
    )
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help=argparse.SUPPRESS)
    parser.add_argument(
        "--srtla-port", "--srtla_port", metavar="N", help="UDP port for senders, any address (5000)"
    )
    parser.add_argument("--srt-hostname", "--srt_hostname", metavar="H", help="the SRT server (127.0.0.1)")
    parser.add_argument("--srt-port", "--srt_port", metavar="N", help="the SRT server's port (4001)")
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="instead of --srtla-port: one address only")
    parser.add_argument("--srt", metavar="HOST:PORT", help="instead of --srt-hostname and --srt-port")
    add_options(parser, ReceiverConfig)
    parser.add_argument(
        "--resume-file",
        type=Path,
        metavar="FILE",
        help="keep in this file what a restarted receiver needs to go on with the streams",
    )


def run(args: argparse.Namespace) -> int:
    """Receive until told to stop; return the exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the engine handles it
    from netbond.srtla.process.engine import prepare, serve, set_up_logging
    from netbond.srtla.process.receiving import RecvEngine, RecvOptions
    from netbond.srtla.process.resumefile import ResumeFile
    from netbond.srtla.receiver import workers

    config = ReceiverConfig(*_places(args), **given(args, ReceiverConfig))
    keys, stats_key = keys_of(args, config.key), stats_key_of(args)
    set_up_logging(dropin.log_level(args))
    channel, resume = prepare(args.user, args.control_fd)
    kept = None
    if args.resume_file is not None and channel is None:
        kept = ResumeFile(args.resume_file, config)
        resume = kept.load()
    options = RecvOptions(config, keys, args.stats_file, stats_key, kept)
    if config.workers > 1:
        return workers.run(options, channel, resume)
    return serve(RecvEngine(options, channel, resume))


def _places(args: argparse.Namespace) -> tuple[HostPort, HostPort]:
    """Where senders connect, and the SRT server."""
    by_option = (args.srtla_port, args.srt_hostname, args.srt_port)
    if args.arguments:  # as BELABOX's srtla_rec has them
        if len(args.arguments) != 3:
            raise UsageError(
                f"{counted(len(args.arguments), 'argument')} given",
                "expected LISTEN_PORT SRT_HOST SRT_PORT; see 'netbond recv --help'",
            )
        if any((args.listen, args.srt, *by_option)):
            raise UsageError("the ports are given twice", "give LISTEN_PORT SRT_HOST SRT_PORT or options")
        by_option = args.arguments
    elif args.listen is args.srt is None:
        by_option = (
            args.srtla_port or dropin.SRTLA_PORT,
            args.srt_hostname,
            args.srt_port or dropin.SRT_PORT,
        )
    port, host, srt_port = by_option
    return _listen(args.listen, port), _server(args.srt, host, srt_port)


def _listen(listen: str | None, port: str | None) -> HostPort:
    if listen is not None and port is None:
        return address_port(listen, "--listen")
    if port is not None and listen is None:
        return HostPort("", port_number(port, "--srtla-port"))
    raise UsageError("the port for senders is not clear", "give --srtla-port N or --listen ADDRESS:PORT")


def _server(server: str | None, host: str | None, port: str | None) -> HostPort:
    if server is not None and port is None:
        return host_port(server, "--srt")
    if port is not None and server is None:
        return HostPort(host_name(host or "127.0.0.1", "--srt-hostname"), port_number(port, "--srt-port"))
    raise UsageError("the SRT server is not clear", "give either --srt-port N or --srt HOST:PORT")
