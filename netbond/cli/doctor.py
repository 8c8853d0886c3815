"""Runs `netbond doctor`, which checks the box, and says what is wrong and what mends it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from netbond.cli import agent_socket, doctor_bundle, doctor_look
from netbond.cli.run_command import run_command
from netbond.cli.status import make_console
from netbond.config.load import config_argument, load
from netbond.config.schema import Config
from netbond.doctor.checkup import examine, exit_status, fixes, summary, worst_first
from netbond.doctor.model import ERROR, OK, UNKNOWN, WARNING, Finding, Seen
from netbond.errors import EXIT_OK, ConfigError, NotPermittedError, UsageError
from netbond.system.text import counted, printable
from netbond.system.typed_json import to_json

HELP = (
    "Check the box: kernel, routes, hooks, clock, streams; say what is wrong and what mends it."
    " Exit status: 0 fine, 1 warnings, 2 errors."
)

_STYLES = {ERROR: "bold red", WARNING: "yellow", UNKNOWN: "dim", OK: "green"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="the agent's control socket (default: as configured)"
    )
    parser.add_argument(
        "--json", action="store_true", help="the same for programs; docs/doctor.md has the keys"
    )
    parser.add_argument("--offline", action="store_true", help="ask nobody on the network")
    parser.add_argument(
        "--fix", action="store_true", help="show what can be mended without harm, ask, and mend it"
    )
    parser.add_argument("--yes", action="store_true", help="with --fix: do not ask")
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        type=Path,
        help="write an archive (.tar.gz) for a bug report, with secrets, addresses and SIMs' numbers masked",
    )
    parser.add_argument("--all", action="store_true", help="show also what is fine, with its evidence")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 0 fine, 1 warnings, 2 errors."""
    _check(args)
    agent = agent_socket.find(args.config, args.socket)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream in a process

    def look() -> tuple[Seen, list[Finding]]:
        seen = doctor_look.look(agent, _config(args.config), network=not args.offline)
        return seen, examine(seen)

    seen, findings = look()
    if args.bundle is not None:
        doctor_bundle.write(args.bundle, seen, report(findings), args.config)
        print(printable(f"{args.bundle}: look through it before you send it"))
        return EXIT_OK
    if args.fix:
        if not fix(fixes(findings), ask=not args.yes):
            return exit_status(findings)
        _, findings = look()
    if args.json:
        print(json.dumps(report(findings), indent=2))
    else:
        show(findings, make_console(), everything=args.all)
    return exit_status(findings)


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if args.yes and not args.fix:
        raise UsageError("--yes is for --fix")
    if args.bundle is not None and (args.fix or args.json):
        raise UsageError("--bundle only writes its file", "leave --fix and --json out")
    if not args.fix:
        return
    if args.json:
        raise UsageError("--fix talks to a person", "leave --json out")
    if os.geteuid() != 0:
        raise NotPermittedError("--fix needs root", "sudo netbond doctor --fix")
    if not args.yes and not sys.stdin.isatty():
        raise UsageError("--fix asks before it does anything", "add --yes, or run it in a terminal")


def fix(commands: Sequence[tuple[Finding, str]], *, ask: bool) -> bool:
    """Show the commands, ask, and run them; whether any was run."""
    if not commands:
        print("nothing that can be mended without harm")
        return False
    for finding, command in commands:
        print(printable(f"{command}  # {finding.verdict}", 1000))
    if ask and input(f"Run {counted(len(commands), 'command')}? [y/N] ").strip().lower() not in ("y", "yes"):
        print("nothing was done")
        return False
    for _, command in commands:
        wrong = run_command(shlex.split(command))
        print(printable(f"{command}: {f'failed: {wrong}' if wrong else 'done'}", 1000), flush=True)
    return True


def _config(file: Path | None) -> Config:
    """The configuration; the default one if the file is broken, which is a finding."""
    try:
        return load(file)
    except ConfigError:
        return Config()


def report(findings: list[Finding]) -> dict[str, object]:
    """What --json prints."""
    return {
        "version": 1,
        "severity": exit_status(findings),
        "summary": summary(findings),
        "findings": [to_json(finding) for finding in findings],
    }


def show(findings: Iterable[Finding], console: Console, *, everything: bool) -> None:
    """The findings, the worst first, with evidence and what mends them; those that are fine on request."""
    found = list(findings)
    for finding in worst_first(found):
        if finding.severity == OK and not everything:
            continue
        subject = finding.subject
        about = f"{subject}: " if subject and subject not in finding.verdict else ""
        line = Text(f"{finding.severity:<7}", _STYLES[finding.severity])
        line.append(f" {printable(about + finding.verdict, 1000)}", style="default")
        console.print(line, soft_wrap=True)
        if finding.evidence:
            console.print(Text(f"        seen: {printable(finding.evidence, 1000)}", "dim"), soft_wrap=True)
        if finding.mend:
            console.print(Text(f"        mend: {printable(finding.mend, 1000)}"), soft_wrap=True)
    hint = "" if everything else "; --all shows what is fine"
    console.print(Text(f"{summary(found)}{hint}"), soft_wrap=True)
