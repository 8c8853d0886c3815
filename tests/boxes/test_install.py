"""Installing, using, breaking, upgrading, restarting and removing, by the documentation's own commands."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.lab.lab import Lab
from netbond.lab.stream import Stream
from tests.boxes.container import Container, booted

DOCS = (Path(__file__).parents[2] / "docs" / "install.md").read_text(encoding="utf-8")
IFUPDOWN = "".join(f"allow-hotplug usb{n}\niface usb{n} inet dhcp\n" for n in range(2))
HOTPLUG = "".join(f"auto usb{n}\n" for n in range(2)) + IFUPDOWN
NM = "[main]\nplugins=keyfile\n[device-all]\nmatch-device=interface-name:usb*\nmanaged=1\n"
BOXES = {
    "bookworm": {"etc/network/interfaces": HOTPLUG},
    "bookworm-nm": {"etc/NetworkManager/conf.d/usb.conf": NM},
    "trixie": {"etc/network/interfaces": HOTPLUG},
    # Without udev dhcpcd must be told not to wait for it. In a container whose kernel's file systems are
    # writable, the unit's ProtectSystem=strict is in force only without ProtectControlGroups.
    "trixie-dhcpcd": {
        "etc/dhcpcd.conf": "allowinterfaces usb*\nnodev\nnogateway\n",
        "etc/systemd/system/dhcpcd.service.d/test.conf": "[Service]\nProtectControlGroups=no\n",
    },
}

World = tuple[Lab, Container, Container]


def commands(title: str) -> list[str]:
    """The commands under this title of docs/install.md; the checkout becomes the wheel of it."""
    text = DOCS.partition(f"\n## {title}\n")[2]
    assert text, title
    block = re.search("```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    lines = (line for line in block[1].splitlines() if line and not line.startswith("apt-get"))
    return [line.replace("/path/to/the/checkout", "netbond") for line in lines]


def do(container: Container, title: str, **changes: str) -> str:
    """Run the commands under this title; what they printed."""
    said = ""
    for line in commands(title):
        command = line
        for old, new in changes.items():
            command = command.replace(old, new)
        said += container.run(command)
    return said


def bring_wheels(container: Container, state: Path) -> None:
    shutil.copytree(state / "wheels", container.folder / "root" / "wheels")


@pytest.fixture(params=list(BOXES))
def world(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> Iterator[World]:
    """A lab, a box of this system in it, and a server in its internet."""
    lab = Lab(f"nbb{os.getpid()}", 2, receiver=False, dhcp=False)
    system = state / request.param
    with (
        lab,
        booted(system, tmp_path, "box", lab.topology.box, BOXES[request.param]) as box,
        booted(state / "bookworm", tmp_path, "server", lab.topology.net, {}) as server,
    ):
        for container in (box, server):
            bring_wheels(container, state)
        yield lab, box, server


def stream(lab: Lab, seconds: float) -> tuple[int, int]:
    """Packets sent and lost of a stream through the box's sender and the server's receiver."""
    for key, where in (("agent", lab.topology.box), ("receiver", lab.topology.net)):
        lab.start(key, where, ["sleep", "600"])  # stands for the process in the container
    report = Stream(lab, mbps=6.0, duration_s=seconds).run()
    lab.stop("agent", "receiver")
    return report.sent, report.lost


def test_from_nothing_to_a_stream_and_back(world: World) -> None:
    lab, box, server = world
    box.until("ip -4 -o address show dev usb1", "inet ")
    before = box.snapshot()
    server_before = server.snapshot()

    do(server, "The program")
    do(server, "A receiver", **{"127.0.0.1:4001": "127.0.0.1:5002"})
    do(box, "The program")
    installed = do(box, "A box", **{"bond.example.org:5000": "203.0.113.10:5000"})

    if "dhcpcd.service" in installed:  # as the command says
        box.run("systemctl restart dhcpcd")

    server.until("systemctl is-active netbond-recv", "active")
    box.until("netbond status --check", "2 links")
    sent, lost = stream(lab, 10.0)
    assert sent > 5000
    assert lost == 0
    assert json.loads(box.run("netbond status --json"))["uplinks"]

    # A modem goes and comes back.
    lab.unplug("usb0")
    box.until("netbond status --check", "usb0 unplugged")
    lab.plug("usb0")

    # Again, and after an upgrade: the service is neither lost nor needlessly restarted.
    pid = box.run("systemctl show --value -p MainPID netbond")
    assert "all files are as they should be" in box.run("netbond install")
    assert box.run("systemctl show --value -p MainPID netbond") == pid
    box.run("systemctl restart netbond")
    do(box, "Again, after an upgrade")

    box.stop()
    box.start()
    box.until("netbond status --check", "2 links", 60.0)

    do(box, "Taking it away", **{"netbond uninstall": "netbond uninstall --purge"})
    server.run("netbond uninstall --purge; rm -r /opt/netbond")
    assert differences(before, box.snapshot()) == {}
    assert differences(server_before, server.snapshot()) == {}
    for container in (box, server):
        for command, seconds in container.times:
            print(f"{container.name:7} {seconds:6.1f} s  {command}")


def differences(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What is not as it was."""
    return {
        key: (before.get(key, "not there"), after.get(key, "not there"))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }
