"""`netbond status`: what the agent does, read at a glance; and what the kernel holds when there is no agent.

Gets the snapshot that the agent answers with, and decides nothing; status_view.py says how it looks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from netbond.cli.status_details import details
from netbond.cli.status_view import Cropped, overview, render_kernel, text
from netbond.config.load import config_argument, load
from netbond.config.schema import Config
from netbond.errors import EXIT_OK, ConfigError, NetbondError, UnavailableError, UsageError
from netbond.status import control
from netbond.status.protocol import StatusRequest
from netbond.status.schema import (
    VERSION,
    KernelStatus,
    NoAgent,
    Snapshot,
    WithoutAgent,
    from_json,
    json_schema,
    to_json,
)
from netbond.system import typed_json
from netbond.system.text import printable

HELP = "Show uplinks, the default route over all of them, and the engines."

PERIOD = 1.0  # seconds between two looks with --watch; the agent takes a snapshot each second
PIPED_WIDTH = 160  # columns when nobody's terminal is known: a line of a table stays one line for grep


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="the agent's control socket (default: as configured)"
    )
    parser.add_argument(
        "--json", action="store_true", help="the same for programs; docs/status.md has the keys"
    )
    parser.add_argument(
        "--all", action="store_true", help="show also hardware, modems, checks, and what is not used and why"
    )
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of what --json prints, and ask no agent"
    )
    parser.add_argument("--watch", action="store_true", help="look again each second, until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Show it; 0, or 3 if the agent is not running."""
    if args.schema:
        print(json.dumps(json_schema(), indent=2))
        return EXIT_OK
    config = _config(args)
    socket_path = args.socket or config.agent.control_socket
    # A reason in Japanese on a terminal that knows only Latin letters is no reason to fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream in a process
    if args.watch:
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            if args.json:
                _watch_json(socket_path, config.routing.protocol)
            else:
                _watch(socket_path, config.routing.protocol, everything=args.all)
        return EXIT_OK
    console = make_console()
    try:
        answer = ask(socket_path)
        snapshot = None if args.json else understood(answer)
    except NetbondError as error:
        print(f"netbond status: {error}", file=sys.stderr)
        held = read_kernel(config.routing.protocol)
        if args.json:
            print(json.dumps(without_agent(error, held), indent=2))
        else:
            console.print(render_kernel(held))
        return error.exit_status
    if snapshot is None:
        print(json.dumps(answer, indent=2))
    else:
        console.print(render(snapshot, time.time(), everything=args.all))
    return EXIT_OK


def _config(args: argparse.Namespace) -> Config:
    """The configuration, of which status needs two values; one that is broken can be done without."""
    try:
        return load(args.config)
    except ConfigError:
        if args.socket is None:
            raise
        return Config()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # netbond.cli.main knows what to do; rich would exit here and now


def make_console() -> Console:
    """A console on stdout that takes text as it is: no markup, no emoji codes, colours on terminals only."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return _Console(markup=False, emoji=False, highlight=False, width=width)


def render(snapshot: Snapshot, now: float, *, everything: bool = False) -> Group:
    """The whole view, with all that is known on request. `now` is Unix time."""
    return Group(*overview(snapshot, now), *(details(snapshot, now) if everything else ()))


# --- getting it --------------------------------------------------------------------------------------------


def ask(socket_path: Path) -> dict[str, Any]:
    """The agent's snapshot as it came.

    NotRunningError if there is no agent, UnavailableError if the answer is none.
    """
    reply = control.request(socket_path, typed_json.to_json(StatusRequest()))
    if not reply["ok"]:
        raise UnavailableError(f"the agent refuses: {printable(str(reply.get('error')))}")
    snapshot = reply.get("status")
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("agent"), dict):
        raise UnavailableError("the agent has nothing to show yet", "ask again in a moment")
    return snapshot


def understood(answer: dict[str, Any]) -> Snapshot:
    """The snapshot for the view; UnavailableError if it is too different, made by another version."""
    try:
        return from_json(answer)
    except ValueError as error:
        raise UnavailableError(
            f"what the agent shows is not understood: {error}", "restart it after an update"
        ) from None


def read_kernel(protocol: int) -> KernelStatus:
    """netbond's own rules and routes in the kernel, as `ip` takes them; `error` if they cannot be read."""
    # Only now: pyroute2 takes longer to import than all the rest, and a running agent needs none of it.
    from netbond.kernel.client import read_facts_once
    from netbond.plan import route_words, rule_words

    try:
        facts = read_facts_once()
    except (OSError, NetbondError) as error:
        return KernelStatus((), (), str(error))
    # In the order in which `ip` shows them.
    rules = sorted((r for r in facts.rules if r.protocol == protocol), key=lambda r: (r.family, r.priority))
    routes = sorted(
        (route for route in facts.routes if route.protocol == protocol),
        key=lambda r: (r.table, r.destination.version, r.destination.prefixlen, str(r.destination), r.metric),
    )
    return KernelStatus(
        rules=tuple(printable(rule_words(rule)) for rule in rules),
        routes=tuple(printable(route_words(route)) for route in routes),
    )


def without_agent(error: NetbondError, held: KernelStatus) -> dict[str, Any]:
    """What --json prints when no agent answers."""
    return to_json(WithoutAgent(VERSION, NoAgent(False, str(error)), held))


def _watch(socket_path: Path, protocol: int, *, everything: bool) -> None:
    """Show it again each second; an agent that stops meanwhile may come back."""
    if not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal", "--json --watch prints a line of JSON each second")
    with Live(console=make_console(), auto_refresh=False, screen=True) as live:
        while True:
            try:
                view = render(understood(ask(socket_path)), time.time(), everything=everything)
            except NetbondError as error:
                view = Group(text(error, "red"), text(""), render_kernel(read_kernel(protocol)))
            live.update(Cropped(view), refresh=True)
            time.sleep(PERIOD)


def _watch_json(socket_path: Path, protocol: int) -> None:
    while True:
        try:
            answer = ask(socket_path)
        except NetbondError as error:
            answer = without_agent(error, read_kernel(protocol))
        print(json.dumps(answer), flush=True)
        time.sleep(PERIOD)
