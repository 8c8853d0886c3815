"""Loss and delay of emulated radio links: an uplink leaves the shared default, and stays in the bond."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator

import pytest

from netbond.lab.lab import Lab
from netbond.lab.topology import RECEIVER

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_numbers = itertools.count()

CHECKS = f"""
[health]
checks = ["gateway", "far"]
interval = 0.2
timeout = 0.5
down_after = 30                       # a lossy link is no dead one
degraded_loss = 20
recovery_loss = 8
degraded_rtt = 0.2
recovery_rtt = 0.1
check_quality = true
hold_down = 0
evidence = false
[[check]]
name = "far"
kind = "icmp"
targets = ["{RECEIVER}"]
"""
STREAMS = """
[health]
degraded_rtt = 0.2
recovery_rtt = 0.1
check_quality = true
hold_down = 0
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(f"q{os.getpid()}x{next(_numbers)}", modems=2, receiver=True) as lab:
        lab.wait_for_leases()
        yield lab


def start(lab: Lab, config: str) -> None:
    lab.config.write_text(lab.config.read_text() + config)
    lab.start_agent()


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + 4 * seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def states(lab: Lab) -> tuple[list[str], set[str]]:
    """The states of the uplinks, and the legs of the shared default."""
    shown = lab.box_exec(["ip", "route", "show", "table", "222"], capture_output=True).stdout
    legs = {device for device in ("usb0", "usb1") if f"dev {device}" in shown}
    return [uplink["state"] for uplink in lab.agent_status()["uplinks"]], legs


BOTH = (["up", "up"], {"usb0", "usb1"})
ONE = (["up", "degraded"], {"usb0"})


def verdicts(lab: Lab) -> list[str]:
    return [health["state"] for health in lab.agent_status()["health"]]


def test_by_probes(lab: Lab) -> None:
    start(lab, CHECKS)
    until(lambda: verdicts(lab) == ["up", "up"], 10, "both are checked")
    assert states(lab) == BOTH
    lab.impair("usb1", "loss=30")  # each way: half of the answers are missing
    until(lambda: states(lab) == ONE, 15, "usb1 loses too much")

    def loses() -> bool:
        (reason,) = (up["reason"] for up in lab.agent_status()["uplinks"] if up["state"] == "degraded")
        return str(reason).startswith("far: ") and "% of the last answers missing" in reason

    until(loses, 5, "and it is said")
    addresses = {uplink["address"] for uplink in lab.agent_status()["uplinks"]}
    listed = next(line for line in lab.config.read_text().splitlines() if line.startswith("ip_list"))
    with open(listed.split('"')[1], encoding="ascii") as file:  # noqa: PTH123 - as the configuration has it
        assert set(file.read().split()) == addresses  # it is still for senders
    explained = lab.box_exec(
        ["netbond", "explain", RECEIVER, "--config", str(lab.config)], capture_output=True
    ).stdout
    assert "not in the shared default: usb1 is degraded (far: " in explained

    lab.impair("usb0", "loss=30")
    until(lambda: states(lab) == BOTH, 15, "if both are degraded none leaves")
    until(lambda: verdicts(lab) == ["degraded", "degraded"], 15, "both are")
    lab.impair("usb0", "clear")
    until(lambda: states(lab) == ONE, 15, "usb0 is good again")

    lab.impair("usb1", "clear", "delay=150")
    until(lambda: "answers take" in str(lab.agent_status()["uplinks"]), 15, "usb1 is late, and loses nothing")
    lab.impair("usb1", "delay=75")  # between both thresholds
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert states(lab) == ONE
        time.sleep(0.3)
    lab.impair("usb1", "clear")
    until(lambda: states(lab) == BOTH, 15, "usb1 is back")


def test_by_what_a_stream_measures(lab: Lab) -> None:
    """The gateway is all that is asked; it is near, and hears nothing of the delay behind it."""
    start(lab, STREAMS)
    until(lambda: verdicts(lab) == ["up", "up"], 10, "both are checked")
    lab.impair("usb1", "delay=200")
    until(lambda: states(lab) == ONE, 20, "usb1 is late")
    uplinks = lab.agent_status()["uplinks"]
    assert uplinks[1]["reason"].startswith("stream: answers take ")

    def links() -> list[str]:
        (engine,) = lab.agent_status()["engines"]
        return [link["state"] for link in engine["stats"]["links"]]

    until(lambda: links() == ["up", "up"], 5, "both stay in the bond")
    lab.impair("usb1", "clear")
    until(lambda: states(lab) == BOTH, 20, "it is back")
