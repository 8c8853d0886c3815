"""The monitor at work: gateways fall silent and come back, uplinks come and go, engines have their say."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import CheckConfig, Config, UplinkConfig
from netbond.config.targets import Target
from netbond.health.judge import DOWN, UNKNOWN, UP, Answer
from netbond.health.monitor import Monitor
from netbond.health.probes import ProbedUplink, probe
from netbond.model import Facts, Health, IPAddress, Uplink, UplinkState
from netbond.usability import alive, apply_policy
from tests.netns.box import sh
from tests.netns.health_net import HOST, HOST6, Net

pytestmark = pytest.mark.root

# Down at the latest: a round and its jitter, three timeouts, two quick rounds between them.
CONFIG = parse("[health]\ninterval = 0.4\njitter = 0.1\ntimeout = 0.2\ndown_after = 3\nhold_down = 0")
DOWN_WITHIN = 0.44 + 3 * 0.2 + 2 * 0.11
UP_WITHIN = 0.44 + 0.11 + 0.2  # a round is just running and must fail first
SLACK = 0.5  # for what the processor has to do
STEP = 0.01  # s between two looks; on a busy machine it takes longer, and that is no fault of the monitor


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, and the listing is always one of them


class Watched:
    """A monitor, how often it has asked for a look, and how often it has asked a target."""

    def __init__(self, config: Config) -> None:
        self.looks = 0
        self.asked = 0
        self.monitor = Monitor(config, self._look, ask=self._ask)

    async def _ask(self, check: CheckConfig, target: Target, probed: ProbedUplink) -> Answer:
        self.asked += 1
        return await probe(check, target, probed)

    def _look(self) -> None:
        self.looks += 1

    def states(self) -> list[str]:
        return [health.state for health in self.monitor.healths()]

    async def until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Until the condition holds; how long it took.

        `seconds` is the time that it may take if the machine lets this loop run: a look that comes late
        counts as if it had come in time.
        """
        began = time.monotonic()
        counted = 0.0
        while not condition():
            assert counted < seconds, (self.monitor.healths(), time.monotonic() - began)
            at = time.monotonic()
            await asyncio.sleep(STEP)
            counted += min(time.monotonic() - at, 2 * STEP)
        return time.monotonic() - began

    async def all_up(self) -> None:
        await self.until(lambda: all(state == UP for state in self.states()), 5)


@asynccontextmanager
async def watched(config: Config, *uplinks: Uplink) -> AsyncIterator[Watched]:
    """A monitor over these uplinks, and proof that nothing of it is left."""
    files = open_files()
    found = Watched(config)
    found.monitor.set_uplinks(uplinks)
    try:
        yield found
    finally:
        await found.monitor.stop()
    assert found.monitor.healths() == ()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await found.until(lambda: open_files() == files, 5)  # a thread closes what takes long to close


@pytest.mark.parametrize("family", [4, 6])
def test_a_gateway_falls_silent_and_comes_back(net: Net, family: int) -> None:
    dying, other = net.modem(), net.modem()

    async def story() -> None:
        async with watched(CONFIG, dying.uplink(family), other.uplink(family)) as of:
            assert of.states() == [UNKNOWN, UNKNOWN]
            await of.all_up()
            assert of.looks == 2
            dying.hang()
            hung = asyncio.get_running_loop().time()
            took = await of.until(lambda: DOWN in of.states(), DOWN_WITHIN + SLACK)
            assert took > 2 * 0.09 + 0.2  # not before three rounds have failed
            assert of.states() == [DOWN, UP]
            assert of.looks == 3
            health = of.monitor.healths()[0]
            assert health.reason.startswith(f"gateway: {dying.uplink(family).gateway}: no answer to ")
            assert hung + 2 * 0.09 + 0.2 < health.since <= asyncio.get_running_loop().time()
            dying.recover()
            await of.until(lambda: of.states() == [UP, UP], UP_WITHIN + SLACK)
            assert of.looks == 4

    net.run(story)


def test_what_the_routing_would_do(net: Net) -> None:
    """Leaves ECMP and returns; and when all are dead, the last state stays."""
    modems = [net.modem(), net.modem()]
    uplinks = [modem.uplink() for modem in modems]

    async def story() -> None:
        async with watched(CONFIG, *uplinks) as of:
            before: frozenset[tuple[str, IPAddress]] = frozenset()

            def devices() -> list[str]:
                nonlocal before
                healths = tuple(
                    Health(each.device, each.family, each.state, each.reason, each.since, each.address)
                    for each in of.monitor.healths()
                )
                applied = apply_policy(uplinks, Facts(health=healths, alive=before), dead_leave_list=True)
                before = alive(applied)
                of.monitor.set_uplinks(applied)  # with the dead marked as dead, it goes on asking them
                return [uplink.device for uplink in applied if uplink.usable]

            await of.all_up()
            assert devices() == ["usb0", "usb1"]
            modems[0].hang()
            await of.until(lambda: devices() == ["usb1"], 5)
            modems[1].hang()
            await of.until(lambda: of.states() == [DOWN, DOWN], 5)
            assert devices() == ["usb1"]
            modems[0].recover()
            await of.until(lambda: devices() == ["usb0"], 5)
            modems[1].recover()
            await of.until(lambda: devices() == ["usb0", "usb1"], 5)

    net.run(story)


def test_flapping_is_damped(net: Net) -> None:
    modem = net.modem()
    config = replace(CONFIG, health=replace(CONFIG.health, hold_down=1.0, up_after=1))

    async def outage(of: Watched, held_s: float) -> None:
        """It is held down for so long, and no longer."""
        modem.hang()
        await of.until(lambda: of.states() == [DOWN], 5)
        modem.recover()
        took = await of.until(lambda: of.states() == [UP], held_s + UP_WITHIN + SLACK)
        assert took >= held_s

    async def story() -> None:
        async with watched(config, modem.uplink()) as of:
            await of.all_up()
            await outage(of, 0.0)
            await outage(of, 1.0)
            await outage(of, 2.0)
            assert of.looks == 7  # and not one for each time that it has answered

    net.run(story)


def test_a_probe_that_hangs_delays_no_other(net: Net) -> None:
    hanging, quick = net.modem(), net.modem()
    hanging.nft("add rule inet t input tcp dport 80 drop")
    config = parse(
        f"""
        [health]
        checks = ["gateway", "web"]
        interval = 0.4
        timeout = 0.2
        [[check]]
        name = "web"
        kind = "tcp"
        targets = ["{HOST}:80"]
        timeout = 30
        """
    )

    async def story() -> None:
        async with watched(config, hanging.uplink(), quick.uplink()) as of:
            await of.until(lambda: of.states() == [UNKNOWN, UP], 3)
            # Neither the other uplink's checks nor the other check of the same uplink wait for it.
            quick.hang()
            await of.until(lambda: of.states() == [UNKNOWN, DOWN], DOWN_WITHIN + SLACK)
            hanging.hang()
            await of.until(lambda: of.states() == [DOWN, DOWN], DOWN_WITHIN + SLACK)

    net.run(story)


def test_a_portal_behind_a_gateway_that_answers(net: Net) -> None:
    modem = net.modem()
    modem.http(302, headers={"Location": "http://portal.example/"})
    config = parse(
        f"""
        [health]
        checks = ["gateway", "http"]
        interval = 0.4
        [[check]]
        name = "http"
        kind = "http"
        targets = ["http://{HOST}/generate_204", "http://[{HOST6}]/generate_204"]
        """
    )

    async def story() -> None:
        async with watched(config, modem.uplink()) as of:
            await of.until(lambda: of.states() == [DOWN], 5)
            (health,) = of.monitor.healths()
            assert health.reason == (
                f"http: http://{HOST}/generate_204: HTTP 302 to http://portal.example/ instead of 204:"
                " a captive portal, or the data plan is used up"
            )
            assert [(check.name, check.state) for check in health.checks] == [
                ("gateway", "ok"),
                ("http", "failing"),
            ]

    net.run(story)


def test_uplinks_come_and_go(net: Net) -> None:
    first, second = net.modem().uplink(), net.modem().uplink()

    async def story() -> None:
        async with watched(CONFIG, first) as of:
            await of.all_up()
            since = of.monitor.healths()[0].since
            # What stays the same keeps its state: another weight is no other uplink.
            of.monitor.set_uplinks([second, replace(first, weight=7)])
            assert of.states() == [UNKNOWN, UP]
            assert of.monitor.healths()[1].since == since
            await of.all_up()
            # Another gateway is.
            of.monitor.set_uplinks([replace(second, gateway=second.address.network[9])])
            assert of.states() == [UNKNOWN]
            await of.until(lambda: of.states() == [DOWN], 5)
            # Without link there is nothing to say, and nothing is known when it is back.
            of.monitor.set_uplinks([replace(first, state=UplinkState.NO_CARRIER, reason="no carrier")])
            assert of.states() == []
            await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) == 1
            of.monitor.set_uplinks([first])
            assert of.states() == [UNKNOWN]
            await of.all_up()
            # Other checks: those whom they do not concern keep their state.
            of.monitor.set_uplinks([first, second])
            await of.all_up()
            of.monitor.configure(CONFIG, {"usb1": UplinkConfig("usb1", checks=())})
            assert of.states() == [UP, UNKNOWN]
            assert of.monitor.healths()[1].reason == "nothing is checked"

    net.run(story)


def test_words_from_the_stream(net: Net) -> None:
    modem = net.modem()
    config = replace(CONFIG, health=replace(CONFIG.health, interval=3.0))

    async def story() -> None:
        async with watched(config, modem.uplink()) as of:
            await of.all_up()
            # A bad word: asked at once and not in 3 s. Two quick rounds later it is down.
            await asyncio.sleep(0.8)
            modem.hang()
            of.monitor.evidence("usb0", ok=False, detail="nothing heard for 2 s")
            await of.until(lambda: of.states() == [DOWN], 3 * 0.2 + 2 * 0.83 + SLACK)

            def carries() -> bool:
                of.monitor.evidence("usb0", ok=True, detail="SRTLA", address="10.0.0.10")
                of.monitor.evidence("usb0", ok=True, detail="SRTLA", address="10.9.9.9")  # not this one
                of.monitor.evidence("usb9", ok=True)
                return of.states() == [UP]

            # Good words: the gateway does not answer ARP, but carries the stream; that counts.
            await of.until(carries, 1.2)
            # ... and as long as they come, nothing is asked.
            before = of.asked
            for _ in range(35):
                of.monitor.evidence("usb0", ok=True)
                await asyncio.sleep(0.1)
            assert of.asked == before

    net.run(story)


def test_no_words_are_heard_where_they_are_not_wanted(net: Net) -> None:
    modem = net.modem()
    config = replace(CONFIG, health=replace(CONFIG.health, evidence=False))

    async def story() -> None:
        async with watched(config, modem.uplink()) as of:
            modem.hang()
            await of.until(lambda: of.states() == [DOWN], 5)
            for _ in range(5):
                of.monitor.evidence("usb0", ok=True)
                await asyncio.sleep(0.1)
            assert of.states() == [DOWN]

    net.run(story)


def test_a_defect_in_a_check_takes_no_uplink_down(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    modem = net.modem()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    async def story() -> None:
        looked = asyncio.Event()
        monitor = Monitor(CONFIG, looked.set, ask=broken)  # type: ignore[arg-type]
        monitor.set_uplinks([modem.uplink()])
        await asyncio.wait_for(looked.wait(), 5)
        assert monitor.healths() == ()
        await monitor.stop()

    with caplog.at_level(logging.ERROR):
        net.run(story)
    assert "check gateway of usb0 failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_sixty_four_uplinks_for_little_work(net: Net) -> None:
    """64 uplinks at the default pace: each hears its own answer, and the processor hardly notices."""
    uplinks = []
    modem = net.modem()
    for number in range(64):
        address = f"10.1.{number}.10/24"
        sh("ip", "-n", net.name, "addr", "add", address, "dev", "usb0")
        modem.ip("addr", "add", f"10.1.{number}.1/24", "dev", "lan")
        base = modem.uplink()
        interface = type(base.address)(address)
        uplinks.append(replace(base, address=interface, gateway=interface.network[1]))

    async def story() -> None:
        async with watched(parse(""), *uplinks) as of:
            await of.all_up()
            began = time.process_time()
            await asyncio.sleep(5)
            assert of.states() == [UP] * 64
            assert time.process_time() - began < 0.75

    net.run(story)
