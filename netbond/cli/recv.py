"""Runs `netbond recv`, an SRTLA receiver and drop-in for srtla_rec; the agent starts it with --control-fd."""

from __future__ import annotations

import argparse
import signal

from netbond.cli.engine_options import (
    add_options,
    address_port,
    given,
    host_name,
    host_port,
    key_of,
    port_number,
)
from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.errors import UsageError

HELP = "Join the links of SRTLA senders and hand their streams to an SRT server (drop-in for srtla_rec)."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--srtla-port", "--srtla_port", metavar="N", help="UDP port for senders, any address")
    parser.add_argument("--srt-hostname", "--srt_hostname", metavar="H", help="the SRT server (127.0.0.1)")
    parser.add_argument("--srt-port", "--srt_port", metavar="N", help="the SRT server's port")
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="instead of --srtla-port: one address only")
    parser.add_argument("--srt", metavar="HOST:PORT", help="instead of --srt-hostname and --srt-port")
    add_options(parser, ReceiverConfig)


def run(args: argparse.Namespace) -> int:
    """Receive until told to stop; return the exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the engine handles it
    from netbond.srtla.process.engine import prepare, serve, set_up_logging
    from netbond.srtla.process.receiving import RecvEngine, RecvOptions
    from netbond.srtla.receiver import workers

    config = ReceiverConfig(_listen(args), _server(args), **given(args, ReceiverConfig))
    options = RecvOptions(config, key_of(args), args.stats_file)
    set_up_logging("debug" if args.verbose else args.log_level)
    channel, resume = prepare(args.user, args.control_fd)
    if config.workers > 1:
        return workers.run(options, channel, resume)
    return serve(RecvEngine(options, channel, resume))


def _listen(args: argparse.Namespace) -> HostPort:
    if (args.listen is None) == (args.srtla_port is None):
        raise UsageError("the port for senders is not clear", "give --srtla-port N or --listen ADDRESS:PORT")
    if args.listen is not None:
        return address_port(args.listen, "--listen")
    return HostPort("", port_number(args.srtla_port, "--srtla-port"))


def _server(args: argparse.Namespace) -> HostPort:
    if (args.srt is None) == (args.srt_port is None):
        raise UsageError("the SRT server is not clear", "give either --srt-port N or --srt HOST:PORT")
    if args.srt is not None:
        return host_port(args.srt, "--srt")
    host = host_name(args.srt_hostname or "127.0.0.1", "--srt-hostname")
    return HostPort(host, port_number(args.srt_port, "--srt-port"))
