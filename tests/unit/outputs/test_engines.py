"""The engines as real child processes: which run, and which links senders are told of."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import Config, ReceiverConfig, SenderConfig
from netbond.config.values import HostPort
from netbond.desired import desired
from netbond.engines.supervisor import Supervisor
from netbond.model import Address, Facts, Health, Interface
from netbond.outputs import engines
from netbond.outputs.engines import Engines
from netbond.problems import Problem
from tests.buses import until
from tests.unit.boxes import box
from tests.unit.places import agent_in

SENDER = SenderConfig(listen=HostPort("127.0.0.1", 6000), receiver=HostPort("bond.example.org", 5000))
RECEIVER = ReceiverConfig(listen=HostPort("::", 5000), srt=HostPort("127.0.0.1", 5002))

# Started as: python -I CHILD FOLDER send|recv --control-fd N ...; notes what it hears on the channel.
CHILD = """
import json, os, pathlib, socket, sys
folder, role, fd = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[4])
channel = socket.socket(fileno=fd)
for number, line in enumerate(channel.makefile("r")):
    with (folder / f"heard-by-{role}").open("a") as heard:
        heard.write(line)
    if not number:
        channel.sendall(b'{"ready": true}\\n')
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A sender and a receiver, which are such children."""
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    program = [sys.executable, "-I", str(child), str(tmp_path)]
    monkeypatch.setattr(engines, "Supervisor", functools.partial(Supervisor, program=program))
    return Config(agent=agent_in(tmp_path), sender=(SENDER,), receiver=(RECEIVER,))


def told(folder: Path) -> list[list[dict[str, object]]]:
    """Each list of links that the sender was sent."""
    path = folder / "heard-by-send"
    lines = path.read_text().splitlines() if path.exists() else []
    return [message["links"] for message in map(json.loads, lines) if "links" in message]


async def test_that_they_run_as_nobody_is_said_once(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    problem = Problem("engine-user", "engines run as nobody", "netbond", "make it")
    monkeypatch.setattr(engines, "engine_user", lambda configured: ("nobody", problem))
    output = Engines(config, lambda: None)
    await output.run()
    try:
        for _ in range(2):
            assert await output.apply(Facts(), desired(Facts(), config), config) == (problem,)
        without = replace(config, sender=(), receiver=())
        assert await output.apply(Facts(), desired(Facts(), without), without) == ()
    finally:
        await output.stop()
    assert caplog.text.count("engines run as nobody; make it") == 1


async def test_they_run_from_the_first_pass_on_until_they_are_stopped(config: Config, tmp_path: Path) -> None:
    changes: list[None] = []
    output, facts = Engines(config, lambda: changes.append(None)), box("usb0")
    assert await output.apply(facts, desired(facts, config), config) == ()
    assert [(each.name, each.pid) for each in output.states()] == [
        ("sender 127.0.0.1:6000", None),
        ("receiver [::]:5000", None),
    ]
    await output.run()
    await until(lambda: all(each.state == "running" for each in output.states()), "both are ready")
    assert changes
    changes.clear()
    await output.apply(facts, desired(facts, config), config)
    await asyncio.sleep(0.02)
    assert changes == []  # nothing is rearranged
    pids = [each.pid for each in output.states()]
    await output.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert json.loads((tmp_path / "heard-by-recv").read_text()) == {"resume": {}}  # and no links


async def test_senders_are_told_of_the_uplinks_with_family_and_order(config: Config, tmp_path: Path) -> None:
    six = Address("usb0", ipaddress.IPv6Interface("2001:db8::5/64"))
    read = box("usb0", "usb1", "usb2")
    read = replace(read, health=(Health("usb1", 4, "down", "silent"),))
    goal = desired(read, config)
    usb0 = goal.uplinks[0]
    more = replace(usb0, address=six.interface, gateway=None, priority=5, streams=False, metered=True)
    goal = replace(goal, uplinks=(*goal.uplinks, more))
    output = Engines(config, lambda: None)
    await output.apply(read, goal, config)
    await output.run()
    await until(lambda: told(tmp_path), "the links")
    (links,) = told(tmp_path)
    assert [
        (x["label"], x["address"], x["device"], x["priority"], x["enabled"], x["metered"]) for x in links
    ] == [
        ("usb0", "10.0.0.10", "usb0", 0, True, False),
        ("usb1", "10.0.1.10", "usb1", 0, True, False),  # dead, but the engine is the first to hear of life
        ("usb2", "10.0.2.10", "usb2", 0, True, False),
        ("usb0/6", "2001:db8::5", "usb0", 5, False, True),
    ]
    await output.apply(read, goal, config)
    down = replace(
        read, interfaces=(*read.interfaces[:3], Interface("usb2", read.interfaces[3].index, carrier=False))
    )
    await output.apply(down, desired(down, config), config)
    await until(lambda: len(told(tmp_path)) == 2, "fewer links, and the same ones not again")
    assert [x["label"] for x in told(tmp_path)[1]] == ["usb0", "usb1"]
    await output.stop()


async def test_a_reload_ends_starts_and_leaves_alone(config: Config) -> None:
    output = Engines(config, lambda: None)
    await output.apply(Facts(), desired(Facts(), config), config)
    await output.run()
    await until(lambda: all(each.state == "running" for each in output.states()), "both are ready")
    sender, receiver = output.states()
    other = replace(SENDER, listen=HostPort("127.0.0.1", 6001))
    for senders in ((), (SENDER, other)):  # the second comes while the first is under way
        new = replace(config, sender=senders, receiver=(RECEIVER,))
        assert await output.apply(Facts(), desired(Facts(), new), new) == ()
    await until(
        lambda: (
            [each.name for each in output.states() if each.state == "running"]
            == ["sender 127.0.0.1:6000", "sender 127.0.0.1:6001", "receiver [::]:5000"]
        ),
        "what the last one wants",
    )
    assert output.states()[2].pid == receiver.pid
    assert sender.pid is not None
    await output.stop()
