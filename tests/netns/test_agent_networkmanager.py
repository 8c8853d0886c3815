"""The agent beside a real NetworkManager: plug, disconnect, reapply, restarts of it and of the bus."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.buses import PrivateBus
from tests.netns.agents import Agent
from tests.netns.box import heard, ip_monitor, wait_for
from tests.netns.nm import NetworkManagerBox

pytestmark = pytest.mark.root

# Milliseconds from NetworkManager's own word that a connection is active to rule and table in the kernel. The
# best of some counts, as the machine may be busy with other tests.
PROMPT = 50


class Managed:
    """NetworkManager, its bus, and an agent beside it."""

    def __init__(self, folder: Path, bus: PrivateBus, nm: NetworkManagerBox, agent: Agent) -> None:
        self.folder, self.bus, self.nm, self.agent = folder, bus, nm, agent

    def start(self, *devices: str, ipv4: str = "", ipv6: str = "method=disabled") -> None:
        """Profiles, NetworkManager, agent."""
        for device in devices:
            self.nm.profile(device, ipv4, ipv6)
        self.nm.start()
        self.agent.start()
        wait_for(lambda: self.known("NetworkManager: "), 15, "NetworkManager is seen")

    def known(self, word: str) -> bool:
        return word in self.agent.log()

    def routed(self, device: str, network: str) -> bool:
        """Whether the interface's rule, table and ECMP leg are there, as NetworkManager's lease says."""
        addresses = self.nm.addresses(device)
        table = 100 + int(device[3:])
        gateway = f"via {network}.1 dev {device}"
        return (
            any(
                f"from {address.partition('/')[0]} lookup {table}" in self.agent.rules()
                for address in addresses
            )
            and f"default {gateway}" in self.agent.table(table)
            and gateway in self.agent.table(222)
        )

    def comes(self, device: str, network: str, seconds: float = 20) -> None:
        wait_for(lambda: self.routed(device, network), seconds, f"{device} leads out by {network}.1")

    def gone(self, device: str) -> None:
        wait_for(lambda: device not in self.agent.uplinks(), 15, f"{device} is no uplink")
        wait_for(lambda: not self.rules_of(device), 5, "no rule of it")
        wait_for(lambda: f"dev {device}" not in self.agent.table(222), 5, "no leg of it")

    def rules_of(self, device: str) -> list[str]:
        table = f"lookup {100 + int(device[3:])}"
        return [rule for rule in self.agent.rules().splitlines() if table in rule]

    def activated(self, device: str, turn: int) -> float:
        """When NetworkManager had activated it for the 1st (0), 2nd (1), ... time; wall-clock seconds."""
        wait_for(lambda: len(self.nm.activated_at(device)) > turn, 10, "a word of it in the log")
        return self.nm.activated_at(device)[turn]

    def source(self, device: str) -> str:
        return str(self.agent.uplinks().get(device, {}).get("gateway_source"))

    def is_by_networkmanager(self, device: str) -> None:
        """Wait until the status says so, which it does after the kernel has the routes."""
        wait_for(lambda: self.source(device) == "NetworkManager", 10, "the gateway is NetworkManager's")


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Managed]:
    with PrivateBus() as bus, NetworkManagerBox(tmp_path, bus, "a") as nm:

        def inside(*words: str) -> list[str]:
            return ["ip", "netns", "exec", nm.namespace, *words]

        environment = {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        (tmp_path / "agent").mkdir()
        with Agent(tmp_path / "agent", nm.namespace, inside, environment) as agent:
            yield Managed(tmp_path, bus, nm, agent)


def test_how_long_an_uplink_takes(managed: Managed) -> None:
    """Without a default in main (never-default), so that the gateway is known from NetworkManager alone."""
    managed.start("usb0", "usb1", "usb2", ipv4="never-default=true\n")
    with (managed.folder / "events").open("w") as events:
        monitor = ip_monitor(managed.nm.namespace, "-ts", "monitor", "route", "rule", stdout=events)
    taken: list[float] = []
    try:
        while len(taken) < 3 or (len(taken) < 10 and min(taken) >= PROMPT):
            number = len(taken) % 3
            device, network = f"usb{number}", f"10.2{number}.0"
            if len(taken) < 3:
                managed.nm.plug(device, network)
            else:
                managed.nm.nmcli("device", "disconnect", device)
                managed.gone(device)
                managed.nm.nmcli("device", "connect", device)
            managed.comes(device, network)
            managed.is_by_networkmanager(device)
            # The monitor has told of it all when it tells of what came after.
            active = managed.activated(device, len(taken) // 3)
            mark = f"192.0.2.{len(taken) + 1}"
            managed.agent.ip("rule", "add", "from", mark, "lookup", "55", "priority", "9999")
            lines = lines_until(managed.folder / "events", mark)
            done = max(last(lines, f"from {network[:-1]}"), last(lines, f"default via {network}.1"))
            taken.append((done - active) * 1000)
    finally:
        monitor.terminate()
        monitor.wait(40)
    print("ms from NetworkManager's activation to rule and table:", [round(each, 1) for each in taken])
    assert min(taken) < PROMPT


def lines_until(path: Path, word: str) -> list[str]:
    """The lines of the file once it has this word."""
    wait_for(lambda: word in path.read_text(), 10, f"{word} in {path}")
    return path.read_text().splitlines()


def last(lines: list[str], what: str) -> float:
    """When it was last said to be there, in wall-clock seconds: `[2026-11-20T09:00:00.123456] ...`."""
    line = [line for line in lines if what in line and "Deleted" not in line][-1]
    return datetime.fromisoformat(line.partition("]")[0].removeprefix("[")).timestamp()


@contextmanager
def watched(managed: Managed) -> Iterator[Callable[[], list[str]]]:
    """Afterwards, the routes and rules of netbond's that were deleted within."""
    monitor = ip_monitor(managed.nm.namespace, "monitor", "route", "rule")
    said: list[str] = []
    try:
        yield lambda: [line for line in said if line.startswith("Deleted") and "proto 78" in line]
    finally:
        said += heard(monitor, managed.nm.namespace)


def test_disconnect_reapply_delete(managed: Managed) -> None:
    managed.start("usb0", "usb1")
    managed.nm.plug("usb0", "10.20.0")
    managed.nm.plug("usb1", "10.21.0")
    managed.comes("usb0", "10.20.0")
    managed.comes("usb1", "10.21.0")
    other = (managed.agent.table(101), managed.rules_of("usb1"))
    assert other[1]

    managed.nm.nmcli("device", "disconnect", "usb0")
    managed.gone("usb0")
    managed.nm.nmcli("device", "connect", "usb0")
    managed.comes("usb0", "10.20.0")

    # A second address and a fixed gateway, applied without taking the interface down.
    managed.nm.nmcli("connection", "modify", "modem 0", "ipv4.method", "manual", "ipv4.addresses",
                     "10.20.0.77/24", "ipv4.gateway", "10.20.0.254")  # fmt: skip
    managed.nm.nmcli("device", "reapply", "usb0")
    wait_for(lambda: "default via 10.20.0.254 dev usb0" in managed.agent.table(100), 10, "the new gateway")
    wait_for(lambda: "from 10.20.0.77 lookup 100" in managed.agent.rules(), 5, "the new address's rule")
    wait_for(lambda: not re.search(r"from 10\.20\.0\.[0-4]", managed.agent.rules()), 5, "the old one's goes")
    wait_for(
        lambda: "10.20.0.1 " not in managed.agent.table(100) + managed.agent.table(222), 5, "and the gateway"
    )

    managed.nm.nmcli("device", "down", "usb0")
    managed.gone("usb0")
    managed.nm.nmcli("connection", "delete", "modem 0")
    managed.gone("usb0")
    assert (managed.agent.table(101), managed.rules_of("usb1")) == other  # the other uplink was left alone
    details = managed.agent.status()["agent"]["problem_details"]
    assert [one for one in details if one["code"] != "uplink-gone"] == []  # which it says after a moment


@pytest.mark.parametrize("kill", [False, True])
def test_networkmanager_restarts(managed: Managed, kill: bool) -> None:
    """Its interfaces stay configured meanwhile, and so does their routing; after it, changes count again."""
    managed.start("usb0", ipv4="never-default=true\n")
    managed.nm.plug("usb0", "10.20.0")
    managed.comes("usb0", "10.20.0")
    with watched(managed) as deleted:
        managed.nm.stop(kill=kill)
        wait_for(lambda: managed.known("NetworkManager: absent"), 10, "its end is seen")
        time.sleep(0.5)
        assert managed.routed("usb0", "10.20.0")
        managed.nm.start()
        wait_for(lambda: len(managed.nm.activated_at("usb0")) == 2, 20, "it is active again")
        managed.comes("usb0", "10.20.0")
        time.sleep(0.5)
    assert deleted() == []
    managed.nm.renumber("usb0", "10.20.0", "10.30.0")
    managed.nm.nmcli("device", "disconnect", "usb0")
    managed.gone("usb0")
    managed.nm.nmcli("device", "connect", "usb0")
    managed.comes("usb0", "10.30.0")
    wait_for(lambda: "10.20.0" not in managed.agent.rules() + managed.agent.table(100), 5, "the old network")


def test_a_connection_that_is_metered(managed: Managed) -> None:
    def metered() -> dict[str, Any]:
        return {name: uplink["metered"] for name, uplink in managed.agent.uplinks().items()}

    managed.start("usb0", "usb1")
    for number in range(2):
        managed.nm.plug(f"usb{number}", f"10.2{number}.0")
        managed.comes(f"usb{number}", f"10.2{number}.0")
    wait_for(lambda: metered() == {"usb0": False, "usb1": False}, 10, "they are not")
    managed.nm.nmcli("connection", "modify", "modem 1", "connection.metered", "yes")
    managed.nm.nmcli("device", "reapply", "usb1")
    wait_for(lambda: metered() == {"usb0": False, "usb1": True}, 10, "it is known")
    managed.nm.stop(kill=True)
    wait_for(lambda: managed.known("NetworkManager: absent"), 15, "it is gone")
    assert metered() == {"usb0": False, "usb1": True}
    managed.nm.start()
    wait_for(lambda: managed.agent.log().count("NetworkManager: followed") == 2, 15, "it is back")
    for _ in range(20):
        assert metered() == {"usb0": False, "usb1": True}
        time.sleep(0.05)
    managed.nm.nmcli("connection", "modify", "modem 1", "connection.metered", "no")
    managed.nm.nmcli("device", "reapply", "usb1")
    wait_for(lambda: metered() == {"usb0": False, "usb1": False}, 10, "it is not any more")


def test_the_bus_restarts(managed: Managed) -> None:
    managed.start("usb0", ipv4="never-default=true\n")
    managed.nm.plug("usb0", "10.20.0")
    managed.comes("usb0", "10.20.0")
    managed.bus.stop()
    time.sleep(1.0)
    assert managed.routed("usb0", "10.20.0")
    managed.nm.stop()  # NetworkManager does not find a new bus by itself
    managed.bus.start()
    managed.nm.start()
    managed.comes("usb0", "10.20.0")
    wait_for(lambda: managed.source("usb0") == "NetworkManager", 20, "by NetworkManager's word")
    managed.nm.plug("usb1", "10.21.0")  # without a profile: not connected
    managed.nm.nmcli("device", "disconnect", "usb0")
    managed.gone("usb0")


def test_the_agent_is_killed_and_started_anew(managed: Managed) -> None:
    """What only NetworkManager knows is not cut for a moment."""
    managed.start("usb0", ipv4="never-default=true\n")
    managed.nm.plug("usb0", "10.20.0")
    managed.comes("usb0", "10.20.0")
    managed.agent.stop(signal.SIGKILL)
    with watched(managed) as deleted:
        managed.agent.start()
        managed.comes("usb0", "10.20.0")
        time.sleep(1.0)
    assert deleted() == []


@pytest.mark.parametrize("kill", [False, True])
def test_the_agent_and_networkmanager_restart_together(managed: Managed, kill: bool) -> None:
    """An upgrade may do that. What NetworkManager said last counts until it is back."""
    managed.start("usb0", ipv4="never-default=true\n")
    managed.nm.plug("usb0", "10.20.0")
    managed.comes("usb0", "10.20.0")
    with watched(managed) as deleted:
        managed.agent.stop(signal.SIGKILL)
        managed.nm.stop(kill=kill)
        managed.agent.start()
        wait_for(lambda: managed.known("NetworkManager: absent"), 10, "its absence is seen")
        managed.agent.ip("rule", "del", "from", managed.nm.addresses("usb0")[0].partition("/")[0])
        managed.comes("usb0", "10.20.0")  # repaired, so the agent holds it to be right
        time.sleep(1.0)
        assert managed.source("usb0") == "NetworkManager"
        managed.nm.start()
        wait_for(lambda: len(managed.nm.activated_at("usb0")) == 2, 20, "it is active again")
        managed.comes("usb0", "10.20.0")
        time.sleep(0.5)
    assert len(deleted()) == 1  # the test's own
    # Its word is over when the address is, and when it says so.
    managed.agent.stop(signal.SIGKILL)
    managed.nm.nmcli("device", "disconnect", "usb0")
    managed.nm.stop(kill=kill)
    managed.agent.start()
    managed.gone("usb0")


def test_gateways_of_ipv6(managed: Managed) -> None:
    """They are NetworkManager's as those of IPv4 are."""
    managed.start("usb0", ipv6="method=manual\naddresses=2001:db8:20::10/64\ngateway=fe80::20\n")
    managed.nm.plug("usb0", "10.20.0")

    def gateway() -> str:
        found = [uplink for uplink in managed.agent.status()["uplinks"] if uplink["family"] == 6]
        return "".join(f"{uplink['gateway']} {uplink['gateway_source']}" for uplink in found)

    wait_for(lambda: gateway() == "fe80::20 NetworkManager", 20, "the gateway")
    assert "default via fe80::20 dev usb0" in managed.agent.ip("-6", "route", "show", "table", "100")
    managed.nm.nmcli("connection", "modify", "modem 0", "ipv6.gateway", "fe80::21")
    managed.nm.nmcli("device", "reapply", "usb0")
    wait_for(lambda: gateway() == "fe80::21 NetworkManager", 10, "the new one")
    managed.nm.nmcli("device", "disconnect", "usb0")
    managed.gone("usb0")
