"""Gathers the facts for a command that runs once: from the running agent, or from the same sources.

Some facts take time to find out: whether a gateway is silent, a data plan is spent, or a modem roams. Only a
running agent knows them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from netbond.config.schema import Config
from netbond.contracts import Source
from netbond.errors import NetbondError, NotRunningError
from netbond.kernel.client import Kernel
from netbond.model import FACTS_VERSION, Facts
from netbond.sources.running import all_sources, assemble
from netbond.status.control import request
from netbond.status.protocol import FactsReply, FactsRequest, read_reply
from netbond.system import clock
from netbond.system.text import printable
from netbond.system.typed_json import to_json


def gather(config: Config) -> Facts:
    """Return all facts that can be known now, and write to standard error what is left out."""
    try:
        return ask_agent(config)
    except NetbondError as error:
        why = error
    sources = all_sources(config)
    facts = asyncio.run(_assembled(sources))
    for source in sources:
        for problem in source.problems:
            print(printable(f"# {problem}"), file=sys.stderr)
    if not isinstance(why, NotRunningError):
        print(printable(f"# what only the agent knows is left out: {why}"), file=sys.stderr)
    return facts


def ask_agent(config: Config) -> Facts:
    """The facts of the running agent. NetbondError if there is none, or it does not tell."""
    answer = request(config.agent.control_socket, to_json(FactsRequest()))
    if not answer["ok"]:
        raise NetbondError(str(answer.get("error")))
    if answer.get("version") != FACTS_VERSION:
        raise NetbondError("the agent runs another version of netbond", "restart it")
    try:
        return read_reply(FactsReply, answer).facts
    except ValueError as error:
        raise NetbondError(f"the agent's facts are invalid: {error}") from None


async def _assembled(sources: Sequence[Source]) -> Facts:
    async with Kernel() as kernel:
        read = await kernel.read()
    await asyncio.gather(*(source.once() for source in sources))
    return assemble(sources, read, clock.now())
