"""Runs the checks of all uplinks, and tells when a verdict has changed.

Each check of each uplink has its own task, so that a check that waits for its timeout delays no other.
netbond.health.judge decides what an answer means. This module only waits, asks, and passes answers on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as standard_random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from netbond.config.schema import CheckConfig, Config, HealthConfig
from netbond.config.targets import Target
from netbond.health import spare
from netbond.health.judge import DEGRADED, DOWN, UNKNOWN, UP, Answer, Judge, UplinkHealth
from netbond.health.probes import ProbedUplink, probe, questions, resolvers
from netbond.health.report import Key, key
from netbond.match import NO_SETTINGS, UNMATCHED, Settings
from netbond.model import IPAddress, Uplink, UplinkState

logger = logging.getLogger(__name__)

Ask = Callable[[CheckConfig, Target, ProbedUplink], Awaitable[Answer]]


class _Role(Enum):
    """What an uplink does with a gateway."""

    IN_USE = "in use"
    BETTER = "better"  # it takes over again once it works
    NEXT = "next"  # it is used once those before it are down
    WANTED = "wanted"  # the one in use is down: any other that works takes its place


# The kinds of checks that are asked by a gateway that is not in use. What is behind a gateway costs data to
# ask, so one that is not needed is asked alone.
_ASKED = {_Role.BETTER: spare.KINDS, _Role.WANTED: spare.KINDS, _Role.NEXT: frozenset({"gateway"})}


@dataclass(frozen=True, slots=True)
class _Identity:
    """An uplink, one of its gateways, and its checks."""

    device: str
    address: IPAddress
    gateway: IPAddress | None
    chain: tuple[CheckConfig, ...]
    policy: HealthConfig
    role: _Role = _Role.IN_USE
    alone: bool = True  # it is the only gateway

    def same_uplink(self, other: _Identity) -> bool:
        """Whether only checks and role differ: then the verdict so far is still about this uplink."""
        return (self.device, self.address, self.gateway) == (other.device, other.address, other.gateway)


class _Watch:
    """One uplink: its judge, and a task for each of its checks while it has its link."""

    def __init__(
        self,
        identity: _Identity,
        look: Callable[[], None],
        random: Callable[[], float],
        ask: Ask,
        before: _Watch | None = None,
    ) -> None:
        """`before` is the watch of the same uplink with other checks; its verdict goes on."""
        self.identity: Final = identity
        self.running = False
        self._look = look
        self._random = random
        self._ask = ask
        self._clock = asyncio.get_running_loop().time
        self._uplink = ProbedUplink(
            identity.device,
            identity.address,
            identity.gateway,
            resolvers(identity.policy.resolvers),
            spare=identity.role is not _Role.IN_USE,
        )
        # A check without targets here (none of this family, no gateway) is no part of the chain.
        self._questions = {
            check.name: found for check in identity.chain if (found := questions(check, self._uplink))
        }
        self._chain = tuple(check for check in identity.chain if check.name in self._questions)
        if before is None:
            self.judge = Judge(
                identity.device, identity.address, self._chain, identity.policy, self._clock(), random()
            )
            self._state = UNKNOWN
        else:
            self.judge, self._state = before.judge, before._state
            self.judge.reconfigure(self._chain, identity.policy, self._clock(), random())
        asked = _ASKED.get(identity.role)
        unasked = [check.name for check in self._chain if asked is not None and check.kind not in asked]
        self.judge.set_role(
            unasked,
            returns=identity.role is _Role.BETTER,
            wanted=identity.role is _Role.WANTED,
            now=self._clock(),
        )
        self._answers: bool = True if before is None else before._answers
        self._goes_on = before is not None and before.running
        self._wakes = {check.name: asyncio.Event() for check in self._chain}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to ask. After a pause, the state is unknown."""
        self.running = True
        if self._goes_on:
            self._goes_on = False
            self._changed()  # a hold-down may be waiting for its end
        else:
            # A better gateway than the one in use is asked at once: it may be needed.
            self.judge.restart(self._clock(), 0.0 if self._better else self._random())
            self._state = UNKNOWN
        self._uplink.names.clear()
        for check in self._chain:
            task = asyncio.create_task(self._run(check), name=f"check {check.name} of {self.identity.device}")
            task.add_done_callback(self._ended)
            self._tasks.add(task)

    def stop(self) -> set[asyncio.Task[None]]:
        """Stop asking; return the tasks that are about to end."""
        self.running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._tasks:
            task.cancel()
        return set(self._tasks)

    @property
    def _better(self) -> bool:
        return self.identity.role is _Role.BETTER

    def health(self) -> UplinkHealth:
        """The verdict so far, with the gateway that it is about."""
        return self.judge.health(self.identity.gateway, spare=self.identity.role is not _Role.IN_USE)

    def evidence(self, ok: bool, detail: str) -> None:
        self.judge.evidence(ok=ok, detail=detail, now=self._clock(), random=self._random())
        self._changed()

    def measure(self, loss: float | None, rtt_s: float | None) -> None:
        self.judge.measure(loss, rtt_s, self._clock())
        self._changed()

    def ask_soon(self, reached: bool) -> None:
        """Ask soon if the kernel reached the gateway, or not, against the verdict so far."""
        if reached != (self.judge.state in (UP, DEGRADED)):
            self.judge.ask_soon(self._clock())
            self._changed()

    async def _run(self, check: CheckConfig) -> None:
        wake = self._wakes[check.name]
        while True:
            due = self.judge.due(check.name)
            pause = None if due is None else due - self._clock()
            if pause is None or pause > 0:
                wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await wake.wait()
                continue
            answers = await asyncio.gather(
                *(self._ask(check, target, self._uplink) for target in self._questions[check.name])
            )
            self.judge.round(check.name, answers, self._clock(), self._random())
            self._changed()

    def _changed(self) -> None:
        """Act on a change of the judge: due times of all checks and the verdict may differ."""
        for wake in self._wakes.values():
            wake.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        release = self.judge.release()
        if release is not None:
            self._timer = asyncio.get_running_loop().call_at(release, self._released)
        health = self.judge.health()
        if health.state != self._state:
            self._state = health.state
            # For people, the problem says so: at once, and when it is over.
            why = f": {health.reason}" if health.reason else ""
            by = "" if self.identity.alone else f" by {self.identity.gateway}"
            logger.debug("%s (%s)%s is %s%s", health.device, health.address, by, health.state, why)
            self._look()
        elif health.answers != self._answers and not self.identity.alone:
            self._look()  # another gateway may be the better choice
        self._answers = health.answers

    def _released(self) -> None:
        self._timer = None
        self.judge.advance(self._clock())
        self._changed()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks and not self.running:
            self._uplink.arp_socket.close()
        if not task.cancelled() and task.exception() is not None:
            # A bug must not keep an uplink down or up: its state is unknown from now on.
            logger.error(
                "%s failed; the state of that uplink is unknown until the next change",
                task.get_name(),
                exc_info=task.exception(),
            )
            self.stop()
            self._look()


class Monitor:
    """All uplinks. Lives in one event loop; `look` is called, without arguments, when a state has changed.

    `random` gives numbers in [0, 1). `ask` asks one target (netbond.health.probes.probe).
    """

    def __init__(
        self,
        config: Config,
        look: Callable[[], None],
        *,
        random: Callable[[], float] = standard_random.random,
        ask: Ask = probe,
    ) -> None:
        self._config = config
        self._settings = NO_SETTINGS
        self._look = look
        self._random = random
        self._ask = ask
        self._uplinks: tuple[Uplink, ...] = ()
        self._watches: dict[Key, _Watch] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def configure(self, config: Config, settings: Settings) -> None:
        """Take another configuration; uplinks keep their state until answers to it change that.

        `settings` are those of Desired: which checks each interface has.
        """
        self._config, self._settings = config, settings
        self.set_uplinks(self._uplinks)

    def set_uplinks(self, uplinks: Iterable[Uplink]) -> None:
        """Check these uplinks from now on, and no others.

        Of an uplink with several gateways each is checked. One with the same device, address and gateway as
        before keeps its state, also with other checks, and when it comes into use or waits from now on.
        Any other is unknown at first. An uplink without link is not asked, and is unknown when the link is
        back. netbond.usability may have marked some of them as dead. If it did so by a verdict that no longer
        holds, `look` is called.
        """
        self._uplinks = tuple(uplinks)
        down = {key(health) for health in self.healths() if health.state == DOWN}
        watches: dict[Key, _Watch] = {}
        for uplink, identity in self._identities():
            at = (identity.device, identity.address, identity.gateway)
            if at in watches:
                continue  # it is listed twice
            watch = self._watches.get(at)
            if watch is None or watch.identity != identity:
                before = watch if watch is not None and watch.identity.same_uplink(identity) else None
                watch = _Watch(identity, self._look, self._random, self._ask, before)
                if before is not None:
                    self._stop(before)
            watches[at] = watch
            has_link = uplink.state not in (UplinkState.DOWN, UplinkState.NO_CARRIER)
            if has_link and not watch.running:
                watch.start()
            elif watch.running and not has_link:
                self._stop(watch)
        for at, watch in self._watches.items():
            if watches.get(at) is not watch:
                self._stop(watch)
        self._watches = watches
        if any(key(health) in down and health.state != DOWN for health in self.healths()):
            self._look()

    def _identities(self) -> Iterator[tuple[Uplink, _Identity]]:
        """Yield each uplink with each of its gateways; the one in use comes first."""
        for uplink in self._uplinks:
            identity = _Identity(
                uplink.device,
                uplink.address.ip,
                uplink.gateway,
                self._config.chain(self._settings.get(uplink.device, UNMATCHED).checks),
                self._config.health.of(self._settings.get(uplink.device, UNMATCHED)),
                alone=len(uplink.gateways) < 2,
            )
            watch = self._watches.get((identity.device, identity.address, identity.gateway))
            is_down = watch is not None and watch.running and watch.judge.state == DOWN
            yield uplink, identity
            role = _Role.BETTER
            for choice in uplink.gateways:
                if choice.gateway == uplink.gateway:
                    role = _Role.NEXT
                else:
                    now = _Role.WANTED if is_down else role
                    yield uplink, replace(identity, gateway=choice.gateway, role=now)

    def evidence(self, device: str, ok: bool, detail: str = "", address: str | None = None) -> None:
        """Take what an SRTLA link hears.

        `ok` if its receiver answered within the last second, not `ok` if the link sent for some seconds and
        heard nothing. Without `address`, it is about all uplinks of the device.
        """
        if not self._config.health.evidence:
            return
        for (name, ip, _), watch in self._watches.items():
            used = watch.running and watch.identity.role is _Role.IN_USE
            if name == device and used and address in (None, str(ip)):
                watch.evidence(ok, detail)

    def measure(self, device: str, address: str, loss: float | None, rtt_s: float | None) -> None:
        """Take the loss (0 to 1) and the round-trip time (s) of an SRTLA link; None: not known."""
        if not self._config.health.evidence:
            return
        for (name, ip, _), watch in self._watches.items():
            used = watch.running and watch.identity.role is _Role.IN_USE
            if used and (name, str(ip)) == (device, address):
                watch.measure(loss, rtt_s)

    def neighbour(self, device: str, address: IPAddress, reached: bool) -> None:
        """Take the kernel's own result for a neighbour, which it asks for when packets go there.

        If the neighbour is a gateway, and the verdict so far differs, it is asked soon.
        """
        for watch in self._watches.values():
            identity = watch.identity
            if watch.running and (identity.device, identity.gateway) == (device, address):
                watch.ask_soon(reached)

    def healths(self) -> tuple[UplinkHealth, ...]:
        """The verdicts, in the order of the uplinks; of each gateway, if there are several.

        An uplink without link has none.
        """
        return tuple(watch.health() for watch in self._watches.values() if watch.running)

    async def stop(self) -> None:
        """Stop asking; return when all tasks have ended."""
        for watch in self._watches.values():
            self._stop(watch)
        self._watches = {}
        if self._ending:
            await asyncio.wait(self._ending)

    def _stop(self, watch: _Watch) -> None:
        for task in watch.stop():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
