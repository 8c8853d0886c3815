"""`netbond status`: what the agent does, read at a glance; and what the kernel holds when there is no agent.

Gets the snapshot that the agent answers with, and decides nothing; status_view.py says how it looks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group

from netbond.cli import agent_socket, scroll, status_plain
from netbond.cli.agent_socket import AgentSocket, in_spite_of
from netbond.cli.status_details import details
from netbond.cli.status_view import overview, render_kernel, text
from netbond.config.load import config_argument
from netbond.errors import EXIT_OK, NetbondError, NotPermittedError, UnavailableError, UsageError
from netbond.status import control
from netbond.status.assessment import belated
from netbond.status.protocol import StatusRequest
from netbond.status.schema import (
    VERSION,
    KernelStatus,
    NoAgent,
    Snapshot,
    Verdict,
    WithoutAgent,
    from_json,
    json_schema,
    to_json,
)
from netbond.status.verdict import IS_DEGRADED, no_agent, unknown
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
    parser.add_argument(
        "--watch", action="store_true", help="look again each second, until q or Ctrl-C; arrows scroll"
    )
    parser.add_argument(
        "--plain", action="store_true", help="one sentence a line, without tables: for screen readers"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="print only the verdict; exit with 0 fine, 1 degraded, 2 broken or no agent, 3 unknown",
    )


def run(args: argparse.Namespace) -> int:
    """Show it; 0, or 3 if the agent is not running."""
    if args.schema:
        print(json.dumps(json_schema(), indent=2))
        return EXIT_OK
    agent = agent_socket.find(args.config, args.socket)
    # A reason in Japanese on a terminal that knows only Latin letters is no reason to fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream in a process
    if args.check:
        if args.watch:
            raise UsageError("--check looks once", "leave --watch out")
        return _check(agent, as_json=args.json)
    if args.watch:
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            if args.json:
                _watch_json(agent)
            elif args.plain or os.environ.get("TERM") in ("dumb", "unknown"):
                _watch_plain(agent)
            else:
                _watch(agent, everything=args.all)
        return EXIT_OK
    console = make_console()
    try:
        answer = ask(agent.path)
        snapshot = None if args.json else understood(answer)
    except NetbondError as error:
        # An agent that does not run may not be able to, because of the file.
        reason = agent.error if agent.error is not None and agent.broken and args.socket is None else error
        print(f"netbond status: {error}", file=sys.stderr)
        if reason is not error:
            print(f"netbond status: {reason}", file=sys.stderr)
        held = read_kernel(agent.protocol)
        if args.json:
            print(json.dumps(without_agent(error, held), indent=2))
        else:
            console.print(render_kernel(held))
        return reason.exit_status
    agent_socket.say_trouble("status", agent, args.socket)
    if snapshot is None:
        print(json.dumps(answer, indent=2))
    elif args.plain:
        print("\n".join(status_plain.lines(belated(snapshot))))
    else:
        console.print(fitting(snapshot, time.time(), console, everything=args.all))
    return EXIT_OK


def _check(agent: AgentSocket, *, as_json: bool) -> int:
    """Print the verdict, and return its code."""
    try:
        found = belated(understood(ask(agent.path))).verdict or unknown("no verdict")
        if agent.error is not None and agent.broken:
            text = f"{found.text}; a restart would fail: {printable(str(agent.error))}"
            found = Verdict(text, max(found.code, IS_DEGRADED))
    except NetbondError as error:
        found = verdict_without(error)
    print(json.dumps(typed_json.to_json(found)) if as_json else printable(found.text))
    return found.code


def verdict_without(error: NetbondError) -> Verdict:
    """The verdict if the agent tells nothing."""
    if isinstance(error, NotPermittedError | UnclearError):
        return unknown(str(error))
    return no_agent(str(error))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # netbond.cli.main knows what to do; rich would exit here and now


def make_console() -> Console:
    """A console on stdout that takes text as it is: no markup, no emoji codes, colours on terminals only."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return _Console(markup=False, emoji=False, highlight=False, width=width)


def render(snapshot: Snapshot, now: float, *, everything: bool = False, brief: bool = False) -> Group:
    """The whole view, with all that is known on request. `now` is Unix time."""
    snapshot = belated(snapshot)
    more = details(snapshot, now) if everything else ()
    return Group(*overview(snapshot, now, brief=brief, everything=everything), *more)


def fitting(snapshot: Snapshot, now: float, console: Console, *, everything: bool = False) -> Group:
    """The view; a brief one on a terminal that would lose the beginning of the other."""
    whole = render(snapshot, now, everything=everything)
    if not console.is_terminal or everything or len(console.render_lines(whole)) < console.height:
        return whole
    return render(snapshot, now, brief=True)


# --- getting it --------------------------------------------------------------------------------------------


class UnclearError(UnavailableError):
    """An agent answers, and says nothing that can be shown."""


def ask(socket_path: Path) -> dict[str, Any]:
    """The agent's snapshot as it came.

    NotRunningError if there is no agent, UnavailableError if it does not answer, or UnclearError.
    """
    reply = control.request(socket_path, typed_json.to_json(StatusRequest()))
    if not reply["ok"]:
        raise UnclearError(f"the agent refuses: {printable(str(reply.get('error')))}")
    snapshot = reply.get("status")
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("agent"), dict):
        raise UnclearError("the agent has nothing to show yet", "ask again in a moment")
    return snapshot


def understood(answer: dict[str, Any]) -> Snapshot:
    """The snapshot for the view; UnclearError if it is too different, made by another version."""
    try:
        return from_json(answer)
    except ValueError as error:
        raise UnclearError(
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
    return to_json(WithoutAgent(VERSION, NoAgent(False, str(error)), held, verdict_without(error)))


def _watch(agent: AgentSocket, *, everything: bool) -> None:
    """Show it again each second; an agent that stops meanwhile may come back."""
    if not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal", "--json --watch prints a line of JSON each second")

    def picture() -> Group:
        try:
            view = render(understood(ask(agent.path)), time.time(), everything=everything)
        except NetbondError as error:
            view = Group(text(error, "red"), text(""), render_kernel(read_kernel(agent.protocol)))
        if agent.broken:
            view = Group(text(f"! {in_spite_of(agent)}", "yellow"), view)
        return view

    scroll.watch(make_console(), picture, PERIOD)


def _watch_plain(agent: AgentSocket) -> None:
    """Print the verdict whenever it is another: a screen reader, or a terminal that cannot draw."""
    said = ""
    while True:
        try:
            found = belated(understood(ask(agent.path))).verdict or unknown("no verdict")
        except NetbondError as error:
            found = verdict_without(error)
        # Rates and ages differ each second, and are no news.
        kind = re.sub(r"[0-9.]+ [kM]bit/s|[0-9]+ (s|min|h|d)\b", "", found.text)
        if kind != said:
            said = kind
            print(f"{time.strftime('%H:%M:%S')} {printable(found.text)}", flush=True)
        time.sleep(PERIOD)


def _watch_json(agent: AgentSocket) -> None:
    while True:
        try:
            answer = ask(agent.path)
        except NetbondError as error:
            answer = without_agent(error, read_kernel(agent.protocol))
        print(json.dumps(answer), flush=True)
        time.sleep(PERIOD)
