"""`netbond plan`: what the agent would change now, as ip commands. It changes nothing."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from netbond.config import Config, config_argument, load
from netbond.errors import EXIT_OK, EXIT_PENDING

if TYPE_CHECKING:
    from netbond.model import Facts

HELP = "Show what the agent would change now, as ip commands. Exit status: 0 nothing, 2 changes pending."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument("--json", action="store_true", help="for programs: a list of {command, why}")


def gather(config: Config) -> Facts:
    """The facts as a command can know them without the agent: the kernel's, and what is on the disk.

    Host names of pins are looked up now; those that do not resolve are left out, and said so.
    """
    import asyncio

    from netbond import pins
    from netbond.defaults import DefaultStore, still_valid
    from netbond.kernel import read_facts_once
    from netbond.leases import LeaseStore
    from netbond.lookups import resolve
    from netbond.model import IPAddress

    facts = read_facts_once()
    state_dir = config.agent.state_dir
    try:
        taken = DefaultStore(state_dir).load() if config.routing.take_over_default else ()
        facts = replace(
            facts,
            leases=LeaseStore(state_dir / "leases").load(),
            learned=LeaseStore(state_dir / "learned").load(),
            taken=tuple(route for route in taken if still_valid(route, facts)),
        )
    except (PermissionError, ValueError) as error:
        reason = "readable by root only" if isinstance(error, PermissionError) else str(error)
        print(f"# what is in {state_dir} is left out: {reason}", file=sys.stderr)
    found: dict[str, tuple[IPAddress, ...]] = {}
    for name in sorted(pins.names(config)):
        try:
            found[name] = tuple(asyncio.run(resolve(name)))
        except (OSError, UnicodeError) as error:
            print(f"# pin: {name}: {error}", file=sys.stderr)
    return replace(facts, resolved=tuple(found.items()))


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    from netbond.plan import desired, plan

    config = load(args.config)
    facts = gather(config)
    operations = plan(facts, desired(facts, config), config.routing.protocol)
    if args.json:
        print(json.dumps([{"command": o.command(), "why": o.why} for o in operations], indent=2))
    else:
        width = max((len(o.command()) for o in operations if len(o.command()) <= 90), default=0)
        for operation in operations:
            print(f"{operation.command():<{width}}  # {operation.why}")
    return EXIT_PENDING if operations else EXIT_OK
