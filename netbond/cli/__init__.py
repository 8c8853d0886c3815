"""Runs the `netbond` command: finds the subcommand, and turns errors into one line and an exit status.

Only the module of that subcommand is imported. `netbond hook`, in its usual form, does not even import
argparse, because a DHCP client waits for it.

A subcommand's module has `HELP: str`, `configure(parser)` and `run(args) -> int`.
"""

from __future__ import annotations

import os
import sys

from netbond.errors import EXIT_FAILURE, EXIT_USAGE, NetbondError
from netbond.system.text import shown

TYPE_CHECKING = False  # type checkers treat it as typing.TYPE_CHECKING; importing typing would take time
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    class Command(Protocol):
        """The module of a subcommand."""

        HELP: str

        def configure(self, parser: argparse.ArgumentParser) -> None:
            """Add the command's arguments."""

        def run(self, args: argparse.Namespace) -> int:
            """Run the subcommand and return its exit status."""


COMMANDS: dict[str, str] = {
    "run": "the agent: keep routes, rules and engines right until told to stop",
    "status": "show uplinks, the ECMP default and the engines",
    "events": "tell what has happened: a line for each plug, unplug, problem and stream",
    "set": "set an uplink off, a backup, or normal; its weight or priority; list what is set",
    "unset": "take back what was set of an uplink",
    "doctor": "check the box: say what is wrong, what shows it, and the command that mends it",
    "watch": "follow what a sender's links carry, and the rate that its encoder may send",
    "explain": "show step by step which route a packet takes, and which route netbond intends",
    "page": "show in a browser what the agent does",
    "plan": "show what the agent would change now, as ip commands",
    "exec": "run a command so that all its traffic leaves by one uplink",
    "send": "SRTLA sender: carry one SRT stream over several links (drop-in for srtla_send)",
    "recv": "SRTLA receiver: join the links and hand the stream to an SRT server (drop-in for srtla_rec)",
    "rehearse": "measure what each uplink carries to a receiver, before a stream goes live",
    "hook": "take a lease from a DHCP client",
    "install": "make netbond a service of this box: unit, user, DHCP hooks, configuration",
    "uninstall": "take away what install has put on this box",
    "config": "check a configuration file, or print an example",
    "fleet": "tell Prometheus where the boxes of a fleet are",
    "lab": "emulated modems in network namespaces, no hardware needed",
}
DROP_INS = {"srtla_send": "send", "srtla_rec": "recv"}  # called by such a name, netbond is this command


def _overview() -> argparse.ArgumentParser:
    import argparse

    from netbond.cli.parser import Parser, Version

    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = Parser(
        prog="netbond",
        description="Routes and bonds the uplinks of a box with several modems.",
        epilog=f"commands:\n{lines}\n\n'netbond COMMAND --help' explains one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version)
    parser.add_argument("command", metavar="COMMAND", help="one of those below")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit status."""
    if os.getpid() == 1:
        _end_on_sigterm()
    if argv is None:
        argv = [*_called_as(sys.argv[0]), *sys.argv[1:]]
    _open_standard_streams()
    name = argv[0] if argv else ""
    if name in ("help", "version"):  # as many programs have it
        argv = [*argv[1:2], "--help"] if name == "help" else ["--version"]
        name = argv[0]
    if name not in COMMANDS:
        if not argv:
            _overview().print_help(sys.stderr)
            return EXIT_USAGE
        _without_command(argv)
    if name == "hook":
        from netbond.cli import hook

        if hook.plain(argv[1:]):
            return _exit_status(name, lambda: hook.run_plain(argv[1:]))
    import importlib
    from typing import cast

    from netbond.cli.parser import Parser

    command = cast("Command", importlib.import_module(f"netbond.cli.{name}"))
    parser = Parser(prog=f"netbond {name}", description=command.HELP)
    command.configure(parser)
    # Options may also stand among the arguments of srtla_send and srtla_rec.
    parse = parser.parse_intermixed_args if name in DROP_INS.values() else parser.parse_args
    args = parse(argv[1:])
    return _exit_status(name, lambda: command.run(args))


def _end_on_sigterm() -> None:
    """Let SIGTERM end process 1 of a container until the command has a handler of its own.

    The kernel drops signals for a process 1 that has no handler: a container that is stopped while netbond
    starts would go on, and be killed 10 s later.
    """
    import signal

    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # as netbond-start of the image leaves it


def _called_as(program: str) -> list[str]:
    """The command that `program`, a link to netbond by the name of another program, stands for; often none.

    The process gets that name, because scripts look for it: `killall -HUP srtla_send`. It has it already when
    the kernel started Python by the script's first line; not when pip had to write a script for a shell.
    """
    name = program.rpartition("/")[2]
    if name not in DROP_INS:
        return []
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # or it would end the engine until that handles it
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123 - pathlib takes time
            comm.write(name)
    except OSError:
        pass  # no /proc: it works without, but nobody finds it by its name
    return [DROP_INS[name]]


def _without_command(argv: list[str]) -> NoReturn:
    """Exit with help, the version, or an error: `argv` names no command, or one that does not exist."""
    import difflib

    parser = _overview()

    args = parser.parse_args(argv[:1])  # --help and --version end here
    near = difflib.get_close_matches(args.command, COMMANDS, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    parser.error(f"there is no command {args.command!r}{meant}")


def _exit_status(name: str, work: Callable[[], int]) -> int:
    """Run a command and return its exit status; report its errors."""
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
        # For example, the disk behind stdout is full. A traceback would not help a user.
        text = shown(f"{error.filename or 'failed'}: {error.strerror or error}")
        print(f"netbond {name}: {text}", file=sys.stderr)
        _give_up_stdout()
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell reports it


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that the caller has closed (`>&-`).

    Otherwise the next socket or file would get that descriptor, and with it what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for the whole process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _give_up_stdout() -> None:
    """Discard the rest of stdout: Python would report the error again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
