"""Keeps the files that give netbond's tables and its protocol names for `ip`. Output."""

from __future__ import annotations

import time
from collections.abc import Sequence

from netbond.config.schema import Config
from netbond.contracts import Output
from netbond.desired import Desired
from netbond.kernel.iproute2_names import NameFiles
from netbond.model import Facts

REWRITE_S = 10.0  # the files are checked again after this time, even if nothing has changed


class TableNames(Output):
    """The files with netbond's names under /etc/iproute2."""

    name = "names"

    def __init__(self, config: Config) -> None:
        self._folder = config.agent.iproute2_dir
        self._files = NameFiles(self._folder)
        self._written: tuple[object, float] = (None, 0.0)  # what was written, and when
        self._problems: Sequence[str] = ()

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Write the names of the tables, if they have changed or REWRITE_S has passed."""
        if config.agent.iproute2_dir != self._folder:
            self._files.remove()
            self._folder = config.agent.iproute2_dir
            self._files = NameFiles(self._folder)
            self._written = (None, 0.0)
        routing = config.routing
        tables = {each.name: each.table for each in goal.withheld}
        tables |= {uplink.name: uplink.table for uplink in goal.uplinks}
        tables |= {f"policy-{policy.name}": policy.table for policy in goal.policies}
        key, now = (tables, routing.ecmp_table), time.monotonic()
        if key != self._written[0] or now - self._written[1] > REWRITE_S:
            self._written = (key, now)
            self._problems = self._files.write(tables, routing.ecmp_table, routing.protocol)
        return self._problems

    async def leave(self) -> Sequence[str]:
        """Remove the names."""
        return self._files.remove()
