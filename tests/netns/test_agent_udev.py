"""The agent with a real udevd: labels, tables and weights follow the port, and so do the kernel's routes."""

import signal
from collections.abc import Iterator

import pytest

from tests.netns.agents import Agent
from tests.netns.box import wait_for
from tests.netns.udevbox import UdevBox

pytestmark = pytest.mark.root


class Box(UdevBox):
    """With an agent, and modems that have addresses."""

    agent: Agent

    def modem(self, device: str, group: str, number: int) -> None:
        """A modem in a port, with an address and a default in main, as a DHCP client leaves them."""
        self.plug(device, group)
        for name in (device, f"p-{device}"):
            self.agent.ip("link", "set", name, "up")
        self.agent.ip("address", "add", f"10.0.{number}.10/24", "dev", device)
        words = ["default", "via", f"10.0.{number}.1", "dev", device, "metric", str(100 + number)]
        self.agent.ip("route", "add", *words)

    def start_agent(self, uplinks: str) -> None:
        self.agent.configure(uplinks)
        self.agent.start()

    def uplinks(self) -> dict[str, tuple[str, int, int]]:
        """Label, table and weight of each."""
        return {d: (u["name"], u["table"], u["weight"]) for d, u in self.agent.uplinks().items()}

    def comes_to(self, expected: dict[str, tuple[str, int, int]]) -> None:
        wait_for(lambda: self.uplinks() == expected, 10, f"{expected}, not {self.uplinks()}")

    def has_default(self, table: int, number: int, device: str) -> None:
        expected = f"default via 10.0.{number}.1 dev {device}"
        wait_for(lambda: expected in self.agent.table(table), 10, f"{expected} in table {table}")


@pytest.fixture
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("a")
    with Box(folder) as box, Agent(folder, box.name, box.inside) as agent:
        box.agent = agent
        yield box


UPLINKS = """
[[uplink]]
match = {path = "*usb-0:1.2:*"}
label = "left"
table = 160
weight = 2
[[uplink]]
match = {path = "*usb-0:1.3:*"}
label = "right"
table = 150
"""


def test_the_same_modem_in_another_port(box: Box) -> None:
    box.start_udevd()
    box.start_agent(UPLINKS)
    box.modem("usb0", "12", 1)
    box.comes_to({"usb0": ("left", 160, 2)})
    box.has_default(160, 1, "usb0")
    box.unplug("usb0")
    box.comes_to({})
    box.modem("usb0", "13", 1)
    box.comes_to({"usb0": ("right", 150, 1)})
    box.has_default(150, 1, "usb0")
    wait_for(lambda: box.agent.table(160) == "", 5, "the old table is empty")


@pytest.mark.parametrize("agent", ["runs", "starts anew"])
def test_two_alike_swapped(box: Box, agent: str) -> None:
    """Same MAC address, same serial number, and the kernel's names go the other way round."""
    box.start_udevd()
    box.start_agent(UPLINKS)
    box.modem("usb0", "12", 1)
    box.modem("usb1", "13", 2)
    box.comes_to({"usb0": ("left", 160, 2), "usb1": ("right", 150, 1)})
    if agent == "starts anew":
        box.agent.stop(signal.SIGKILL)
    box.unplug("usb0")
    box.unplug("usb1")
    box.modem("usb1", "12", 1)
    box.modem("usb0", "13", 2)
    if agent == "starts anew":
        box.settle()
        box.agent.start()
    box.comes_to({"usb1": ("left", 160, 2), "usb0": ("right", 150, 1)})
    box.has_default(160, 1, "usb1")
    box.has_default(150, 2, "usb0")
    wait_for(lambda: box.agent.problems() == [], 5, "nothing to say")


def test_a_label_without_a_table_number_keeps_its_table(box: Box) -> None:
    uplinks = UPLINKS.replace("table = 160\n", "").replace("table = 150\n", "")
    box.start_udevd()
    box.start_agent(uplinks)
    box.modem("usb0", "12", 1)
    wait_for(lambda: box.uplinks().get("usb0", ("",))[0] == "left", 5, "left is known")
    table = box.uplinks()["usb0"][1]
    box.unplug("usb0")
    box.modem("enx0", "12", 1)
    box.comes_to({"enx0": ("left", table, 2)})


def test_what_is_no_uplink_is_named(box: Box) -> None:
    box.start_udevd()
    box.start_agent("")
    box.agent.ip("link", "add", "docker0", "type", "bridge")
    box.modem("veth1a2b3c", "0", 3)
    box.modem("usb0", "0", 1)
    box.comes_to({"usb0": ("usb0", 100, 1)})
    excluded = {entry["device"]: entry["reason"] for entry in box.agent.status()["excluded"]}
    assert excluded["lo"] == "loopback"
    assert excluded["docker0"] == "a bridge"
    assert excluded["veth1a2b3c"] == "a container network"
    assert "usb0" not in excluded


def test_an_uplink_by_name_overrides_what_no_uplink_is_by_nature(box: Box) -> None:
    """A veth by Docker's name, when it is asked for; a port of a bridge never."""
    box.start_udevd()
    box.start_agent('[[uplink]]\nmatch = "veth*"\n[[uplink]]\nmatch = "eth3"\n')
    box.modem("veth1a2b3c", "0", 1)
    wait_for(lambda: list(box.uplinks()) == ["veth1a2b3c"], 10, "it is an uplink")
    box.agent.ip("link", "add", "br0", "type", "bridge")
    box.modem("eth3", "0", 2)
    wait_for(lambda: "eth3" in box.uplinks(), 10, "eth3 is one")
    box.agent.ip("link", "set", "eth3", "master", "br0")
    wait_for(lambda: list(box.uplinks()) == ["veth1a2b3c"], 10, "a port is none")
    excluded = {entry["device"]: entry["reason"] for entry in box.agent.status()["excluded"]}
    assert "br0" in excluded["eth3"]
    assert "from 10.0.2.10" not in box.agent.rules()


def test_udevd_is_killed_and_routing_goes_on(box: Box) -> None:
    box.start_udevd()
    box.start_agent(UPLINKS)
    box.modem("usb0", "12", 1)
    box.comes_to({"usb0": ("left", 160, 2)})
    assert box.udevd is not None
    box.udevd.kill()
    box.udevd.wait(40)
    box.udevd = None
    box.modem("usb1", "13", 2)
    box.comes_to({"usb0": ("left", 160, 2), "usb1": ("usb1", 101, 1)})  # a veth has no port in /sys
    box.start_udevd()
    box.trigger("usb1")
    box.comes_to({"usb0": ("left", 160, 2), "usb1": ("right", 150, 1)})
    wait_for(lambda: box.agent.table(101) == "", 5, "the old table is empty")
