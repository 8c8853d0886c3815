"""`netbond status`: what the agent does, read at a glance; and what the kernel holds when there is no agent.

Shows the snapshot that the agent answers with, and decides nothing. Everything in it goes through rich's
Text, which knows no markup, and through printable(): reasons come from engines that face the internet.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from netbond import control
from netbond.config import Config, config_argument, load
from netbond.errors import EXIT_OK, ConfigError, NetbondError, UnavailableError, UsageError
from netbond.snapshot import objects, printable

HELP = "Show uplinks, the default route over all of them, and the engines."

PERIOD = 1.0  # seconds between two looks with --watch; the agent takes a snapshot each second
PIPED_WIDTH = 160  # columns when nobody's terminal is known: a line of a table stays one line for grep

_STYLES = {
    "up": "green",
    "running": "green",
    "connected": "green",
    "starting": "yellow",
    "registering": "yellow",
    "resolving": "yellow",
    "no carrier": "yellow",
    "standby": "yellow",
    "backing off": "yellow",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="the agent's control socket (default: as configured)"
    )
    parser.add_argument(
        "--json", action="store_true", help="the same for programs; docs/status.md has the keys"
    )
    parser.add_argument("--watch", action="store_true", help="look again each second, until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Show it; 0, or 3 if the agent is not running."""
    config = _config(args)
    socket_path = args.socket or config.agent.control_socket
    # A reason in Japanese on a terminal that knows only Latin letters is no reason to fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream in a process
    if args.watch:
        watch = _watch_json if args.json else _watch
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            watch(socket_path, config.routing.protocol)
        return EXIT_OK
    console = make_console()
    try:
        snapshot = ask(socket_path)
    except NetbondError as error:
        print(f"netbond status: {error}", file=sys.stderr)
        held = read_kernel(config.routing.protocol)
        if args.json:
            print(json.dumps(without_agent(error, held), indent=2))
        else:
            console.print(render_kernel(held))
        return error.exit_status
    if args.json:
        print(json.dumps(snapshot, indent=2))
    else:
        console.print(render(snapshot))
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


# --- getting it --------------------------------------------------------------------------------------------


def ask(socket_path: Path) -> dict[str, Any]:
    """The agent's snapshot; NotRunningError if there is no agent, UnavailableError if it makes no sense."""
    reply = control.request(socket_path, {"command": "status"})
    if not reply["ok"]:
        raise UnavailableError(f"the agent refuses: {printable(str(reply.get('error')))}")
    snapshot = reply.get("status")
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("agent"), dict):
        raise UnavailableError("the agent has nothing to show yet", "ask again in a moment")
    return snapshot


def read_kernel(protocol: int) -> dict[str, Any]:
    """netbond's own rules and routes in the kernel, as `ip` takes them; "error" if they cannot be read."""
    # Only now: pyroute2 takes longer to import than all the rest, and a running agent needs none of it.
    from netbond.kernel import read_facts_once
    from netbond.plan import route_words, rule_words

    try:
        facts = read_facts_once()
    except (OSError, NetbondError) as error:
        return {"rules": [], "routes": [], "error": str(error)}
    # In the order in which `ip` shows them.
    rules = sorted((r for r in facts.rules if r.protocol == protocol), key=lambda r: (r.family, r.priority))
    routes = sorted(
        (route for route in facts.routes if route.protocol == protocol),
        key=lambda r: (r.table, r.destination.version, r.destination.prefixlen, str(r.destination), r.metric),
    )
    return {
        "rules": [printable(rule_words(rule)) for rule in rules],
        "routes": [printable(route_words(route)) for route in routes],
    }


def without_agent(error: NetbondError, held: Mapping[str, Any]) -> dict[str, Any]:
    """What --json prints when no agent answers."""
    return {"version": 1, "agent": {"running": False, "error": str(error)}, "kernel": dict(held)}


def _watch(socket_path: Path, protocol: int) -> None:
    """Show it again each second; an agent that stops meanwhile may come back."""
    if not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal", "--json --watch prints a line of JSON each second")
    with Live(console=make_console(), auto_refresh=False, screen=True) as live:
        while True:
            try:
                view = render(ask(socket_path))
            except NetbondError as error:
                view = Group(text(error, "red"), text(""), render_kernel(read_kernel(protocol)))
            live.update(view, refresh=True)
            time.sleep(PERIOD)


def _watch_json(socket_path: Path, protocol: int) -> None:
    while True:
        try:
            answer = ask(socket_path)
        except NetbondError as error:
            answer = without_agent(error, read_kernel(protocol))
        print(json.dumps(answer), flush=True)
        time.sleep(PERIOD)


# --- showing it --------------------------------------------------------------------------------------------


def text(value: object, style: str = "") -> Text:
    """A value as it is, without anything that a terminal or rich would act on; "-" for None."""
    return Text("-" if value is None else printable(str(value)), style=style)


def _state(state: object, reason: object = "") -> Text:
    """A state in its colour, with the reason unless that says the same."""
    style = _STYLES.get(str(state), "red")
    said = text(state, style)
    if reason and reason != state:
        said.append(": ").append_text(text(reason))
    return said


def render(snapshot: Mapping[str, Any]) -> Group:
    """The whole view."""
    parts: list[RenderableType] = [*_agent(snapshot["agent"]), text("")]
    parts += _uplinks(objects(snapshot, "uplinks"))
    parts += [text(""), *_ecmp(snapshot.get("ecmp", {}))]
    for engine in objects(snapshot, "engines"):
        parts += [text(""), *_engine(engine)]
    return Group(*parts)


def render_kernel(held: Mapping[str, Any]) -> Group:
    """netbond's rules and routes in the kernel."""
    if "error" in held:
        return Group(text(f"The kernel's routes cannot be read: {held['error']}", "red"))
    if not held["rules"] and not held["routes"]:
        return Group(text("The kernel holds no rules or routes of netbond's."))
    lines = [text("Of netbond's the kernel still holds", "bold")]
    lines += [text(f"ip rule   {line}") for line in held["rules"]]
    lines += [text(f"ip route  {line}") for line in held["routes"]]
    return Group(*lines)


def _agent(agent: Mapping[str, Any]) -> list[RenderableType]:
    line = text(f"netbond {agent.get('version')}", "bold")
    line.append_text(
        text(
            f"  pid {agent.get('pid')}, up {duration(agent.get('uptime_s'))},"
            f" {agent.get('changes')} changes, {agent.get('config') or 'no configuration file'}"
        )
    )
    problems = agent.get("problems")
    return [line, *(text(f"! {problem}", "red") for problem in (problems or []))]


def _table(*columns: str, right: tuple[str, ...] = (), fold: str = "", gap: int = 2) -> Table:
    """A plain table; in the column `fold` text is wrapped where there is too little space."""
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column != fold,
            overflow="fold",
        )
    return table


def _indented(table: RenderableType) -> RenderableType:
    return Padding(table, (0, 0, 0, 2), expand=False)


def _uplinks(uplinks: list[dict[str, Any]]) -> list[RenderableType]:
    if not uplinks:
        return [text("No uplinks: no interface has an address and a known gateway.", "yellow")]
    table = _table(
        *("device", "address", "gateway", "from", "table", "rx", "tx", "state"),
        right=("table", "rx", "tx"),
        fold="from",
        gap=1,
    )
    for uplink in uplinks:
        table.add_row(
            text(uplink.get("name", uplink.get("device")), "bold"),
            text(uplink.get("address")),
            text(uplink.get("gateway")),
            text(_SOURCES.get(str(uplink.get("gateway_source")), uplink.get("gateway_source"))),
            text(uplink.get("table")),
            text(amount(uplink.get("rx_bps"))),
            text(amount(uplink.get("tx_bps"))),
            _state(uplink.get("state")),
        )
    # Reasons below: in the table they would leave no space for it on a terminal of 80 columns.
    reasons = [
        _indented(text(f"{uplink.get('device')}: {uplink['reason']}", "yellow"))
        for uplink in uplinks
        if uplink.get("reason") and uplink["reason"] != uplink.get("state")
    ]
    if any(uplink.get("gateway_source") == "main default (gone)" for uplink in uplinks):
        reasons.append(_indented(text("main*: as last seen in the main table; the route there is gone")))
    return [text("Uplinks (rx and tx in bit/s)"), _indented(table), *reasons]


# As much as fits a glance; --json has the words in full.
_SOURCES = {"configuration": "config", "main default": "main", "main default (gone)": "main*"}


def _ecmp(ecmp: Mapping[str, Any]) -> list[RenderableType]:
    legs = objects(ecmp, "legs")
    title = text(f"Default for unbound traffic (table {ecmp.get('table')})")
    if not legs:
        return [title.append_text(text(": none of netbond's, no uplink is usable", "yellow"))]
    totals: dict[object, float] = {}
    for leg in legs:
        totals[leg.get("family")] = totals.get(leg.get("family"), 0) + (_number(leg.get("weight")) or 0)
    table = _table("device", "gateway", "weight", "share", right=("weight", "share"))
    for leg in legs:
        weight, total = _number(leg.get("weight")) or 0, totals[leg.get("family")]
        table.add_row(
            text(leg.get("device"), "bold"),
            text(leg.get("gateway")),
            text(leg.get("weight")),
            text(f"{100 * weight / total:.0f} %" if total else None),
        )
    return [title, _indented(table)]


def _engine(engine: Mapping[str, Any]) -> list[RenderableType]:
    line = text(engine.get("name"), "bold").append("  ")
    line.append_text(_state(engine.get("state"), engine.get("reason")))
    if engine.get("pid") is not None:
        line.append_text(text(f", pid {engine['pid']}"))
    if engine.get("restarts"):
        line.append_text(text(f", {engine['restarts']} restarts"))
        if engine.get("last_exit") != engine.get("reason"):
            line.append_text(text(f" (last: {engine.get('last_exit')})"))
    stats = engine.get("stats")
    if not isinstance(stats, dict):
        return [line]
    if engine.get("role") == "sender":
        return [line, *_sender(stats)]
    return [line, *_receiver(stats)]


def _sender(stats: Mapping[str, Any]) -> list[RenderableType]:
    way = _state(stats.get("state")).append_text(text(f": {stats.get('receiver')}"))
    if stats.get("receiver_address"):
        way.append_text(text(f" ({stats['receiver_address']})"))
    way.append_text(text(f", caller {stats.get('caller') or 'not yet heard'}"))
    links = objects(stats, "links")
    if not links:
        return [_indented(way)]
    table = _table(
        *("link", "window", "in flight", "RTT", "loss", "bit/s", "share", "state"),
        right=("window", "in flight", "RTT", "loss", "bit/s", "share"),
        fold="state",
    )
    total = sum(_number(link.get("bitrate_bps")) or 0 for link in links)
    for link in links:
        window, rtt, loss = (_number(link.get(key)) for key in ("window", "rtt_ms", "loss_pct"))
        rate = _number(link.get("bitrate_bps"))
        table.add_row(
            text(link.get("label"), "bold"),
            text(None if window is None else f"{window / 1000:.1f}"),  # the protocol counts in thousandths
            text(link.get("in_flight")),
            text(None if rtt is None else f"{rtt:.0f} ms"),
            text(None if loss is None else f"{loss:.1f} %"),
            text(amount(rate)),
            text(None if rate is None or total <= 0 else f"{100 * rate / total:.0f} %"),
            _state(link.get("state"), link.get("reason")),
        )
    return [_indented(way), _indented(table)]


def _receiver(stats: Mapping[str, Any]) -> list[RenderableType]:
    refused = stats.get("refused")
    counts = refused.items() if isinstance(refused, dict) else ()
    said = ", ".join(f"{why} {count}" for why, count in counts if _number(count))
    notes = [_indented(text(f"refused: {said}"))] if said else []
    groups = objects(stats, "groups")
    if not groups:
        return [_indented(text("no sender connected")), *notes]
    table = _table("group", "peer", "packets", "idle", "bit/s", right=("packets", "idle", "bit/s"))
    for group in groups:
        for link in objects(group, "links"):
            idle = _number(link.get("idle_s"))
            table.add_row(
                text(group.get("id"), "bold"),
                text(link.get("peer")),
                text(link.get("packets")),
                text(None if idle is None else f"{idle:.1f} s"),
                text(amount(link.get("bitrate_bps"))),
            )
    return [_indented(table), *notes]


# --- numbers -----------------------------------------------------------------------------------------------


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e18:
        return None
    return float(value)


def amount(value: object) -> str | None:
    """A number with three digits and k, M or G: 1500000 is "1.50M"; None for what is none."""
    number = _number(value)
    if number is None:
        return None
    for unit in ("", "k", "M", "G"):
        if abs(number) < 999.5 or unit == "G":
            break
        number /= 1000
    if not unit:
        return f"{number:.0f}"
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:.{digits}f}{unit}"


def duration(seconds: object) -> str:
    """Seconds as people say them: "45 s", "3 min", "2 h 5 min", "4 d 1 h"."""
    number = _number(seconds)
    if number is None:
        return "-"
    whole = int(number)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes == 0:
        return f"{whole} s"
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
