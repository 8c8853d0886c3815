"""Runs `netbond events`, which tells what has happened: a line for each plug, unplug, problem and stream."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from netbond.cli import agent_socket
from netbond.cli.status import make_console
from netbond.config.load import config_argument
from netbond.errors import EXIT_OK, NetbondError, NotRunningError, UnavailableError, UsageError
from netbond.events import Event
from netbond.status import control, event_log
from netbond.status.protocol import EventsReply, EventsRequest
from netbond.system.text import printable
from netbond.system.typed_json import read_tolerant, to_json

HELP = "Tell what has happened: a line for each plug, unplug, problem and stream."

PERIOD_S = 1.0  # between attempts to connect again
_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"(\d{1,6})\s*(s|min|m|h|d)")
_STYLES = {"warning": "yellow", "error": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="the agent's control socket (default: as configured)"
    )
    parser.add_argument("--follow", action="store_true", help="go on with each event as it comes")
    parser.add_argument("--json", action="store_true", help="each event as a line of JSON")
    parser.add_argument(
        "--since", metavar="WHEN", default="", help="10min, 2h, 3d ago, or a time: 17:30, 2026-11-30T17:30"
    )


def run(args: argparse.Namespace) -> int:
    """Print them; 0, also without an agent if its file of events can be read, else 3."""
    since = start(args.since, time.time())
    agent = agent_socket.find(args.config, args.socket)
    agent_socket.say_trouble("events", agent, args.socket)
    # Labels in Japanese on a terminal that knows only Latin letters are no reason to fail.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream in a process
    console = make_console()

    def show(events: Iterable[Event]) -> None:
        for event in events:
            if args.json:
                print(json.dumps(to_json(event)), flush=True)
            else:
                console.print(line(event, time.time()), soft_wrap=True)

    if args.follow:
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            _follow(agent.path, since, show)
        return EXIT_OK
    try:
        show(_understood(control.request(agent.path, to_json(EventsRequest(since)))))
    except NotRunningError as error:
        kept = _kept(agent.state_dir)
        if kept is None:
            raise
        print(f"netbond events: {error}; these are what it has kept", file=sys.stderr)
        show(event for event in kept if event.time >= since)
    return EXIT_OK


def _kept(state_dir: Path) -> list[Event] | None:
    """The events in the agent's file; None: there are none that this user may read."""
    try:
        return event_log.read(state_dir) or None
    except OSError:
        return None


def _follow(path: Path, since: float, show: Any) -> None:
    """Show each event. An agent that was heard and is gone may come back."""
    heard, number, silent = False, 0, False
    while True:
        try:
            for reply in control.follow(path, to_json(EventsRequest(since, "follow-events"))):
                heard, silent = True, False
                fresh = [event for event in _understood(reply) if event.number > number]
                show(fresh)
                number = max((event.number for event in fresh), default=number)
            error: NetbondError = UnavailableError("the agent has ended", "start it again")
        except NotRunningError as failure:
            error = failure
        if not heard:
            raise error
        if not silent:
            silent = True
            print(f"netbond events: {error}; trying again", file=sys.stderr, flush=True)
        time.sleep(PERIOD_S)


def _understood(reply: dict[str, Any]) -> tuple[Event, ...]:
    if not reply.pop("ok"):
        said = printable(str(reply.get("error")))
        raise UnavailableError(f"the agent refuses: {said}", "restart it after an update")
    try:
        return read_tolerant(EventsReply, reply).events
    except ValueError as error:
        raise UnavailableError(
            f"what the agent says is not understood: {error}", "restart it after an update"
        ) from None


def start(when: str, now: float) -> float:
    """The Unix time that --since means; UsageError. `now` is Unix time; times of day are local ones."""
    if not when:
        return 0.0
    ago = _AGO.fullmatch(when.strip())
    if ago:
        return now - int(ago[1]) * _UNITS[ago[2]]
    today = datetime.fromtimestamp(now).astimezone()
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", when):
            found = datetime.fromisoformat(f"{today:%Y-%m-%d}T{when.zfill(5)}")
            return found.timestamp()
        return datetime.fromisoformat(when).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(f"{when!r} is no time", "write 10min, 2h, 3d, 17:30, or 2026-11-30T17:30") from None


def line(event: Event, now: float) -> Text:
    """One event for people: "17:30:05 usb1 unplugged; 3 uplinks left", with the date if it is not today's."""
    at, today = (datetime.fromtimestamp(time).astimezone() for time in (event.time, now))
    clock = f"{at:%H:%M:%S}" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M:%S}"
    mark = "! " if event.level in _STYLES else ""
    return Text(f"{clock} ", "dim").append(mark + printable(event.text), _STYLES.get(event.level, ""))
