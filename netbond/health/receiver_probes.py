"""Asks the receivers of senders through uplinks that are suspect, as netbond.health.suspects decides."""

from __future__ import annotations

import asyncio
import logging
import random as standard_random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from netbond.config.schema import CheckConfig, HealthConfig, SenderConfig
from netbond.config.targets import Target, as_address
from netbond.config.values import HostPort
from netbond.health.monitor import Ask
from netbond.health.probes import ProbedUplink, probe
from netbond.health.report import Key
from netbond.health.stream_evidence import hearings
from netbond.health.suspects import NAME, Round, Suspects, Suspicion
from netbond.model import EngineState, IPAddress
from netbond.srtla.statistics import SenderStatistics

logger = logging.getLogger(__name__)

Addresses = Mapping[str, Collection[IPAddress]]  # of host names, as the agent itself has found them


class ReceiverProbes:
    """Probes of receivers in one event loop; `look` is called when an uplink goes down or comes back.

    `random` gives numbers in [0, 1). `ask` asks one target (netbond.health.probes.probe).
    """

    def __init__(
        self,
        policy: HealthConfig,
        look: Callable[[], None],
        *,
        random: Callable[[], float] = standard_random.random,
        ask: Ask = probe,
    ) -> None:
        self._policy = policy
        self._look = look
        self._random = random
        self._ask = ask
        self._suspects = Suspects(policy)
        self._uplinks: Mapping[Key, bool] = {}
        self._proven: Collection[Key] = ()
        self._down: Collection[Key] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def configure(self, policy: HealthConfig) -> None:
        """Use this policy from now on; another one begins anew."""
        if policy != self._policy:
            self._policy, self._suspects = policy, Suspects(policy)

    def tick(
        self,
        uplinks: Mapping[Key, bool],
        in_use: Collection[Key],
        proven: Collection[Key],
        senders: Sequence[SenderConfig],
        engines: Iterable[EngineState],
        addresses: Addresses,
        now: float,
    ) -> None:
        """Take what is known now; called once a second.

        `uplinks` are those that may be suspect, and whether their checks say that they work; of several
        gateways of one the `in_use` has the one that its routes lead by. On `proven` ones
        a check passes that asks something on the internet. `engines` have statistics that are new.
        """
        self._uplinks, self._proven = uplinks, proven
        known = [receiver for sender in senders for receiver in sender.receivers]
        self._suspects.set_uplinks(uplinks, in_use, known, now)
        of_engines = {sender.name: sender.receivers for sender in senders}
        for engine in engines:
            stats = engine.stats
            if engine.state != "running" or not isinstance(stats, SenderStatistics):
                continue
            for receiver in of_engines.get(engine.name, ()):
                if str(receiver) == stats.receiver:
                    found = _addresses(receiver, addresses)
                    self._suspects.hear(hearings(stats), receiver, found, now, self._random())
        self._suspects.advance(now)
        self._go_on()

    def suspicions(self) -> Mapping[Key, Suspicion]:
        """The uplinks that are suspect, blocked for the bond, or down."""
        return self._suspects.suspicions()

    async def stop(self) -> None:
        """Stop asking; return when all tasks have ended."""
        self._suspects = Suspects(self._policy)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _go_on(self) -> None:
        """Say what has changed, begin the rounds that are due, and wake up for the next."""
        self._tell()
        loop = asyncio.get_running_loop()
        now = loop.time()
        for each in self._suspects.rounds(now, self._random):
            task = asyncio.create_task(self._round(each, self._suspects), name=f"ask {each.receiver}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        if self._timer is not None:
            self._timer.cancel()
        due = self._suspects.next_due(now)
        self._timer = None if due is None or due <= now else loop.call_at(due, self._go_on)

    async def _round(self, of: Round, suspects: Suspects) -> None:
        receiver, timeout_s = of.receiver, self._policy.timeout
        target = Target(str(receiver), str(of.address), receiver.port)
        srtla = CheckConfig(NAME, "srtla", timeout=timeout_s)
        suspect, control = ProbedUplink(*of.suspect), ProbedUplink(*of.control)
        echo = self._ask(CheckConfig(NAME, "icmp", timeout=timeout_s), target, suspect)
        answers = await asyncio.gather(
            self._ask(srtla, target, suspect), self._ask(srtla, target, control), echo
        )
        logger.debug("asked %s through %s: %s", receiver, of.suspect[0], [each.detail for each in answers])
        now = asyncio.get_running_loop().time()
        proven = of.suspect in self._proven
        suspects.answered(of, *answers, now, self._random(), proven=proven)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if task.exception() is not None:  # a bug must not take an uplink out
            logger.error("%s failed", task.get_name(), exc_info=task.exception())
            self._suspects = Suspects(self._policy)
        self._go_on()

    def _tell(self) -> None:
        found = self.suspicions()
        down = {key: each.reason for key, each in found.items() if each.down}
        for key in down.keys() - set(self._down):
            logger.warning("%s (%s) leads nowhere, as its stream shows: %s", key[0], key[1], down[key])
        for device, address, _ in (set(self._down) - down.keys()) & self._uplinks.keys():
            logger.warning("%s (%s) leads somewhere again", device, address)
        if down.keys() != set(self._down):
            self._down = frozenset(down)
            self._look()


def _addresses(receiver: HostPort, addresses: Addresses) -> Collection[IPAddress]:
    literal = as_address(receiver.host)
    return addresses.get(receiver.host, ()) if literal is None else (literal,)
