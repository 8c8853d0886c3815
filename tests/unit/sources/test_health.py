"""Verdicts of health checks as facts, and which uplinks are checked; the targets listen on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config, UplinkConfig
from netbond.contracts import Traffic
from netbond.desired import Desired
from netbond.health.judge import CheckHealth, UplinkHealth
from netbond.health.report import Key
from netbond.health.suspects import Suspicion
from netbond.model import EngineState, Facts, Health, Uplink
from netbond.sources.health import HealthChecks
from netbond.status.schema import Sections
from tests.buses import until
from tests.unit.health.test_stream_evidence import stats

LO = Uplink("lo", IPv4Interface("127.0.0.1/8"), None, "test", 100)
BARRED = Health("lo", 4, "down", "the kernel refuses its route")


def checking_text(port: int, more: str = "") -> str:
    """Each uplink by a TCP connection, bound to the uplink's device."""
    return (
        f'[health]\nchecks = ["web"]\ninterval = 0.2\ntimeout = 0.1\ndown_after = 1\nup_after = 1\n{more}\n'
        f'[[check]]\nname = "web"\nkind = "tcp"\ntargets = ["127.0.0.1:{port}"]\n'
    )


def checking(port: int, more: str = "") -> Config:
    return parse(checking_text(port, more))


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Something that accepts connections; its port."""

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    running = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


@asynccontextmanager
async def started(config: Config, looks: list[None]) -> AsyncIterator[HealthChecks]:
    source = HealthChecks(config)
    await source.start(lambda: looks.append(None), ())
    try:
        yield source
    finally:
        await source.stop()


async def test_only_what_the_goal_names_is_checked() -> None:
    looks: list[None] = []
    async with server() as port, started(checking(port), looks) as source:
        assert source.contribute(Facts(health=(BARRED,)), 0.0).health == (BARRED,)
        assert not await source.apply(Facts(), Desired(uplinks=(LO,)), checking(port))
        (health,) = source.contribute(Facts(), 0.0).health
        assert (health.device, health.address, health.state) == ("lo", IPv4Address("127.0.0.1"), "unknown")
        await until(lambda: looks, "the verdict")
        (health,) = source.contribute(Facts(), 0.0).health
        assert health.state == "up"
        assert source.contribute(Facts(health=(BARRED,)), 0.0).health == (BARRED, health)
        (shown,) = source.status(Sections(), ("lo",), asyncio.get_running_loop().time()).health
        assert (shown.device, shown.state, [check.name for check in shown.checks]) == ("lo", "up", ["web"])
        assert 0.0 <= shown.since_s < 60.0
        await source.apply(Facts(), Desired(), checking(port))
        assert source.contribute(Facts(), 0.0).health == ()


async def test_the_reason_of_a_verdict_is_one_line() -> None:
    looks: list[None] = []
    gone = replace(LO, device="no\x1bne0")
    async with started(checking(9), looks) as source:
        await source.apply(Facts(), Desired(uplinks=(gone,)), checking(9))
        await until(lambda: looks, "the verdict")
        (health,) = source.contribute(Facts(), 0.0).health
        assert health.state == "down"
        assert health.reason.isprintable()


async def test_other_checks_count_from_the_next_pass_on() -> None:
    looks: list[None] = []
    async with server() as port, started(checking(port), looks) as source:
        goal = Desired(uplinks=(LO,))
        await source.apply(Facts(), goal, checking(port))
        await until(lambda: looks, "the verdict")
        none = Desired(uplinks=(LO,), settings={"lo": UplinkConfig("lo", checks=())})
        await source.apply(Facts(), none, checking(port))
        await until(lambda: source.contribute(Facts(), 0.0).health[0].state == "unknown", "no checks")


@pytest.mark.parametrize("wanted", [True, False])
async def test_what_a_stream_hears_is_evidence_if_that_is_wanted(wanted: bool) -> None:
    looks: list[None] = []
    config = checking(9, f"evidence = {str(wanted).lower()}\nhold_down = 0")
    async with started(config, looks) as source:
        await source.apply(Facts(), Desired(uplinks=(LO,)), config)
        for second in range(3):
            heard = stats(device="lo", address="127.0.0.1", silent_ms=5)
            source.tick(Traffic(engines=(EngineState("s", "sender", "running", stats=heard),)), second)
        assert [x.state for x in source.contribute(Facts(), 0.0).health] == ["up" if wanted else "unknown"]


class Receivers:
    """In the place of ReceiverProbes: what it was told, and what it says."""

    def __init__(self, *found: tuple[Key, Suspicion]) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.found = dict(found)

    def suspicions(self) -> dict[Key, Suspicion]:
        return self.found

    def tick(self, *told: Any) -> None:
        self.told.append(told)

    def configure(self, _policy: object) -> None:
        pass

    async def stop(self) -> None:
        pass


SENDER = '[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = ["127.0.0.9:5000", "localhost:5000"]\n'
KEY = ("lo", IPv4Address("127.0.0.1"), None)


@pytest.mark.parametrize(
    ("own", "more", "suspect", "proven"),
    [
        (None, "", {KEY: True}, {KEY}),
        (UplinkConfig("lo", checks=("gateway",)), "", {KEY: True}, set()),  # nothing beyond it is asked
        (UplinkConfig("lo", checks=()), "", {}, set()),  # it is never down
        (None, "evidence = false", {}, {KEY}),
    ],
)
async def test_which_uplinks_may_be_suspect(
    own: UplinkConfig | None, more: str, suspect: dict[Key, bool], proven: set[Key]
) -> None:
    looks: list[None] = []
    async with server() as port:
        config = parse(f"{checking_text(port, more)}{SENDER}")
        async with started(config, looks) as source:
            fake = Receivers()
            source._receivers = fake  # type: ignore[assignment]
            settings = {} if own is None else {"lo": own}
            await source.apply(Facts(), Desired(uplinks=(LO,), settings=settings), config)
            if own is None:
                await until(lambda: bool(looks), "the verdict")
            if more == "":
                await until(lambda: bool(source._names.answers), "the receiver's address")
            source.tick(Traffic(engines=(EngineState("s", "sender", "running", stats=stats()),)), 7.0)
    ((told_suspect, in_use, told_proven, senders, engines, addresses, now_s),) = fake.told
    assert (told_suspect, in_use, told_proven) == (suspect, [KEY], proven)
    assert (senders, [each.name for each in engines], now_s) == (config.sender, ["s"], 7.0)
    assert (IPv4Address("127.0.0.1") in addresses.get("localhost", ())) == (more == "")


async def test_a_gateway_that_waits_says_nothing_of_the_links(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(parse(f"{checking_text(9)}{SENDER}"), []) as source:
        fake = Receivers()
        source._receivers = fake  # type: ignore[assignment]
        used = UplinkHealth("lo", KEY[1], "up", checks=(CheckHealth("web", "failing"),))
        other = IPv4Address("127.0.0.2")
        checks = (CheckHealth("web", "ok"),)
        spare = UplinkHealth("lo", KEY[1], "down", checks=checks, gateway=other, spare=True)
        monkeypatch.setattr(source._monitor, "healths", lambda: (used, spare))
        source.tick(Traffic(), 7.0)
    waits = ("lo", KEY[1], other)
    assert [told[:3] for told in fake.told] == [({KEY: True, waits: False}, [KEY], {waits})]


async def test_without_a_sender_no_uplink_is_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was is forgotten: the sender may have gone by a reload."""
    async with started(checking(9), []) as source:
        fake = Receivers()
        source._receivers = fake  # type: ignore[assignment]
        monkeypatch.setattr(source._monitor, "healths", lambda: pytest.fail("each second"))
        source.tick(Traffic(), 7.0)
    assert [told[:3] for told in fake.told] == [({}, (), ())]


@pytest.mark.parametrize(("evidence", "poor"), [("true", True), ("false", False)])
async def test_what_streams_lose_is_a_part_of_the_verdict(evidence: str, poor: bool) -> None:
    looks: list[None] = []
    async with server() as port:
        config = checking(port, f"evidence = {evidence}\n")
        async with started(config, looks) as source:
            own = UplinkConfig("lo", degraded_loss=9.0)
            await source.apply(Facts(), Desired(uplinks=(LO,), settings={"lo": own}), config)
            await until(lambda: bool(looks), "the verdict")
            for second in range(7):
                lossy = stats(device="lo", address="127.0.0.1", loss_pct=10.0, bitrate_bps=10**6)
                source.tick(Traffic(engines=(EngineState("s", "sender", "running", stats=lossy),)), second)
            (health,) = source.contribute(Facts(), 0.0).health
    assert (health.state, health.poor) == (("degraded", True) if poor else ("up", False))


async def test_what_streams_show_is_a_part_of_the_verdict() -> None:
    async with started(checking(9), []) as source:
        await source.apply(Facts(), Desired(uplinks=(LO,)), checking(9))
        down = Suspicion(True, "receiver: silence", 5.0, CheckHealth("receiver", "failing"))
        source._receivers = Receivers((KEY, down))  # type: ignore[assignment]
        (health,) = source.contribute(Facts(), 0.0).health
        assert (health.state, health.reason, health.since) == ("down", "receiver: silence", 5.0)
        (shown,) = source.status(Sections(), ("lo",), 9.0).health
        assert (shown.state, [check.name for check in shown.checks]) == ("down", ["web", "receiver"])
        assert source.problems == []
        source._receivers = Receivers((KEY, replace(down, down=False, blocked=True)))  # type: ignore[assignment]
        assert source.problems == ["lo (127.0.0.1): receiver: silence"]
