"""Runs `netbond run`: the agent in the foreground, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import resource
import signal
import sys

from netbond.config.load import DEFAULT_PATH, config_argument, load
from netbond.config.schema import Config
from netbond.errors import EXIT_FAILURE, EXIT_OK, NotPermittedError, UnavailableError
from netbond.system import journal
from netbond.system.log_limit import OncePerMinute
from netbond.system.text import printable, shown

HELP = "Keep routes, rules, the address list and the SRTLA engines right until told to stop."

DESCRIPTORS = 65536
FEWEST_DESCRIPTORS = 64  # a start takes some 20, and each uplink and engine a few


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "--log-level",
        type=str.lower,
        choices=["debug", "info", "warning", "error"],
        help="how much to log (default: agent.log_level of the configuration)",
    )
    parser.add_argument(
        "--restore",
        action="store_true",
        help="restore kernel settings, nftables and defaults that an agent left changed, and exit",
    )


LONGEST_LINE = 4000  # characters


class _Formatter(logging.Formatter):
    """Formats a record as one line, without newlines and control characters from quoted text."""

    def __init__(self, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        # A traceback has several lines, and may quote anything.
        text = printable(text, LONGEST_LINE) if record.exc_info is None else shown(text)
        return journal.prefixed(record.levelno, text) if self._journal else text


def set_up_logging(level: str) -> None:
    """Log to stderr, in the journal's format if stderr goes to the journal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(journal="JOURNAL_STREAM" in os.environ))
    handler.addFilter(OncePerMinute())
    logging.basicConfig(level="WARNING", handlers=[handler], force=True)
    # Only netbond's own logger: pyroute2 at level debug logs every message of the kernel.
    logging.getLogger("netbond").setLevel(level.upper())


def raise_descriptor_limit() -> None:
    """Raise the limit of open files: each target of a check needs one, and the usual limit is 1024.

    UnavailableError if it cannot be as high as a box with a few uplinks needs: a start would fail at any
    point, with words that do not say why.
    """
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FEWEST_DESCRIPTORS:
        raise UnavailableError(
            f"no more than {most} files may be open at once, and the agent needs {FEWEST_DESCRIPTORS}",
            "raise the limit: LimitNOFILE= of the unit, or ulimit -Hn",
        )
    # Not up to a limit of a billion: some child programs loop over all possible descriptors.
    enough = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, enough), most))


def run(args: argparse.Namespace) -> int:
    """Run the agent, or restore what one has left; return the exit status."""
    # SIGHUP asks to read the file again. Until the agent handles SIGHUP, keep it pending, so that it does not
    # end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    config = load(args.config)
    if os.geteuid() != 0:
        raise NotPermittedError("the agent changes routes and needs root", "sudo netbond run")
    set_up_logging(args.log_level or config.agent.log_level)
    if args.restore:
        return put_back(config)
    raise_descriptor_limit()
    from netbond.agent import Agent

    file = args.config or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    faulthandler.enable()  # systemd ends an agent that hangs with SIGABRT: the log then says where
    asyncio.run(Agent(config, file).run())
    return EXIT_OK


def put_back(config: Config) -> int:
    """Restore and print what was done, as commands; 1 if something failed."""
    from netbond.cli.restore import restore

    restored = asyncio.run(restore(config))
    for command in restored.commands:
        print(command)
    for problem in restored.problems:
        print(f"netbond: {problem}", file=sys.stderr)
    if not restored.commands and not restored.problems:
        print("nothing to put back")
    return EXIT_FAILURE if restored.problems else EXIT_OK
