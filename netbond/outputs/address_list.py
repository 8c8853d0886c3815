"""Keeps the address list for SRTLA senders up to date, and signals them when it changes. Output."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netbond.config.schema import AgentConfig, Config
from netbond.contracts import Output
from netbond.desired import Desired
from netbond.engines.address_list import AddressList, twins
from netbond.model import Facts
from netbond.problems import DEGRADED, NOTICE, Problem

logger = logging.getLogger(__name__)


class AddressListFile(Output):
    """The file with one line for each uplink that senders may use."""

    name = "ip_list"

    def __init__(self) -> None:
        self._made_for: AgentConfig | None = None
        self._list = AddressList(None)

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str | Problem]:
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
        return (*update.problems, *_twins(goal, config))


def _twins(goal: Desired, config: Config) -> list[Problem]:
    """The problem that a plain list has with modems of one address. A [[sender]] needs no list."""
    agent = config.agent
    if agent.ip_list is None or agent.ip_list_devices or config.sender:
        return []
    told = agent.notify_process or agent.notify_pid_file is not None
    return [
        Problem(
            "twins-plain-list",
            f"{agent.ip_list} has one line, {address}, for {len(names)} modems: {', '.join(names)}",
            address,
            "srtla_send uses one of them: use netbond send with ip_list_devices = true, or a [[sender]]",
            DEGRADED if told else NOTICE,
        )
        for address, names in twins(goal.uplinks).items()
    ]
