"""Runs `netbond watch`, which follows senders: what their links carry, and the rate that an encoder may send.

The agent tells it of its senders, a sender that runs alone of itself (--watch-socket); docs/watch.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live

from netbond.cli import agent_socket
from netbond.cli.status import make_console
from netbond.cli.status_view import (
    amount,
    capacity,
    indented,
    make_table,
    number,
    rates,
    state,
    text,
    waiting,
)
from netbond.config.load import config_argument
from netbond.errors import EXIT_OK, NetbondError, NotRunningError, UnavailableError
from netbond.srtla.advice import Advice, LinkAdvice
from netbond.srtla.watch import WatchLine
from netbond.status import control
from netbond.status.protocol import WatchRequest
from netbond.system.text import printable
from netbond.system.typed_json import read_tolerant, to_json

HELP = "Follow what a sender's links carry, and the rate that its encoder may send; until Ctrl-C."

PERIOD_S = 1.0  # between two lines of a sender for people, and between attempts to connect again


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "sender", nargs="?", default="", metavar="SENDER", help="as in 127.0.0.1:6000 (default: all)"
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        type=Path,
        help="the agent's control socket (default: as configured), or 'netbond send --watch-socket PATH'",
    )
    parser.add_argument(
        "--json", action="store_true", help="each line as JSON, five a second; docs/watch.md has the keys"
    )


def run(args: argparse.Namespace) -> int:
    """Follow; 0 after Ctrl-C, 3 if nobody answers at first, 69 if the other end refuses."""
    agent = agent_socket.find(args.config, args.socket)
    agent_socket.say_trouble("watch", agent, args.socket)
    path = agent.path
    # Labels in Japanese on a terminal that knows only Latin letters are no reason to fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream in a process
    with contextlib.suppress(KeyboardInterrupt):  # how one ends it
        if args.json:
            _follow(path, args.sender, lambda line: print(json.dumps(line), flush=True))
        elif sys.stdout.isatty():
            with Live(console=make_console(), auto_refresh=False) as live:
                shown: dict[str, WatchLine] = {}

                def redraw(line: dict[str, Any]) -> None:
                    found = _understood(line)
                    shown[found.sender] = found
                    live.update(Group(*map(view, shown.values())), refresh=True)

                _follow(path, args.sender, redraw)
        else:
            last: dict[str, float] = {}

            def say(line: dict[str, Any]) -> None:
                found, now = _understood(line), time.monotonic()
                if now - last.get(found.sender, float("-inf")) >= PERIOD_S * 0.95:
                    last[found.sender] = now
                    print(printable(f"{time.strftime('%H:%M:%S')} {in_words(found)}", 2000), flush=True)

            _follow(path, args.sender, say)
    return EXIT_OK


def _follow(path: Path, sender: str, show: Callable[[dict[str, Any]], None]) -> None:
    """Show each line. One who was heard and is gone may come back: a script must outlive a restart."""
    heard = silent = False
    while True:
        try:
            for reply in control.follow(path, to_json(WatchRequest(sender))):
                if not reply.pop("ok"):
                    raise _RefusedError(f"the other end refuses: {printable(str(reply.get('error')))}")
                heard, silent = True, False
                show(reply)
            error: NetbondError = UnavailableError(f"what answered at {path} has ended", "start it again")
        except _RefusedError:
            raise
        except NotRunningError:
            error = NotRunningError(
                f"nobody answers at {path}", "start it: netbond run, or netbond send --watch-socket PATH"
            )
        except UnavailableError as failure:
            error = failure
        if not heard:
            raise error
        if not silent:
            silent = True
            print(f"netbond watch: {error}; trying again", file=sys.stderr, flush=True)
        time.sleep(PERIOD_S)


class _RefusedError(UnavailableError):
    """The other end says why it tells nothing."""


def _understood(line: dict[str, Any]) -> WatchLine:
    try:
        return read_tolerant(WatchLine, line)
    except ValueError as error:
        raise _RefusedError(
            f"what is told is not understood: {error}", "restart the agent after an update"
        ) from None


# --- how it looks ------------------------------------------------------------------------------------------


def in_words(line: WatchLine) -> str:
    """One sender in one line."""
    if line.advice is None:
        return f"{line.sender} {line.state}: no advice"
    links = ", ".join(f"{link.label} {_link(link)}" for link in line.advice.links)
    said = f"{rates(line.advice)}, {_delays(line.advice)}"
    return f"{line.sender} {line.state}: {said}{f'; {links}' if links else ''}"


def _delays(advice: Advice) -> str:
    loss, rtt = number(advice.loss_pct), number(advice.rtt_ms)
    return f"{waiting(advice)}, loss {loss or 0:.1f} %, RTT {'-' if rtt is None else f'{rtt:.0f} ms'}"


def _link(link: LinkAdvice) -> str:
    if link.state != "up":
        return link.state
    return capacity(link) or "unknown"


def view(line: WatchLine) -> RenderableType:
    """One sender as a small table."""
    heading = text(line.sender, "bold").append("  ").append_text(state(line.state))
    if line.advice is None:
        return heading.append_text(text(": no advice"))
    table = make_table(
        *("link", "capacity", "bit/s", "queued", "RTT", "loss", "state"),
        right=("capacity", "bit/s", "queued", "RTT", "loss"),
        fold="state",
    )
    for link in line.advice.links:
        queued, rtt, loss = number(link.queued_ms), number(link.rtt_ms), number(link.loss_pct)
        table.add_row(
            text(link.label, "bold"),
            text(capacity(link)),
            text(amount(link.bitrate_bps)),
            text(None if queued is None else f"{queued:.0f} ms"),
            text(None if rtt is None else f"{rtt:.0f} ms"),
            text(None if loss is None else f"{loss:.1f} %"),
            state(link.state),
        )
    heading.append_text(text(f": {rates(line.advice)}"))
    return Group(heading, indented(text(_delays(line.advice))), indented(table))
