"""Data plans that are spent: out of use from the first pass on, also after a restart."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.box import Box, heard, ip_monitor, wait_for
from tests.netns.udevbox import UdevBox

pytestmark = pytest.mark.root

# 2 MB out of one interface, to nobody.
SEND = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for _ in range(1500):
    sock.sendto(bytes(1400), ("255.255.255.255", 9))
"""


def plan(action: str, match: str = '"usb0"') -> str:
    return f'[[uplink]]\nmatch = {match}\nbudget = "1MB"\nbudget_action = "{action}"\n'


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
        yield box


def spend(box: Box, device: str) -> None:
    box.run(sys.executable, "-c", SEND, device)


def states(box: Box) -> dict[str, str]:
    return {uplink["device"]: uplink["state"] for uplink in box.status()["uplinks"]}


@pytest.mark.parametrize(("action", "state"), [("off", "spent"), ("backup", "standby")])
def test_spent_while_it_runs_and_after_each_kind_of_restart(box: Box, action: str, state: str) -> None:
    box.configure(plan(action))
    box.start()
    assert states(box) == {"usb0": "up", "usb1": "up"}
    spend(box, "usb0")
    wait_for(lambda: states(box) == {"usb0": state, "usb1": "up"}, 10, "the plan is spent")
    assert "dev usb0" not in box.table(222)
    assert "dev usb0" in box.table(100)
    if action == "off":
        wait_for(lambda: (box.folder / "ips").read_text().split() == ["10.0.1.10"], 5, "senders are told")
    wait_for((box.folder / "data/usage.json").exists, 5, "it is on the disk")
    box.stop()
    # A new interface of the old name counts from nothing; what was used before is known from the disk only.
    box.unplug("usb0")
    box.plug("usb0", 10, "10.0.0.10/24")
    watch = watch_table(box)
    box.start()
    assert states(box) == {"usb0": state, "usb1": "up"}
    assert "usb0" not in seen(watch, box.name)  # not for a moment
    box.stop(signal.SIGKILL)
    box.start()
    assert states(box) == {"usb0": state, "usb1": "up"}
    (metered,) = [m for m in box.status()["metered"] if m["device"] == "usb0"]
    assert metered["used_bytes"] >= 2_000_000


def test_killed_and_plugged_anew(box: Box) -> None:
    """What was counted since usage.json was written is not lost, nor written to the disk each time."""
    box.configure('[[uplink]]\nmatch = "usb0"\nbudget = "1GB"\n')
    box.start()
    saved, since = (box.folder / folder / "usage.json" for folder in ("data", "state"))
    wait_for(saved.exists, 5, "it is on the disk")
    before = saved.read_text()
    spend(box, "usb0")
    wait_for(lambda: since.exists() and used(since) > 2_000_000, 8, "it is kept")
    box.stop(signal.SIGKILL)
    box.unplug("usb0")
    box.plug("usb0", 10, "10.0.0.10/24")
    assert saved.read_text() == before
    box.start()
    (metered,) = [m for m in box.status()["metered"] if m["device"] == "usb0"]
    assert metered["used_bytes"] >= 2_000_000


def used(file: Path) -> int:
    return int(json.loads(file.read_text())["devices"]["usb0"]["used"])


def watch_table(box: Box) -> subprocess.Popen[str]:
    """What happens to the ECMP table from now on."""
    return ip_monitor(box.name, "monitor", "route", "rule")


def seen(watch: subprocess.Popen[str], namespace: str) -> str:
    lines = [line for line in heard(watch, namespace) if "table 222" in line]
    assert lines  # it can see
    return "".join(lines)


def test_all_spent_still_leads_out(box: Box) -> None:
    box.configure(plan("off", '"usb*"'))
    box.start()
    for device in ("usb0", "usb1"):
        spend(box, device)
    wait_for(lambda: [m["level"] for m in box.status()["metered"]] == ["spent"] * 2, 10, "both are spent")
    wait_for(lambda: set(states(box).values()) == {"up"}, 5, "both are used")
    assert "dev usb0" in box.table(222)
    assert "dev usb1" in box.table(222)


def test_a_plan_that_goes_with_the_port_counts_from_the_first_pass_on(tmp_path: Path) -> None:
    """Which [[uplink]] is whose is known before anything is decided, if udev knows it."""
    with UdevBox(tmp_path) as box, Agent(tmp_path, box.name, box.inside) as agent:
        box.start_udevd()
        for device, group, number in (("usb0", "12", 0), ("usb1", "13", 1)):
            box.plug(device, group)
            for name in (device, f"p-{device}"):
                agent.ip("link", "set", name, "up")
            agent.ip("addr", "add", f"10.0.{number}.10/24", "dev", device)
            agent.ip(
                "route", "add", "default", "via", f"10.0.{number}.1", "dev", device, "metric", str(number + 1)
            )
        box.settle()
        agent.configure(plan("off", '{path = "*usb-0:1.2:*"}'))
        agent.start()
        subprocess.run(box.inside(sys.executable, "-c", SEND, "usb0"), check=True)
        wait_for(lambda: agent.uplinks()["usb0"]["state"] == "spent", 10, "spent")
        agent.stop()
        monitor = ip_monitor(box.name, "monitor", "route", "rule")
        agent.start()
        assert agent.uplinks()["usb0"]["state"] == "spent", json.dumps(agent.status())
        assert "usb0" not in seen(monitor, box.name)
