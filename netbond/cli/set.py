"""Runs `netbond set`, which sets an uplink's mode, weight or priority by hand, or lists what is set."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netbond.cli import agent_socket
from netbond.config.load import config_argument
from netbond.errors import EXIT_OK, NetbondError, NotPermittedError, NotRunningError, UsageError
from netbond.overrides import LIMITS, MODES, Value, checked, left_words, words
from netbond.status import control
from netbond.status.protocol import (
    SetReply,
    SetRequest,
    StatusReply,
    StatusRequest,
    read_reply,
)
from netbond.status.schema import OverrideStatus
from netbond.system.text import duration, printable, quoted
from netbond.system.typed_json import to_json

HELP = (
    "Set an uplink off, or make it a backup or a normal one; or set its weight or priority. This is stronger"
    " than the configuration, and stays over restarts and reboots until `netbond unset`, or for a time."
    " Without arguments: list what is set."
)

TIMEOUT_S = 15.0  # the answer waits for the disk, and a worn SD card takes seconds
UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d{1,8})(sec|min|s|m|h|d)")


class _Suggested(tuple[str, ...]):
    """Words that a shell completes, among others that may stand there, too: numbers."""

    def __contains__(self, _word: object) -> bool:
        return True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    where(parser)
    parser.usage = (
        f"{parser.prog} [UPLINK {{{'|'.join(MODES)}|weight N|priority N}} [--for TIME] [--yes]] [--json]"
    )
    parser.add_argument("uplink", metavar="UPLINK", nargs="?", help="its name, as `netbond status` shows it")
    parser.add_argument(
        "setting",
        metavar="SETTING",
        nargs="*",
        choices=_Suggested((*MODES, *LIMITS)),
        help=f"{', '.join(MODES)}; or weight or priority, and a number",
    )
    parser.add_argument(
        "--for", dest="time", metavar="TIME", default="", help="how long it holds: 90s, 10min, 1h30min, 2d"
    )
    parser.add_argument("--yes", action="store_true", help="set it off also if no other uplink is left")
    parser.add_argument(
        "--json", action="store_true", help="for programs: what is set, as in `netbond status`"
    )


def where(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which agent."""
    config_argument(parser)
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="the agent's control socket (default: as configured)"
    )


def run(args: argparse.Namespace) -> int:
    """Set it, or list what is set."""
    if not args.setting:
        if args.time or args.yes:
            raise UsageError("nothing is said to set", "as in: netbond set usb1 off --for 1h")
        return _list(args)
    what, value = understood(args.setting)
    for_s = seconds(args.time) if args.time else None
    checked(what, value, for_s)
    request = SetRequest(args.uplink, what, value, for_s, who(os.environ), args.yes)
    return show("set", change("set", args, to_json(request)))


def understood(setting: Sequence[str]) -> tuple[str, Value]:
    """What to set, and to which value; UsageError."""
    how = f"{', '.join(MODES)}, weight N or priority N"
    found = list(setting)
    if len(found) == 1 and found[0] in LIMITS:
        raise UsageError(f"{found[0]} needs a number", f"as in: {found[0]} {LIMITS[found[0]][1]}")
    if len(found) == 1:
        found = ["mode", *found]
    if len(found) > 2:
        raise UsageError("one thing at a time", f"it is {how}")
    what, text = found
    if what == "mode":
        if text not in MODES:
            raise UsageError(f"{quoted(text)} cannot be set", f"it is {how}")
        return what, text
    if what not in LIMITS:
        raise UsageError(f"{quoted(what)} cannot be set", f"it is {how}")
    return what, int(text) if re.fullmatch(r"\d{1,4}", text, re.ASCII) else text


def seconds(text: str) -> float:
    """A time as people write it, "90s", "10min", "1h30min"; UsageError."""
    compact = "".join(text.split())
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise UsageError(f"{quoted(text)} is no time", "write 90s, 10min, 1h30min or 2d")
    return float(sum(int(number) * UNITS[unit] for number, unit in parts))


def who(environment: Any) -> str:
    """The user behind sudo or doas; "" for root himself."""
    return str(environment.get("SUDO_USER") or environment.get("DOAS_USER") or "")


# --- asking the agent --------------------------------------------------------------------------------------


def change(command: str, args: argparse.Namespace, request: dict[str, Any]) -> SetReply:
    """What the agent says to the request; NetbondError if it refuses, or does not run."""
    agent = agent_socket.find(args.config, args.socket)
    agent_socket.say_trouble(command, agent, args.socket)
    try:
        reply = control.request(agent.path, request, timeout=TIMEOUT_S)
    except NotRunningError as error:
        # A file that the command would write itself would be checked by nobody: is there such an uplink, is
        # it the last? And nothing would happen now.
        hint = "start it, and set it then: systemctl start netbond"
        raise NotRunningError(f"{error.message}, and only the agent can do this", hint) from None
    if not reply["ok"]:
        refusal = printable(str(reply.get("error")))
        if os.geteuid() != 0 and refusal.endswith("is for root"):
            raise NotPermittedError("only root can change uplinks", f"sudo netbond {command} ...")
        raise NetbondError(refusal)
    try:
        return read_reply(SetReply, reply)
    except ValueError as error:
        raise NetbondError(f"the agent's answer is not understood: {error}", "restart it") from None


def show(command: str, reply: SetReply) -> int:
    """Print what is so now, and how to take it back."""
    print(printable(reply.text))
    for warning in reply.warnings:
        print(f"netbond {command}: {printable(warning)}", file=sys.stderr)
    if reply.undo:
        print(printable(f"to undo: {reply.undo}"))
    return EXIT_OK


# --- what is set -------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    agent = agent_socket.find(args.config, args.socket)
    agent_socket.say_trouble("set", agent, args.socket)
    answer = control.request(agent.path, to_json(StatusRequest()))
    if not answer["ok"]:
        raise NetbondError(printable(str(answer.get("error"))))
    try:
        snapshot = read_reply(StatusReply, answer).status
    except ValueError as error:
        raise NetbondError(f"the agent's answer is not understood: {error}", "restart it") from None
    found = () if snapshot is None else snapshot.overrides
    if args.uplink:
        found = tuple(one for one in found if one.uplink == args.uplink)
    if args.json:
        print(json.dumps([to_json(one) for one in found], indent=2))
    elif found:
        print("\n".join(lines(found)))
    else:
        of = f" of {args.uplink}" if args.uplink else ""
        print(printable(f"nothing is set{of}"))
    return EXIT_OK


def lines(found: Sequence[OverrideStatus]) -> list[str]:
    """What is set, a line each, in columns."""
    rows = [
        (
            one.uplink,
            words(one.what, one.value).removeprefix("set "),
            left_words(one.left_s) or "until unset",
            f"by {one.by} {duration(one.since_s)} ago",
            "not there now" if one.configured is None else f"configured: {one.configured}",
        )
        for one in found
    ]
    widths = [max(len(printable(row[column])) for row in rows) for column in range(4)]
    return [
        "  ".join(
            f"{printable(cell):<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)
        ).rstrip()
        for row in rows
    ]
