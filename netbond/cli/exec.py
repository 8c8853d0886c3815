"""Runs `netbond exec UPLINK -- COMMAND`: a command whose traffic leaves by that uplink, all of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from netbond.config.load import config_argument, load
from netbond.config.targets import as_address
from netbond.errors import NetbondError, NotPermittedError, UnavailableError, UsageError
from netbond.model import IPAddress, UplinkState
from netbond.status import control
from netbond.status.protocol import StatusReply, StatusRequest, read_reply
from netbond.status.schema import UplinkStatus
from netbond.system.text import printable
from netbond.system.typed_json import to_json

HELP = (
    "Run a command so that all its traffic leaves by one uplink: name lookups, IPv6, and what it starts, too."
    " The command runs as the user who called sudo. Its exit status is that of the command."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.usage = f"{parser.prog} [--config FILE] [--user NAME] UPLINK -- COMMAND [ARGUMENT ...]"
    parser.add_argument(
        "--user", metavar="NAME", help="run it as this user (default: who called sudo, or else root)"
    )
    parser.add_argument("uplink", metavar="UPLINK", help="its name, as `netbond status` shows it")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command to run")


def run(args: argparse.Namespace) -> int:
    """Become the command; an exit status is returned only if that fails."""
    from netbond.programs import binding
    from netbond.programs.launch import User, execute

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if command[:1] and command[0].startswith("-"):
        raise UsageError(f"{command[0]} stands behind the uplink", "options stand before it")
    if not command:
        raise UsageError("it needs a command to run", f"as in `netbond exec {args.uplink} -- ping 192.0.2.1`")
    if os.geteuid() != 0:
        raise NotPermittedError("only root can bind a program to an uplink", "use sudo")
    user = User.named(args.user) if args.user else User.behind_sudo(os.environ)
    config = load(args.config)
    found = choose(_uplinks(config.agent.control_socket), args.uplink)
    for line in doubts(found):
        print(printable(f"netbond exec: {line}"), file=sys.stderr)
    binding.bind(found[0].device)
    families = {uplink.family for uplink in found}
    problem = binding.look_up_names_at(
        resolvers_for(config.health.resolvers, families), printable(found[0].device)
    )
    if problem:
        print(
            f"netbond exec: names are looked up by the box's own resolver, by any uplink: {problem}",
            file=sys.stderr,
        )
    if user is not None and user.uid != 0:
        user.become(os.environ)
    return execute(command)


def _uplinks(path: Path) -> Sequence[UplinkStatus]:
    answer = control.request(path, to_json(StatusRequest()))
    if not answer["ok"]:
        raise NetbondError(str(answer.get("error")))
    try:
        snapshot = read_reply(StatusReply, answer).status
    except ValueError as error:
        raise NetbondError(f"the agent's answer is not understood: {error}", "restart it") from None
    return () if snapshot is None else snapshot.uplinks


def choose(uplinks: Sequence[UplinkStatus], name: str) -> list[UplinkStatus]:
    """The uplinks of this name, of both families; a device's name will do. NetbondError if there is none
    that has its link, or if the name is not enough to find it."""
    found = [each for each in uplinks if each.name == name] or [
        each for each in uplinks if each.device == name and "+" not in each.name
    ]
    if not found:
        known = ", ".join(sorted({each.name for each in uplinks}))
        raise UnavailableError(
            f"there is no uplink {name!r}", f"there are {known}" if known else "there is none at all"
        )
    if _is_further(found[0], uplinks):
        raise UnavailableError(
            f"{name} is a further gateway on {found[0].device}, and programs are bound by interface",
            f"bind the program itself to {found[0].address}",
        )
    without_link = (UplinkState.DOWN, UplinkState.NO_CARRIER)
    with_link = [each for each in found if each.state not in without_link]
    if not with_link:
        raise UnavailableError(
            f"{name} has no link now ({found[0].state})", "`netbond status` shows the uplinks"
        )
    return with_link


def _is_further(uplink: UplinkStatus, uplinks: Sequence[UplinkStatus]) -> bool:
    """Whether another uplink of its device and family has the interface's own table."""
    first = next(each for each in uplinks if (each.device, each.family) == (uplink.device, uplink.family))
    return first.table != uplink.table


def doubts(uplinks: Sequence[UplinkStatus]) -> list[str]:
    """What to say of uplinks that lead nowhere or should carry nothing: the command is run all the same."""
    return [
        f"{each.name} (IPv{each.family}) is {each.state}: {each.reason}"
        for each in uplinks
        if each.state in (UplinkState.DEAD, UplinkState.SPENT, UplinkState.OFF)
    ]


def resolvers_for(texts: Sequence[str], families: set[int]) -> list[IPAddress]:
    """The DNS servers of [health] that these families reach, in their order."""
    addresses = (as_address(text) for text in texts)
    return [each for each in addresses if each is not None and each.version in families]
