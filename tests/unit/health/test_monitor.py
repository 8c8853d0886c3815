"""The monitor with answers at the press of a button: what it waits for, and when it asks for a look."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import replace

from netbond.config.load import parse
from netbond.config.schema import CheckConfig, Config
from netbond.config.targets import Target
from netbond.health.judge import DOWN, UNKNOWN, UP, Answer, Outcome
from netbond.health.monitor import Monitor
from netbond.health.probes import ProbedUplink
from netbond.model import Uplink, UplinkState

UPLINK = Uplink(
    "usb0", ipaddress.ip_interface("10.0.0.10/24"), ipaddress.ip_address("10.0.0.1"), "configuration", 100
)
# Rounds so far apart that within a test only what hastens them brings a second one.
SLOW = parse("[health]\ninterval = 400\ndown_after = 1\nup_after = 1\nhold_down = 0.3\nhold_down_max = 0.3")
SOON = parse("[health]\ninterval = 0.2\ndown_after = 1\nup_after = 1\nhold_down = 0")


class Scripted:
    """A monitor whose probes answer what `answering` says, and the looks it has asked for."""

    def __init__(self, config: Config) -> None:
        self.answering = True
        self.asked = 0
        self.looks: list[list[str]] = []  # the states at each
        self.monitor = Monitor(config, self._look, random=lambda: 0.0, ask=self._ask)

    async def _ask(self, check: CheckConfig, target: Target, probed: ProbedUplink) -> Answer:
        self.asked += 1
        await asyncio.sleep(0)
        outcome = Outcome.ANSWERED if self.answering else Outcome.FAILED
        return Answer(target.text, outcome, None, "as told")

    def _look(self) -> None:
        self.looks.append(self.states())

    def states(self) -> list[str]:
        return [health.state for health in self.monitor.healths()]

    async def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not condition():
            assert loop.time() < end, self.monitor.healths()
            await asyncio.sleep(0.005)


async def test_a_hold_down_ends_by_itself() -> None:
    """Not with the next round, which is minutes away."""

    of = Scripted(SLOW)
    of.monitor.set_uplinks([UPLINK])
    await of.until(lambda: of.states() == [UP])
    judge = of.monitor._watches["usb0", UPLINK.address.ip].judge
    loop = asyncio.get_running_loop()
    for _ in range(2):  # two outages, told by hand: the second is held
        judge.round("gateway", [Answer("10.0.0.1", Outcome.FAILED)], loop.time(), 0.0)
        of.monitor.evidence("usb0", ok=True)
    assert of.states() == [DOWN]
    began = loop.time()
    asked = of.asked
    await of.until(lambda: of.states() == [UP])
    assert 0.25 < loop.time() - began < 2
    assert of.asked == asked
    assert of.looks[-1] == [UP]
    await of.monitor.stop()


async def test_a_link_that_is_back_and_still_dead_is_told_again() -> None:
    """While nothing was known it counted as usable, so the routing must hear of it a second time."""

    of = Scripted(SOON)
    of.answering = False
    of.monitor.set_uplinks([UPLINK])
    await of.until(lambda: of.states() == [DOWN])
    of.monitor.set_uplinks([replace(UPLINK, state=UplinkState.NO_CARRIER)])
    of.monitor.set_uplinks([UPLINK])
    assert of.states() == [UNKNOWN]
    await of.until(lambda: of.states() == [DOWN])
    assert of.looks == [[DOWN], [DOWN]]
    await of.monitor.stop()


async def test_another_gateway_lifts_the_old_ones_verdict() -> None:
    """Whoever has acted on it must hear that it is void, and hears so once."""

    of = Scripted(SLOW)
    of.answering = False
    of.monitor.set_uplinks([UPLINK])
    await of.until(lambda: of.states() == [DOWN])
    other = replace(UPLINK, gateway=ipaddress.ip_address("10.0.0.2"))
    for _ in range(3):
        of.monitor.set_uplinks([other])
    assert of.looks == [[DOWN], [UNKNOWN]]
    of.monitor.set_uplinks([])
    assert of.looks == [[DOWN], [UNKNOWN]]
    await of.monitor.stop()


async def test_another_policy_lifts_no_verdict() -> None:
    """A reload must not bring an uplink back for a moment that leads nowhere."""

    of = Scripted(SOON)
    of.answering = False
    of.monitor.set_uplinks([UPLINK])
    await of.until(lambda: of.states() == [DOWN])
    asked = of.asked
    for config in (SLOW, parse("[health]\ninterval = 0.3\ntimeout = 0.2\nup_after = 2\nhold_down = 0")):
        of.monitor.configure(config, {})
        assert of.states() == [DOWN]
    await of.until(lambda: of.asked > asked + 2)  # it is asked, by the new configuration
    assert of.looks == [[DOWN]]
    of.answering = True
    await of.until(lambda: of.states() == [UP])
    assert of.looks == [[DOWN], [UP]]
    await of.monitor.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_hold_down_goes_on_under_another_policy() -> None:
    of = Scripted(SLOW)
    of.monitor.set_uplinks([UPLINK])
    await of.until(lambda: of.states() == [UP])
    judge = of.monitor._watches["usb0", UPLINK.address.ip].judge
    loop = asyncio.get_running_loop()
    for _ in range(2):
        judge.round("gateway", [Answer("10.0.0.1", Outcome.FAILED)], loop.time(), 0.0)
        of.monitor.evidence("usb0", ok=True)
    longer = parse("[health]\ninterval = 500\ndown_after = 1\nup_after = 1\nhold_down = 9")
    of.monitor.configure(longer, {})
    assert of.states() == [DOWN]
    await of.until(lambda: of.states() == [UP])  # when the old hold-down is over, and nobody has asked
    await of.monitor.stop()


async def test_words_reach_the_uplink_that_is_meant() -> None:
    of = Scripted(SLOW)
    of.answering = False
    of.monitor.set_uplinks([UPLINK])
    await of.until(lambda: of.states() == [DOWN])
    of.monitor.evidence("usb1", ok=True)
    of.monitor.evidence("usb0", ok=True, address="10.0.0.11")
    assert of.states() == [DOWN]
    of.monitor.evidence("usb0", ok=True, address="10.0.0.10")
    assert of.states() == [UP]
    await of.monitor.stop()


async def test_the_same_uplink_twice_is_watched_once() -> None:
    of = Scripted(SOON)
    of.monitor.set_uplinks([UPLINK, replace(UPLINK, gateway=ipaddress.ip_address("10.0.0.2"))])
    of.monitor.set_uplinks([UPLINK, replace(UPLINK, gateway=ipaddress.ip_address("10.0.0.2"))])
    assert of.states() == [UNKNOWN]
    await of.monitor.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_stopping_twice_and_without_uplinks() -> None:
    of = Scripted(SOON)
    await of.monitor.stop()
    of.monitor.set_uplinks([UPLINK])
    await of.monitor.stop()
    await of.monitor.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
