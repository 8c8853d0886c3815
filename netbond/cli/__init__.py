"""The `netbond` command: finds the subcommand, runs it, and turns errors into one line and an exit status.

Only the chosen subcommand's module is imported, and for `netbond hook` as it is usually called not even
argparse: a DHCP client waits for it.

A command module has `HELP: str`, `configure(parser)` and `run(args) -> int`.
"""

from __future__ import annotations

import os
import sys

from netbond import __version__
from netbond.errors import EXIT_FAILURE, EXIT_USAGE, NetbondError

TYPE_CHECKING = False  # type checkers take it for typing.TYPE_CHECKING, whose import takes its time
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    class Command(Protocol):
        """What a module under netbond.cli offers."""

        HELP: str

        def configure(self, parser: argparse.ArgumentParser) -> None:
            """Add the command's arguments."""

        def run(self, args: argparse.Namespace) -> int:
            """Do it; the exit status."""


COMMANDS: dict[str, str] = {
    "run": "the agent: keep routes, rules and engines right until told to stop",
    "status": "show uplinks, the ECMP default and the engines",
    "explain": "show which way a packet takes, step by step, and which way netbond intends",
    "plan": "show what the agent would change now, as ip commands",
    "send": "SRTLA sender: carry one SRT stream over several links (drop-in for srtla_send)",
    "recv": "SRTLA receiver: join the links and hand the stream to an SRT server (drop-in for srtla_rec)",
    "hook": "take news from a DHCP client",
    "config": "check a configuration file, or print an example",
    "lab": "emulated modems in network namespaces, no hardware needed",
}


def _overview() -> argparse.ArgumentParser:
    import argparse

    from netbond.cli.parser import Parser

    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = Parser(
        prog="netbond",
        description="Routes and bonds the uplinks of a box with several modems.",
        epilog=f"commands:\n{lines}\n\n'netbond COMMAND --help' explains one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"netbond {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of those below")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    _open_standard_streams()
    name = argv[0] if argv else ""
    if name not in COMMANDS:
        if not argv:
            _overview().print_help(sys.stderr)
            return EXIT_USAGE
        _without_command(argv)
    if name == "hook":
        from netbond.cli import hook

        if hook.plain(argv[1:]):
            return _carried_out(name, lambda: hook.run_plain(argv[1:]))
    import importlib
    from typing import cast

    from netbond.cli.parser import Parser

    command = cast("Command", importlib.import_module(f"netbond.cli.{name}"))
    parser = Parser(prog=f"netbond {name}", description=command.HELP)
    command.configure(parser)
    args = parser.parse_args(argv[1:])
    return _carried_out(name, lambda: command.run(args))


def _without_command(argv: list[str]) -> NoReturn:
    """What to say when no command is named, or none that there is."""
    import difflib

    parser = _overview()

    args = parser.parse_args(argv[:1])  # --help and --version end here
    near = difflib.get_close_matches(args.command, COMMANDS, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    parser.error(f"there is no command {args.command!r}{meant}")


def _carried_out(name: str, work: Callable[[], int]) -> int:
    """The exit status of a command, whatever becomes of it."""
    try:
        status = work()
        sys.stdout.flush()
        return status
    except NetbondError as error:
        print(f"netbond {name}: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        _give_up_stdout()  # `netbond status | head`: the reader has gone
        return EXIT_FAILURE
    except OSError as error:
        # A full disk behind stdout, or the system itself: nothing that a traceback would explain to a user.
        print(f"netbond {name}: {error.filename or 'failed'}: {error.strerror or error}", file=sys.stderr)
        _give_up_stdout()
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell reports it


def _open_standard_streams() -> None:
    """Put /dev/null where a caller closed one of the three (`>&-`).

    Else the next socket or file that is opened would take its number, and get what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for the whole process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _give_up_stdout() -> None:
    """What is still to be written goes nowhere: Python would complain again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
