"""Runs `netbond unset`, which takes back what `netbond set` has set of an uplink."""

from __future__ import annotations

import argparse
import os

from netbond.cli.set import change, show, where, who
from netbond.errors import UsageError
from netbond.overrides import MODES, WHATS
from netbond.status.protocol import UnsetRequest
from netbond.system.text import quoted
from netbond.system.typed_json import to_json

HELP = "Take back what was set of an uplink: the configuration counts again."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    where(parser)
    parser.add_argument("uplink", metavar="UPLINK", help="its name, as `netbond set` lists it")
    parser.add_argument(
        "what", metavar="WHAT", nargs="?", default="", help=f"{', '.join(WHATS)} (default: all)"
    )


def run(args: argparse.Namespace) -> int:
    """Unset it."""
    what = "mode" if args.what in MODES else args.what
    if what not in ("", *WHATS):
        raise UsageError(f"{quoted(what)} cannot be set", f"it is {', '.join(WHATS)}")
    return show("unset", change("unset", args, to_json(UnsetRequest(args.uplink, what, who(os.environ)))))
