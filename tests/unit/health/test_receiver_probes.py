"""The agent's probes of receivers, as tasks; test_suspects.py tells whose fault a silent link is."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from netbond.config.load import parse
from netbond.config.schema import CheckConfig, SenderConfig
from netbond.config.targets import Target
from netbond.health.judge import Answer, Outcome
from netbond.health.probes import ProbedUplink
from netbond.health.receiver_probes import ReceiverProbes
from netbond.health.report import Key
from netbond.model import EngineState
from tests.buses import until
from tests.unit.health.test_stream_evidence import LINK, stats

USB0, USB1 = ((f"usb{n}", ipaddress.ip_address(f"10.0.{n}.10"), None) for n in range(2))
AT = "198.51.100.1"
QUICK = parse("[health]\ndown_after = 1\nup_after = 1\nhold_down = 0").health


def sender(receiver: str) -> SenderConfig:
    (found,) = parse(f'[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "{receiver}"').sender
    return found


def engine(receiver: str, state: str = "running") -> EngineState:
    """usb0 hears the receiver, and usb1 has been silent for 9 s."""
    heard = replace(LINK, silent_ms=5, receiver_address=AT)
    silent = replace(heard, address="10.0.1.10", device="usb1", silent_ms=9000)
    said = replace(stats(), receiver=receiver, links=(heard, silent))
    return EngineState("sender 127.0.0.1:6000", "sender", state, stats=said)


class Asked:
    """What is asked; usb1 is dead, or where `alive` is set, not."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, str, str, int]] = []
        self.alive = False
        self.fail = False

    async def __call__(self, check: CheckConfig, target: Target, uplink: ProbedUplink) -> Answer:
        self.questions.append((check.kind, uplink.device, target.host, target.port))
        if self.fail:
            raise RuntimeError("a bug")
        answers = self.alive or uplink.device == "usb0"
        return Answer(target.text, Outcome.ANSWERED if answers else Outcome.FAILED, None, "silence")


@asynccontextmanager
async def probing(asked: Asked, looks: list[None]) -> AsyncIterator[ReceiverProbes]:
    probes = ReceiverProbes(QUICK, lambda: looks.append(None), random=lambda: 0.0, ask=asked)
    yield probes
    await probes.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def tick(probes: ReceiverProbes, *engines: EngineState, host: str = AT, proven: tuple[Key, ...] = ()) -> None:
    names = {"bond.example": (ipaddress.ip_address(AT), ipaddress.ip_address("2001:db8::1"))}
    now = asyncio.get_running_loop().time()
    probes.tick({USB0: True, USB1: True}, (USB0, USB1), proven, [sender(f"{host}:5000")], engines, names, now)


@pytest.mark.parametrize("host", [AT, "bond.example"])
async def test_down_and_up_again(host: str, caplog: pytest.LogCaptureFixture) -> None:
    asked, looks = Asked(), list[None]()
    async with probing(asked, looks) as probes:
        tick(probes, engine(f"{host}:5000"), host=host)
        await until(lambda: looks, "usb1 is down")
        assert sorted(asked.questions) == [
            ("icmp", "usb1", AT, 5000),
            ("srtla", "usb0", AT, 5000),
            ("srtla", "usb1", AT, 5000),
        ]
        (found,) = probes.suspicions().items()
        assert (found[0], found[1].down) == (USB1, True)
        asked.alive = True
        tick(probes, replace(engine(f"{host}:5000"), stats=None), host=host)
        assert len(looks) == 1
        heard = engine(f"{host}:5000")
        assert heard.stats is not None
        links = tuple(replace(link, silent_ms=5) for link in heard.stats.links)  # type: ignore[union-attr]
        tick(probes, replace(heard, stats=replace(heard.stats, links=links)), host=host)  # type: ignore[arg-type]
        assert len(looks) == 2
        assert probes.suspicions() == {}
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "usb1 (10.0.1.10) leads nowhere, as its stream shows: receiver: silence, but through usb0",
        "usb1 (10.0.1.10) leads somewhere again",
    ]


@pytest.mark.parametrize(
    "of",
    [
        engine(f"{AT}:5000", state="backing off"),
        engine("192.0.2.66:5000"),  # an engine cannot choose whom the agent asks
        EngineState("sender 127.0.0.1:6001", "sender", "running", stats=engine(f"{AT}:5000").stats),
        EngineState("sender 127.0.0.1:6000", "sender", "running"),
    ],
)
async def test_what_makes_nobody_suspect(of: EngineState) -> None:
    asked = Asked()
    async with probing(asked, []) as probes:
        for _ in range(3):
            tick(probes, of)
            await asyncio.sleep(0)
        assert asked.questions == []


async def test_a_check_that_passes_is_asked_for_when_the_answers_are_there() -> None:
    asked, looks = Asked(), list[None]()
    async with probing(asked, looks) as probes:
        tick(probes, engine(f"{AT}:5000"), proven=(USB1,))
        await until(lambda: bool(probes.suspicions()), "the answers")
        assert probes.suspicions()[USB1].blocked
        assert looks == []


async def test_a_bug_takes_no_uplink_out() -> None:
    asked, looks = Asked(), list[None]()
    asked.fail = True
    async with probing(asked, looks) as probes:
        tick(probes, engine(f"{AT}:5000"))
        await until(lambda: asked.questions, "it is asked")
        await asyncio.sleep(0.01)
        assert probes.suspicions() == {}
        assert looks == []


async def test_another_policy_begins_anew() -> None:
    asked, looks = Asked(), list[None]()
    async with probing(asked, looks) as probes:
        tick(probes, engine(f"{AT}:5000"))
        await until(lambda: looks, "usb1 is down")
        probes.configure(QUICK)
        assert probes.suspicions()[USB1].down
        probes.configure(replace(QUICK, timeout=1.0))
        assert probes.suspicions() == {}
