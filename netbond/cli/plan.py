"""Runs `netbond plan`, which shows what the agent would change now, as ip, sysctl and nft commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from netbond.config.load import config_argument, load
from netbond.config.schema import Config
from netbond.errors import EXIT_OK, EXIT_PENDING, NetbondError
from netbond.system.text import printable

if TYPE_CHECKING:
    from netbond.desired import Desired
    from netbond.kernel.sysctls import Change
    from netbond.model import Facts

HELP = (
    "Show what the agent would change now, as commands."
    " Exit status: 0 nothing, 2 changes pending, or other programs' rules in the way."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="for programs: a list of {command, why}, with {input} if a command reads its standard input",
    )


def beyond_routes(facts: Facts, goal: Desired, config: Config) -> tuple[list[Change], str]:
    """Return the kernel settings to change, and the text for `nft -f -` ("" if nothing is to change)."""
    import asyncio

    from netbond.kernel import sysctls
    from netbond.router import nft

    state_dir = config.agent.state_dir
    read = sysctls.Sysctls(state_dir).read
    changes = sysctls.wanted(goal.uplinks, config, read, lan=goal.inside.devices, links=facts.interfaces)
    if os.geteuid() != 0:
        if config.router.lan or goal.inside.held:
            print("# the table of nftables is left out: only root may see it", file=sys.stderr)
        return changes, ""
    try:
        return changes, asyncio.run(nft.Router(state_dir).pending(goal.uplinks, goal.inside, config.router))
    except NetbondError as error:
        print(f"# the table of nftables is left out: {error}", file=sys.stderr)
        return changes, ""


def run(args: argparse.Namespace) -> int:
    """Print the plan; 0 if it is empty and nothing stands in its way, else 2."""
    from netbond.conflicts import unmet
    from netbond.desired import desired
    from netbond.overrides import notes
    from netbond.plan import plan
    from netbond.router import nft
    from netbond.sources.once import gather

    config = load(args.config)
    facts = gather(config)
    if facts.nft is None:  # no agent has told
        facts = replace(facts, nft=nft.installed() is not None)
    goal = desired(facts, config)
    operations = plan(facts, goal, config.routing.protocol)
    changes, text = beyond_routes(facts, goal, config)
    for line in notes(facts.overrides):
        print(printable(f"# {line}"), file=sys.stderr)
    impossible = [line for _, line in unmet(facts, goal, config)]
    for line in impossible:
        print(printable(f"# {line}", 4000), file=sys.stderr)
    if args.json:
        found = [{"command": o.command(), "why": o.why} for o in operations]
        found += [{"command": change.command(), "why": change.why} for change in changes]
        if text:
            why, _, rules = text.partition("\n")
            found.append({"command": "nft -f -", "why": why.removeprefix("# "), "input": rules})
        print(json.dumps(found, indent=2))
    else:
        width = max((len(o.command()) for o in operations if len(o.command()) <= 90), default=0)
        for operation in operations:
            print(printable(f"{operation.command():<{width}}  # {operation.why}", 4000))
        for change in changes:
            print(change.line())
        if text:
            print(f"nft -f - <<'END'\n{text.rstrip()}\nEND")
    return EXIT_PENDING if operations or changes or text or impossible else EXIT_OK
