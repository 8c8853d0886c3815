"""Uplinks on VLANs, of the kernel's own kind, on USB cards; and a link that netem makes slow.

A third card on the same switch is the provider's: in a namespace of the same machine, with a VLAN and a DHCP
server for each of the box's two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.box import Box
from tests.vm.qemu import Machine
from tests.vm.world import World

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

CARDS = {"usb0": 1, "eth0": 2, "provider": 3}  # name: port
VLANS = {"usb0.5": 5, "eth0.7": 7}
FAR = "198.51.100.1"
CONFIG = """\
[health]
interval = 1.0
degraded_rtt = 0.4
"""

PROVIDER = f"""
set -e
ip netns add provider
ip link set provider netns provider
inside="ip netns exec provider"
$inside ip link set lo up
$inside ip address add {FAR}/32 dev lo
$inside ip link set provider up
for id in 5 7; do
    $inside ip link add link provider name vlan$id type vlan id $id
    $inside ip address add 10.$id.0.1/24 dev vlan$id
    $inside ip link set vlan$id up
done
$inside dnsmasq --no-ping --leasefile-ro --dhcp-authoritative --port=0 --pid-file=/run/provider.pid \\
    --interface=vlan5 --interface=vlan7 --dhcp-range=10.5.0.100,10.5.0.100 --dhcp-range=10.7.0.100,10.7.0.100
"""

RULES = """\
0: from all lookup local
40: from all oif eth0.7 lookup eth0.7 proto netbond
40: from all oif usb0.5 lookup usb0.5 proto netbond
50: from all lookup main suppress_prefixlength 0 proto netbond
%d: from 10.5.0.100 lookup usb0.5 proto netbond
%d: from 10.7.0.100 lookup eth0.7 proto netbond
222: from all lookup netbond proto netbond
32766: from all lookup main
32767: from all lookup default
"""


@pytest.fixture(scope="module")
def box(state: Path, world: World) -> Iterator[Box]:
    with Machine(state / "box.qcow2", state / "boot", state / "vlan", namespace=world.namespace) as machine:
        for name, port in CARDS.items():
            machine.write(
                f"/etc/systemd/network/10-{name}.link",
                f"[Match]\nPath=*-usb-0:{port}:1.*\n[Link]\nNamePolicy=\nName={name}\n",
            )
        machine.write(
            "/etc/network/interfaces.d/vlans", "".join(f"iface {name} inet dhcp\n" for name in VLANS)
        )
        machine.write("/etc/netbond/netbond.toml", CONFIG)
        machine.run("udevadm control --reload; systemctl start netbond")
        made = Box(machine)
        for name, port in CARDS.items():
            machine.plug_cable(name, port, mac=f"0c:5b:8f:27:9a:6{port}")
            machine.run(f"timeout 60 sh -c 'until [ -e /sys/class/net/{name} ]; do sleep 0.2; done'")
        machine.run(PROVIDER)
        yield made
        (state / "vlan" / "journal.log").write_text(machine.out("journalctl -o short-monotonic"))


def test_vlans_become_uplinks_and_the_cards_below_do_not(box: Box) -> None:
    box.machine.run("ip link set usb0 up; ip link set eth0 up; ifup usb0.5 eth0.7")
    assert "vlan protocol 802.1Q id 5" in box.machine.out("ip -d link show usb0.5")
    box.until(lambda: box.states() == {"usb0.5": "usb0.5 up", "eth0.7": "eth0.7 up"})
    tables = [box.uplink(name)["table"] for name in VLANS]
    box.until(lambda: box.rules() == RULES % tuple(tables) or box.rules() == _swapped(tables))
    assert {box.uplink(name)["gateway_source"] for name in VLANS} == {"dhclient"}
    assert box.machine.out("netbond plan; echo $?").endswith("0\n")


def _swapped(tables: list[int]) -> str:
    """RULES where eth0.7 has the lower table."""
    lines = (RULES % tuple(tables)).splitlines(keepends=True)
    lines[4:6] = lines[5], lines[4]
    return "".join(lines)


@pytest.mark.parametrize("name", VLANS)
def test_what_is_bound_to_a_vlan_leaves_by_it(box: Box, name: str) -> None:
    address = box.uplink(name)["address"]
    assert f"dev {name} " in box.machine.out(f"ip route get {FAR} oif {name}")
    assert f"dev {name} " in box.machine.out(f"ip route get {FAR} from {address}")
    assert " 0% packet loss" in box.machine.out(f"ping -c 3 -i 0.2 -W 5 -I {name} {FAR}")


def test_a_card_that_goes_down_takes_its_vlan_along(box: Box) -> None:
    box.machine.run("ip link set usb0 down")
    box.until(lambda: box.uplink("usb0.5")["state"] != "up" and not box.uplink("usb0.5")["in_ecmp"])
    assert box.uplink("eth0.7")["in_ecmp"]
    box.machine.run("ip link set usb0 up; ip link set usb0.5 up")
    box.until(lambda: box.states() == {"usb0.5": "usb0.5 up", "eth0.7": "eth0.7 up"})
    assert "dev usb0.5 " in box.machine.out(f"ip route get {FAR} oif usb0.5")


def test_a_vlan_removed_is_no_uplink_and_comes_back(box: Box) -> None:
    box.machine.run("ifdown eth0.7")
    box.until(lambda: set(box.states()) == {"usb0.5"} and "eth0.7" not in box.rules())
    box.machine.run("ifup eth0.7")
    box.until(lambda: box.states() == {"usb0.5": "usb0.5 up", "eth0.7": "eth0.7 up"})


def test_a_slow_link_is_degraded(box: Box) -> None:
    box.machine.run("ip netns exec provider tc qdisc add dev vlan5 root netem delay 800ms")
    box.until(lambda: _health(box) == {"usb0.5": "degraded", "eth0.7": "up"})
    assert box.uplink("usb0.5")["in_ecmp"]  # it only shows
    box.machine.run("ip netns exec provider tc qdisc delete dev vlan5 root")
    box.until(lambda: _health(box) == {"usb0.5": "up", "eth0.7": "up"})


def _health(box: Box) -> dict[str, str]:
    return {each["device"]: each["state"] for each in box.status()["health"]}


def test_the_journal_is_clean(box: Box) -> None:
    assert "Traceback" not in box.machine.out("journalctl -u netbond -t netbond-hook -o cat")
