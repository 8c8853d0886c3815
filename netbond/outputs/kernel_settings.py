"""Sets the kernel settings (sysctls) that bonding and router mode need, and restores them. Output."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netbond.config.schema import Config
from netbond.contracts import Output
from netbond.desired import Desired
from netbond.kernel import sysctls
from netbond.model import Facts

logger = logging.getLogger(__name__)


class KernelSettings(Output):
    """Kernel settings; each is set only if it differs, recorded, and restored at the end."""

    name = "sysctls"

    def __init__(self, config: Config) -> None:
        self._sysctls = sysctls.Sysctls(config.agent.state_dir)
        self._made_for = (config.sysctl, config.router)

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Set what differs; after a reload, restore what is no longer wanted."""

        def wanted(observed: sysctls.Observed) -> list[sysctls.Change]:
            return sysctls.wanted(
                goal.uplinks, config, observed, lan=goal.inside.devices, links=facts.interfaces
            )

        changes = wanted(self._sysctls.read)
        for change in changes:
            logger.debug("%s", change.line())
        problems = self._sysctls.apply(changes)
        if (config.sysctl, config.router) != self._made_for:
            self._made_for = (config.sysctl, config.router)
            problems += self._sysctls.restore(keep={change.name for change in wanted(self._sysctls.before)})
        return problems

    async def leave(self) -> Sequence[str]:
        """Restore all settings."""
        return self._sysctls.restore()
