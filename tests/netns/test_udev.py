"""Real udevd: ports, swaps, renames; udevd absent, late, killed and started again."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netbond.config.load import parse
from netbond.match import Choice, choose, label_tables
from netbond.model import Device
from tests.netns.box import wait_for
from tests.netns.udevbox import UdevBox

pytestmark = pytest.mark.root

CONFIG = parse(
    """
    [[uplink]]
    match = {path = "*usb-0:1.2:*"}
    label = "left"
    weight = 2
    [[uplink]]
    match = {path = "*usb-0:1.3:*", vendor = "12d1"}
    label = "right"
    table = 150
    """
)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[UdevBox]:
    with UdevBox(tmp_path) as box:
        yield box


def now(box: UdevBox) -> dict[str, Any]:
    """What the watcher said last."""
    last: dict[str, Any] = json.loads(box.lines()[-1])
    return last


def ports(box: UdevBox) -> dict[str, str]:
    """The port of each modem, where it is known."""
    return {
        name: device.get("path", "").rpartition("usb-0:")[2]
        for name, device in now(box)["devices"].items()
        if not name.startswith("p-")
    }


def expect(box: UdevBox, expected: dict[str, str], seconds: float = 5) -> float:
    return wait_for(lambda: ports(box) == expected, seconds, f"{expected}, not {box.lines()[-1:]}")


def chosen(box: UdevBox) -> Choice:
    """What the configuration makes of what udev says."""
    return choose([Device(name, **facts) for name, facts in now(box)["devices"].items()], CONFIG)


def test_a_modem_is_known_by_its_port(box: UdevBox) -> None:
    box.start_udevd()
    box.start_probe()
    box.plug("usb0", "12")
    expect(box, {"usb0": "1.2:1.0"})
    found = now(box)
    assert found["problem"] == ""
    assert found["devices"]["usb0"] == {
        "path": "pci-0000:00:14.0-usb-0:1.2:1.0", "vendor": "12d1", "model": "14db",
        "serial": "0123456789ABCDEF", "driver": "veth", "mac": "0c:5b:8f:27:9a:64", "bus": "usb",
    }  # fmt: skip
    box.unplug("usb0")
    expect(box, {})


def test_the_same_modem_in_another_port(box: UdevBox) -> None:
    box.start_udevd()
    box.start_probe()
    box.plug("usb0", "12")
    expect(box, {"usb0": "1.2:1.0"})
    assert chosen(box).labels["usb0"] == "left"
    assert chosen(box).settings["usb0"].weight == 2
    box.unplug("usb0")
    box.plug("usb0", "13")
    expect(box, {"usb0": "1.3:1.0"})
    assert chosen(box).labels["usb0"] == "right"
    assert chosen(box).settings["usb0"].table == 150


def test_two_alike_swapped(box: UdevBox) -> None:
    """Same maker, model, serial number and MAC address; and the kernel's names go the other way round."""
    box.start_udevd()
    box.plug("usb0", "12")
    box.plug("usb1", "13")
    box.settle()
    box.start_probe()
    expect(box, {"usb0": "1.2:1.0", "usb1": "1.3:1.0"})
    left = label_tables(CONFIG)["left"]
    tables = {name: setting.table for name, setting in chosen(box).settings.items()}
    assert tables == {"usb0": left, "usb1": 150}
    box.unplug("usb0")
    box.unplug("usb1")
    box.plug("usb0", "13")
    box.plug("usb1", "12")
    expect(box, {"usb0": "1.3:1.0", "usb1": "1.2:1.0"})
    choice = chosen(box)
    assert {name: setting.table for name, setting in choice.settings.items()} == {"usb1": left, "usb0": 150}
    assert choice.problems == ()
    assert {choice.labels[name] for name in ("usb0", "usb1")} == {"left", "right"}


def test_udev_renames_an_interface(box: UdevBox) -> None:
    box.start_udevd()
    box.start_probe()
    box.plug("eth0", "99")
    expect(box, {"enx0c5b8f279a64": "1.9:1.0"})


def test_without_udevd(box: UdevBox) -> None:
    box.start_probe()
    wait_for(lambda: "udevd does not run" in now(box)["problem"], 5, "it says so")
    box.plug("usb0", "12")
    wait_for(lambda: "usb0" in now(box)["devices"], 5, "usb0 is seen")
    wait_for(lambda: now(box)["devices"]["usb0"] == {"mac": "0c:5b:8f:27:9a:64"}, 5, "and its address")
    assert chosen(box).labels["usb0"] == "usb0"


def test_udevd_comes_late(box: UdevBox) -> None:
    box.start_probe()
    box.plug("usb0", "12")
    wait_for(lambda: "usb0" in now(box)["devices"], 5, "usb0 is seen")
    box.start_udevd()
    wait_for(lambda: now(box)["problem"] == "", 10, "udevd is noticed")
    box.plug("usb1", "13")
    expect(box, {"usb0": "", "usb1": "1.3:1.0"})
    # What was there before, udev learns when it is told to (systemd-udev-trigger.service).
    box.trigger("usb0")
    expect(box, {"usb0": "1.2:1.0", "usb1": "1.3:1.0"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_udevd_is_restarted(box: UdevBox, number: signal.Signals) -> None:
    box.start_udevd()
    box.start_probe()
    box.plug("usb0", "12")
    expect(box, {"usb0": "1.2:1.0"})
    box.stop_udevd(number)
    box.plug("usb1", "13")
    wait_for(lambda: "usb1" in now(box)["devices"], 5, "usb1 is seen")
    assert ports(box)["usb0"] == "1.2:1.0"  # the database is still there
    box.start_udevd()
    box.trigger("usb1")
    expect(box, {"usb0": "1.2:1.0", "usb1": "1.3:1.0"}, 10)
    box.unplug("usb0")
    box.plug("usb0", "13")
    expect(box, {"usb0": "1.3:1.0", "usb1": "1.3:1.0"})
    assert chosen(box).problems == (
        "[[uplink]] path=*usb-0:1.3:* vendor=12d1 fits usb0 and usb1: usb0 has label 'right', being first by"
        " port; a narrower path tells them apart",
    )


def test_a_watcher_that_was_held_up_arrives_at_what_is_there(box: UdevBox) -> None:
    box.start_udevd()
    box.start_probe()
    box.plug("usb0", "12")
    expect(box, {"usb0": "1.2:1.0"})
    assert box.probe is not None
    box.probe.send_signal(signal.SIGSTOP)
    box.unplug("usb0")
    box.plug("usb0", "13")
    for _ in range(20):
        box.trigger("usb0", "p-usb0")
    box.settle()
    box.probe.send_signal(signal.SIGCONT)
    expect(box, {"usb0": "1.3:1.0"})
