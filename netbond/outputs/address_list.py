"""Keeps the address list for SRTLA senders up to date, and signals them when it changes. Output."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netbond.config.schema import AgentConfig, Config
from netbond.contracts import Output
from netbond.desired import Desired
from netbond.engines.address_list import AddressList
from netbond.model import Facts

logger = logging.getLogger(__name__)


class AddressListFile(Output):
    """The file with one line for each uplink that senders may use."""

    name = "ip_list"

    def __init__(self) -> None:
        self._made_for: AgentConfig | None = None
        self._list = AddressList(None)

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Write the list if it has changed, and signal its readers."""
        if config.agent != self._made_for:
            self._made_for = agent = config.agent
            self._list = AddressList(
                agent.ip_list,
                devices=agent.ip_list_devices,
                ipv6=agent.ip_list_ipv6,
                empty=agent.ip_list_empty,
                pid_file=agent.notify_pid_file,
                process=agent.notify_process,
            )
        update = self._list.update(goal.uplinks)
        if update.notified:
            logger.info(
                "the address list has changed; sent SIGHUP to process %s",
                ", ".join(map(str, update.notified)),
            )
        return update.problems
