"""A real SRT stream through the agent's own engine, and what happens to both when something is killed.

Four modems, two of them twins with the very same address, real DHCP leases, emulated radio links.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netbond.lab.lab import Lab
from netbond.lab.payload import Report
from netbond.lab.stream import Stream
from tests.netns.box import wait_for

pytestmark = [pytest.mark.root, pytest.mark.alone, pytest.mark.timeout(180)]

_numbers = itertools.count()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab with its agent and its receiver running."""
    lab = Lab(f"e{os.getpid()}x{next(_numbers)}", modems=4, twins=("usb2", "usb3"), receiver=True, agent=True)
    with lab:
        lab.wait_for_leases()
        wait_for(lambda: connected(lab), 10, "the sender is connected over all four links")
        yield lab


def engine(lab: Lab) -> dict[str, Any]:
    """The agent's one engine, as status shows it."""
    (found,) = lab.agent_status()["engines"]
    assert isinstance(found, dict)
    return found


def connected(lab: Lab, links: int = 4) -> bool:
    """Whether the sender has that many links up."""
    stats = engine(lab)["stats"] or {}
    return len([link for link in stats.get("links", ()) if link["state"] == "up"]) == links


def stream(lab: Lab, secs: float, at: float, event: Callable[[], None], mbps: float = 8.0) -> Report:
    """A stream, and an event in the middle of it."""
    running = Stream(lab, mbps=mbps, duration_s=secs, latency_ms=1000)
    done: list[bool] = []

    def tick() -> None:
        if not done and running.started and time.monotonic() - running.started >= at:
            done.append(True)
            event()

    report = running.run(tick)
    assert done
    assert report.trouble == ""
    return report


def test_a_modem_is_pulled_in_the_middle_of_a_stream(lab: Lab) -> None:
    report = stream(lab, 8, 3, lambda: lab.unplug("usb2"))
    assert report.lost == 0
    carried = {link["device"]: link["bytes"] for link in engine(lab)["stats"]["links"]}
    assert set(carried) == {"usb0", "usb1", "usb3"}
    assert min(carried.values()) > 500_000
    assert "usb2" not in lab.box_exec(["ip", "rule"], capture_output=True).stdout


def test_both_twins_carry_traffic_and_each_by_its_own_modem(lab: Lab) -> None:
    Stream(lab, mbps=8, duration_s=4).run()
    uplinks = {u["device"]: u for u in lab.agent_status()["uplinks"]}
    assert uplinks["usb2"]["address"] == uplinks["usb3"]["address"]
    for device in ("usb2", "usb3"):
        assert uplinks[device]["tx_bytes"] > 300_000
        assert lab.radio()[device]["up"]["bytes"] > 300_000


def test_an_engine_that_is_killed_is_back_and_the_stream_goes_on(lab: Lab) -> None:
    before = engine(lab)

    def kill() -> None:
        os.kill(before["pid"], signal.SIGKILL)
        wait_for(lambda: engine(lab)["pid"] not in (None, before["pid"]), 2.0, "another engine")

    report = stream(lab, 8, 3, kill)
    # What was on its way through the dead process is sent again when SRT asks for it; on a busy machine the
    # new one may be too late for some of it.
    assert report.lost <= report.sent * 0.02
    assert report.lost_ranges[-1:] == [] or report.lost_ranges[-1][1] < report.sent - 1000
    assert engine(lab)["restarts"] == 1


def test_an_agent_that_is_killed_and_started_again_takes_over(lab: Lab) -> None:
    agent = lab.process("agent")
    assert agent is not None
    rules = lab.box_exec(["ip", "rule"], capture_output=True).stdout
    engine_before = engine(lab)["pid"]

    def kill() -> None:
        os.kill(agent.pid, signal.SIGKILL)
        lab.start_agent()

    report = stream(lab, 10, 3, kill)
    # Nobody carries the stream while there is no agent; then the same SRT connection goes on.
    assert report.lost <= report.sent * 0.3
    assert report.lost_ranges[-1:] == [] or report.lost_ranges[-1][1] < report.sent - 1000
    assert lab.box_exec(["ip", "rule"], capture_output=True).stdout == rules
    wait_for(lambda: connected(lab), 5, "the new agent's sender is connected")
    assert engine(lab)["pid"] != engine_before
