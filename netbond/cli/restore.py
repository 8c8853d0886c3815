"""Restores what netbond changed outside its own routes and rules, for `netbond run --restore`.

That is needed after an agent was killed, or stopped with `on_stop = "keep"`. It restores kernel settings,
removes router mode's nftables table, and puts back the defaults that were taken out of main. netbond's routes
and rules stay: without them, traffic that is bound to one uplink would leave by another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netbond.config.schema import Config
from netbond.errors import NetbondError
from netbond.kernel.client import Kernel
from netbond.kernel.sysctls import Sysctls
from netbond.kernel.taken_defaults import DefaultStore, give_back
from netbond.router import nft
from netbond.router.ruleset import FAMILY, TABLE
from netbond.status.control import ControlServer


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done, as commands, and what failed, one line each."""

    commands: tuple[str, ...]
    problems: tuple[str, ...]


async def restore(config: Config) -> Restored:
    """Restore everything. UnavailableError if an agent runs, because it would change everything again."""
    # The control server holds the agent's lock, so that no agent starts in the meantime.
    control = ControlServer(config.agent.control_socket, {})
    await control.start()
    try:
        return await _restore(config.agent.state_dir)
    finally:
        await control.stop()


async def _restore(state_dir: Path) -> Restored:
    commands: list[str] = []
    problems: list[str] = []
    table = (state_dir / nft.STORE).exists()
    try:
        await nft.Router(state_dir).remove()
    except NetbondError as error:
        problems.append(str(error))
    else:
        commands += [f"nft delete table {FAMILY} {TABLE}"] if table else []
    settings = Sysctls(state_dir)
    changes = settings.changed()
    problems += settings.restore()
    commands += [change.command() for change in changes if settings.read(change.name) == change.value]
    defaults = DefaultStore(state_dir)
    async with Kernel() as kernel:
        try:
            back, failures = await give_back(kernel, defaults, await kernel.read())
        except (OSError, ValueError) as error:
            problems.append(f"{defaults.path}: {error}")
        else:
            failed = {failure.operation for failure in failures}
            commands += [operation.command() for operation in back if operation not in failed]
            problems += map(str, failures)
    return Restored(tuple(commands), tuple(problems))
