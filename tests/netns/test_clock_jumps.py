"""The wall clock jumps by hours and years while an agent runs; routing, plans and what is set do not notice.

The agent's wall clock is a number in a file, and so is whether a time server has set it. The machine's own
clock is left alone, and so are the clocks that count since boot, by which netbond decides.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from netbond.status.control import request
from tests.netns.box import Box, ip_monitor, wait_for
from tests.netns.test_agent_hooks import hook

pytestmark = pytest.mark.root

# Python runs this file at its start.
WALL_CLOCK = """
import time
real = time.time
def said():
    with open({path!r}) as file:
        return file.read().split()
def wall():
    return real() + float(said()[0])
time.time = wall
import netbond.sources.data_plans
netbond.sources.data_plans._adjtimex = lambda: int(said()[1])
"""

SYNCHRONISED, NOT_SYNCHRONISED = 0, 5  # as adjtimex(2) says
HOUR, YEAR = 3600.0, 366 * 86400.0
PLAN = '[[uplink]]\nmatch = "usb0"\nbudget = "1GB"\n'


class ClockedBox(Box):
    """A box whose wall clock the test sets."""

    def __enter__(self) -> ClockedBox:
        super().__enter__()
        site = self.folder / "site"
        site.mkdir()
        self._clock = self.folder / "clock"
        (site / "sitecustomize.py").write_text(WALL_CLOCK.format(path=str(self._clock)))
        self.environment["PYTHONPATH"] = f"{site}:{Path(__file__).parents[2]}"
        return self

    def jump(self, to: float, state: int = NOT_SYNCHRONISED) -> None:
        """Set the wall clock to this Unix time."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{to - time.time()} {state}")
        new.replace(self._clock)

    def ask(self, command: str, **more: object) -> dict[str, Any]:
        reply = request(self.folder / "control.sock", {"command": command, **more}, timeout=20.0)
        assert reply["ok"], reply
        return reply


@pytest.fixture
def box(tmp_path: Path) -> Iterator[ClockedBox]:
    with ClockedBox(tmp_path) as box:
        for number in range(3):
            box.plug(f"usb{number}", number, default=number != 2)
        box.configure(PLAN)
        yield box


def ticks(box: ClockedBox) -> None:
    """Wait until the agent has counted, as it does once a second."""
    before = box.status()["agent"]["uptime_s"]
    end = time.monotonic() + 30
    while box.status()["agent"]["uptime_s"] < before + 1.2:
        assert time.monotonic() < end
        time.sleep(0.3)


def test_the_wall_clock_jumps(box: ClockedBox) -> None:
    now = datetime(2026, 12, 15, 12, tzinfo=UTC).timestamp()  # in the middle of a month
    box.jump(10.0)  # a box without a battery: 1970
    box.start()
    hook(box, 2)
    wait_for(lambda: len(box.status()["uplinks"]) == 3, 10, "three uplinks")
    box.ask("set", uplink="usb1", what="mode", value="off", for_s=HOUR, by="somebody")
    wait_for(lambda: "usb1" not in box.table(222), 10, "usb1 is off")
    before = box.state()
    monitor = ip_monitor(box.name, "monitor", "route", "rule", "nexthop")
    try:
        used = 0
        for to, state in (
            (now, SYNCHRONISED),
            (now + 10 * YEAR, NOT_SYNCHRONISED),
            (now - HOUR, SYNCHRONISED),
            (20.0, NOT_SYNCHRONISED),
            (now, SYNCHRONISED),
        ):
            box.jump(to, state)
            box.run("ping", "-c", "1", "-I", "usb0", "10.0.0.1")  # the plan counts
            ticks(box)
            status = box.status()
            assert {u["device"]: u["state"] for u in status["uplinks"]} == {
                "usb0": "up", "usb1": "off", "usb2": "up",
            }  # fmt: skip
            (override,) = status["overrides"]
            assert HOUR - 900 < override["left_s"] <= HOUR
            (plan,) = (each for each in status["metered"] if each["device"] == "usb0")
            if state == SYNCHRONISED:  # a month that another clock opens is closed again
                assert plan["used_bytes"] > used
                used = plan["used_bytes"]
            assert plan["verdict"] == "normal"
            assert box.state() == before
        monitor.kill()
        assert monitor.stdout is not None
        assert [line for line in monitor.stdout if "proto netbond" in line or "proto 78" in line] == []
    finally:
        monitor.kill()
        monitor.wait()
        assert monitor.stdout is not None
        monitor.stdout.close()
