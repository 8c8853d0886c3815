"""Takes the options of other projects' srtla_send and srtla_rec, or says what replaces them.

What has no effect tunes another program's choice of links, which netbond makes otherwise; a log line says so.
What is refused is a service that somebody would miss; the error says what replaces it. docs/dropin.md has a
table of all that these programs have.
"""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from netbond.cli.parser import Version
from netbond.config.values import HostPort
from netbond.errors import UnavailableError, UsageError

# srtla_rec's, if it is told none.
SRTLA_PORT: Final = "5000"
SRT_PORT: Final = "4001"

LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "warning", "error", "critical")

_OTHER_MODES: Final = ("enhanced", "rtt-threshold", "edpf")

# With the placeholder for the value; "" for an option without one.
_WITHOUT_EFFECT: Final = {
    "--no-quality": "",
    "--no-stickiness": "",
    "--exploration": "",
    "--priority": "",
    "--rtt-delta-ms": "MS",
    "--earned-ack-window": "",
    "--stall-deselect": "",
    "--no-stall-deselect": "",
    "--stall-min-in-flight": "N",
    "--stall-ack-stale-ms": "MS",
    "--stall-reprobe-ms": "MS",
    "--conn-timeout-ms": "MS",
    "--priority-bind": "ADDRESS",
    "--stats-file-interval": "MS",
}
_REPLACED: Final = {
    "--config": "give the options themselves, or a [[sender]] in netbond's own configuration",
    "--control-socket": "--stats-file and 'netbond status --json' show the links; --mode sets the mode",
    "--metrics-bind": "the agent serves metrics of a [[sender]] (docs/metrics.md); --stats-file has JSON",
}


class _Named(argparse.Action):
    """Keeps the names of the options that are given, not their values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), str(option_string)])


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add what senders and receivers of other projects have, and netbond's engines have as well."""
    parser.add_argument("-v", "--version", action=Version)
    parser.add_argument(
        *("--log-level", "--log_level"),
        type=str.lower,
        choices=LOG_LEVELS,
        default="info",
        metavar="LEVEL",
        help="debug, info, warning, error or critical; default: info",
    )
    parser.add_argument(
        *("--verbose", "--debug"),
        dest="log_level",
        action="store_const",
        const="debug",
        help="the same as --log-level debug",
    )


def log_level(args: argparse.Namespace) -> str:
    """Return the level of the log by a name that Python's logging has."""
    return "debug" if args.log_level == "trace" else str(args.log_level)


def add_sender_options(parser: argparse.ArgumentParser) -> None:
    """Add what only senders of other projects have."""
    hidden = argparse.SUPPRESS
    parser.add_argument(
        "--dry-run", action="store_true", help="say which links and which receiver would be used, and exit"
    )
    parser.add_argument("--classic", dest="mode", action="store_const", const="classic", help=hidden)
    parser.add_argument(
        "--rtt-threshold", dest="mode", action="store_const", const="rtt-threshold", help=hidden
    )
    for option, metavar in _WITHOUT_EFFECT.items():
        nargs = None if metavar else 0
        parser.add_argument(
            option, dest="without_effect", action=_Named, nargs=nargs, default=[], help=hidden
        )
    for option in _REPLACED:
        parser.add_argument(option, dest="replaced", action=_Named, default=[], help=hidden)


def translate_sender(args: argparse.Namespace) -> list[str]:
    """Make the arguments netbond's own: lines for the log about what is not as in the other program.

    UsageError for an option that is refused; it says what replaces it.
    """
    for option in args.replaced:
        raise UsageError(f"{option} is not an option of netbond's", _REPLACED[option])
    lines = []
    if args.mode in _OTHER_MODES:
        lines.append(f"mode {args.mode!r} is another program's; using mode 'adaptive' instead")
        args.mode = "adaptive"
    if args.without_effect:
        lines.append(f"without effect in netbond: {', '.join(dict.fromkeys(args.without_effect))}")
    return lines


def dry_run(list_file: Path, receivers: Sequence[HostPort]) -> int:
    """Print the links in the list and the addresses of the receivers, open nothing; the exit status.

    UnavailableError: there is no usable link, or no address.
    """
    from netbond.srtla.process import linklist

    links, complaints = linklist.read(list_file)
    if not links:
        raise UnavailableError("; ".join(complaints) or f"{list_file} has no links", "see docs/send.md")
    print("\n".join([*complaints, f"links: {', '.join(link.label for link in links)}"]))
    for receiver in receivers:
        print(f"receiver {receiver}: {', '.join(_addresses(receiver))}")
    return 0


def _addresses(where: HostPort) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise UnavailableError(
            f"receiver {where}: {error.strerror}", "check the name and the resolver"
        ) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
