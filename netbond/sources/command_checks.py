"""Runs the checks of kind "command", each bound to the uplink that it checks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import netbond
from netbond.config.schema import CheckConfig, Config
from netbond.engines.child import interpreter
from netbond.health.judge import Answer, Outcome
from netbond.health.probes import ProbedUplink
from netbond.model import Uplink
from netbond.programs import launch
from netbond.programs.job import STARTED, Job, variables
from netbond.programs.running import in_unit_of_systemd, run
from netbond.programs.vetting import unfit

logger = logging.getLogger(__name__)

# What a shell gives when a program is missing or cannot be run: this says nothing of the uplink.
NOT_RUN = (launch.EXIT_NOT_EXECUTABLE, launch.EXIT_NOT_FOUND)


def not_run(config: Config) -> tuple[str, ...]:
    """Checks whose program is not run, and why."""
    return tuple(
        f"check {check.name} is not run: {reason}"
        for check in config.check
        if check.command and (reason := unfit(check.command[0], check.user))
    )


class CommandChecks:
    """Asks uplinks by commands. `uplinks` are all there are, of which a command learns name and table."""

    def __init__(self) -> None:
        self.uplinks: Sequence[Uplink] = ()
        self._transient = in_unit_of_systemd()

    async def ask(self, check: CheckConfig, uplink: ProbedUplink) -> Answer:
        """Run the command once: exit status 0 is an answer. Raises nothing but cancellation."""
        program = check.command[0]
        if reason := unfit(program, check.user):
            return Answer(program, Outcome.LOCAL, detail=reason)
        family = uplink.address.version
        job = Job(
            f"check {check.name}",
            [
                *_launcher(),
                *(uplink.device, str(family), check.user),
                ",".join(str(each) for each in uplink.resolvers if each.version == family),
                *check.command,
            ],
            None,  # root binds it, and then becomes that user
            check.timeout,
            _environment() | self._variables(uplink),
        )
        started = False

        def tell(line: str) -> None:
            nonlocal started
            if line == STARTED:
                started = True
            else:
                logger.debug("check %s of %s: %s", check.name, uplink.device, line)

        outcome = await run(job, tell, transient=self._transient)
        said = outcome.last_line if outcome.last_line != STARTED else ""
        if not started or outcome.status in NOT_RUN:
            return Answer(program, Outcome.LOCAL, detail=f"{program} was not run: {said or outcome}")
        if outcome.timed_out:
            detail = f"{program}: no answer within {check.timeout:g} s"
            return Answer(program, Outcome.FAILED, detail=detail)
        if outcome.status == 0:
            return Answer(program, Outcome.ANSWERED, detail=said)
        return Answer(program, Outcome.FAILED, detail=f"{program}: {said or f'status {outcome.status}'}")

    def _variables(self, probed: ProbedUplink) -> dict[str, str]:
        """What the command is told of the uplink."""
        name, table = probed.device, ""
        for uplink in self.uplinks:
            if (uplink.device, uplink.address.ip) == (probed.device, probed.address):
                name, table = uplink.name, str(uplink.table)
        return variables(
            uplink=name,
            device=probed.device,
            address=probed.address,
            family=probed.address.version,
            gateway="" if probed.gateway is None else probed.gateway,
            table=table,
        )


def _launcher() -> list[str]:
    command, _ = interpreter(Path(netbond.__file__).parent, sys.path, os.environ)
    return [*command[:-1], launch.__name__]


def _environment() -> dict[str, str]:
    """Where the launcher finds netbond, if it is not installed."""
    _, environment = interpreter(Path(netbond.__file__).parent, sys.path, os.environ)
    return {key: value for key, value in environment.items() if key == "PYTHONPATH"}
