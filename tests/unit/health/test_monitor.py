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
from netbond.model import GatewayChoice, Uplink, UplinkState

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
        self.silent: set[str] = set()  # kinds of checks that are not answered
        self.asked = 0
        self.kinds: set[tuple[object, str]] = set()  # which gateway was asked for, by which kind of check
        self.looks: list[list[str]] = []  # the states at each
        self.monitor = Monitor(config, self._look, random=lambda: 0.0, ask=self._ask)

    async def _ask(self, check: CheckConfig, target: Target, probed: ProbedUplink) -> Answer:
        self.asked += 1
        self.kinds.add((probed.gateway, check.kind))
        await asyncio.sleep(0)
        answers = self.answering and check.kind not in self.silent
        outcome = Outcome.ANSWERED if answers else Outcome.FAILED
        return Answer(target.text, outcome, None, "as told")

    def _look(self) -> None:
        self.looks.append(self.states())

    def states(self) -> list[str]:
        return [health.state for health in self.monitor.healths()]

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
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
    judge = of.monitor._watches["usb0", UPLINK.address.ip, UPLINK.gateway].judge
    loop = asyncio.get_running_loop()
    for _ in range(2):  # two outages, told by hand: the second is held
        judge.round("gateway", [Answer("10.0.0.1", Outcome.FAILED)], loop.time(), 0.0)
        of.monitor.evidence("usb0", ok=True)
    assert of.states() == [DOWN]
    began = loop.time()
    asked = of.asked
    await of.until(lambda: of.states() == [UP])
    assert 0.25 < loop.time() - began < 20
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
    """A verdict names its gateway, so nobody takes the old one's for the new one's."""

    of = Scripted(SLOW)
    of.answering = False
    of.monitor.set_uplinks([UPLINK])
    await of.until(lambda: of.states() == [DOWN])
    other = replace(UPLINK, gateway=ipaddress.ip_address("10.0.0.2"))
    for _ in range(3):
        of.monitor.set_uplinks([other])
    assert of.states() == [UNKNOWN]
    assert of.looks == [[DOWN]]
    of.monitor.set_uplinks([])
    assert of.looks == [[DOWN]]
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
    judge = of.monitor._watches["usb0", UPLINK.address.ip, UPLINK.gateway].judge
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
    of.monitor.set_uplinks([UPLINK, UPLINK])
    assert of.states() == [UNKNOWN]
    other = replace(UPLINK, gateway=ipaddress.ip_address("10.0.0.2"))  # configured for the same address
    of.monitor.set_uplinks([UPLINK, other])
    assert of.states() == [UNKNOWN, UNKNOWN]
    await of.monitor.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_each_gateway_of_an_uplink_is_checked_as_what_it_is() -> None:
    """All are asked by ARP; a better one than that in use also for what is behind it, but for HTTP."""
    gateways = [ipaddress.ip_address(f"10.0.0.{number}") for number in (1, 2, 3)]
    uplink = replace(
        UPLINK,
        gateway=gateways[1],
        gateways=tuple(GatewayChoice(gateway, "dhclient") for gateway in gateways),
    )
    of = Scripted(
        replace(SOON, health=replace(SOON.health, checks=("gateway", "icmp", "http"), hold_down=60.0))
    )
    of.monitor.set_uplinks([uplink])
    await of.until(lambda: of.states() == [UP] * 3)
    assert [(str(each.gateway), each.spare) for each in of.monitor.healths()] == [
        ("10.0.0.2", False),
        ("10.0.0.1", True),
        ("10.0.0.3", True),
    ]
    kinds = {(str(gateway), kind) for gateway, kind in of.kinds}
    # What is behind it costs data, so one that is not needed is not asked for it.
    behind = {("10.0.0.2", "icmp"), ("10.0.0.2", "http"), ("10.0.0.1", "icmp")}
    assert kinds == {(str(gateway), "gateway") for gateway in gateways} | behind
    of.answering = False
    await of.until(lambda: of.states() == [DOWN] * 3)
    of.monitor.evidence("usb0", ok=True)
    said = [each.reason for each in of.monitor.healths()]  # the stream goes by the gateway in use
    assert said == ["answers again, not yet often enough", "gateway: as told", "gateway: as told"]
    of.answering = True
    of.monitor.neighbour("usb0", gateways[2], reached=True)
    await of.until(lambda: of.states() == [UP, DOWN, UP])
    await of.until(lambda: "answers again" in of.monitor.healths()[1].reason)  # it is held down
    # It does so at once if the one in use fails.
    of.monitor.set_uplinks([replace(uplink, gateway=gateways[0])])
    assert of.states() == [UNKNOWN, UP, UP]  # usable: what is behind it was never asked by it
    await of.until(lambda: of.states() == [UP] * 3)
    assert ("10.0.0.1", "http") in {(str(gateway), kind) for gateway, kind in of.kinds}
    of.monitor.set_uplinks([UPLINK])
    assert [str(each.gateway) for each in of.monitor.healths()] == ["10.0.0.1"]
    await of.monitor.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_while_the_one_in_use_is_down_all_others_are_asked() -> None:
    """What is known of one that was left a while ago may be old."""
    gateways = [ipaddress.ip_address(f"10.0.0.{number}") for number in (1, 2)]
    several = replace(UPLINK, gateways=tuple(GatewayChoice(gateway, "dhclient") for gateway in gateways))
    of = Scripted(replace(SOON, health=replace(SOON.health, checks=("gateway", "icmp"))))
    of.silent = {"icmp"}
    of.monitor.set_uplinks([replace(several, gateway=gateways[1])])
    await of.until(lambda: DOWN in of.states()[:1])
    await of.until(lambda: of.states() == [DOWN, DOWN])
    of.kinds.clear()
    of.monitor.set_uplinks([several])  # the first one again, although it is down, too
    await of.until(lambda: (gateways[1], "icmp") in of.kinds)
    of.silent = set()
    await of.until(lambda: of.states()[1] == UP)
    await of.monitor.stop()


async def test_the_first_silence_of_one_of_several_gateways_is_told() -> None:
    """Another one may be the better choice before it counts as down."""
    gateways = [ipaddress.ip_address(f"10.0.0.{number}") for number in (1, 2)]
    several = replace(UPLINK, gateways=tuple(GatewayChoice(gateway, "dhclient") for gateway in gateways))
    for uplink, looks in ((several, 1), (UPLINK, 0)):
        of = Scripted(replace(SLOW, health=replace(SLOW.health, down_after=100)))
        of.answering = False
        of.monitor.set_uplinks([uplink])
        await of.until(lambda of=of, looks=looks: of.asked > looks)  # type: ignore[misc]
        await asyncio.sleep(0.01)
        assert len(of.looks) == 2 * looks  # of each gateway
        assert [each.answers for each in of.monitor.healths()] == [False] * len(of.monitor.healths())
        await of.monitor.stop()


async def test_stopping_twice_and_without_uplinks() -> None:
    of = Scripted(SOON)
    await of.monitor.stop()
    of.monitor.set_uplinks([UPLINK])
    await of.monitor.stop()
    await of.monitor.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
