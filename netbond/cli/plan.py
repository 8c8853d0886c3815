"""`netbond plan`: what the agent would change now, as ip commands. It changes nothing."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from netbond.config import config_argument, load
from netbond.errors import EXIT_OK, EXIT_PENDING

HELP = "Show what the agent would change now, as ip commands. Exit status: 0 nothing, 2 changes pending."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    config_argument(parser)
    parser.add_argument("--json", action="store_true", help="for programs: a list of {command, why}")


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    from netbond.kernel import read_facts_once
    from netbond.leases import LeaseStore
    from netbond.plan import desired, plan

    config = load(args.config)
    facts = read_facts_once()
    state_dir = config.agent.state_dir
    try:
        facts = replace(
            facts,
            leases=LeaseStore(state_dir / "leases").load(),
            learned=LeaseStore(state_dir / "learned").load(),
        )
    except PermissionError:
        print("# leases in", state_dir, "are readable by root only; the plan is made without them")
    operations = plan(facts, desired(facts, config), config.routing.protocol)
    if args.json:
        print(json.dumps([{"command": o.command(), "why": o.why} for o in operations], indent=2))
    else:
        width = max((len(o.command()) for o in operations if len(o.command()) <= 90), default=0)
        for operation in operations:
            print(f"{operation.command():<{width}}  # {operation.why}")
    return EXIT_PENDING if operations else EXIT_OK
