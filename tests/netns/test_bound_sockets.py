"""A socket that is bound to a device finds what main has for that device, on the real kernel."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box with two modems."""
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
        yield box


def way(box: Box, destination: str, device: str) -> str:
    """Gateway and device of a packet of a socket that is bound to the device: "via 10.0.0.1 dev usb0"."""
    said = box.ip("route", "get", destination, "oif", device)
    found = re.search(r"(via (?:inet6 )?\S+ )?dev \S+", said)
    return "" if found is None else found[0]


def ways(box: Box, destinations: dict[str, str]) -> dict[str, str]:
    """The ways to each destination, bound to usb0 and to usb1."""
    return {f"{d} oif {device}": way(box, d, device) for d in destinations for device in ("usb0", "usb1")}


def nothing_to_do(box: Box) -> bool:
    """Whether `netbond plan` has nothing to change: what was written is what the kernel shows."""
    found = subprocess.run(
        box.command("plan", "--config", str(box.config_file)), capture_output=True, text=True
    )
    return found.returncode == 0


IPV4 = {
    "10.0.0.77": "dev usb0",  # a neighbour
    "10.8.1.1": "via 10.0.0.254 dev usb0",  # option 121, another router of the network
    "10.9.0.1": "dev usb0",  # a host on the link, outside of the network
    "10.9.7.7": "via 10.9.0.1 dev usb0",  # behind it
    "10.9.8.8": "via 10.77.0.1 dev usb0",  # a router that no network has
    "10.10.1.1": "via 10.0.0.253 dev usb0",  # of two routes the one with the lower metric
    "169.254.7.7": "dev usb0",  # IPv4LL
    "10.11.1.1": "via 10.0.0.252 dev usb0",  # one leg of a route over both modems
    "224.1.2.3": "dev usb0",
    "8.8.8.8": "via 10.0.0.1 dev usb0",
}
IPV4_ROUTES = """
10.8.0.0/16 via 10.0.0.254 dev usb0 proto dhcp
10.9.0.1 dev usb0 scope link
10.9.7.0/24 via 10.9.0.1 dev usb0 proto static
10.9.8.0/24 via 10.77.0.1 dev usb0 onlink
10.10.0.0/16 via 10.0.0.253 dev usb0 metric 5
10.10.0.0/16 via 10.0.0.250 dev usb0 metric 50
169.254.0.0/16 dev usb0 scope link metric 1000
10.11.0.0/16 nexthop via 10.0.0.252 dev usb0 weight 3 nexthop via 10.0.1.252 dev usb1
224.0.0.0/4 dev usb0
blackhole 10.12.0.0/16
"""


def test_ipv4_goes_where_main_says(box: Box) -> None:
    for route in IPV4_ROUTES.strip().splitlines():
        box.ip("route", "add", *route.split())
    before = ways(box, IPV4)
    assert {d: before[f"{d} oif usb0"] for d in IPV4} == IPV4
    box.start()
    assert {key: where for key, where in ways(box, IPV4).items() if "usb0" in key} == {
        key: where for key, where in before.items() if "usb0" in key
    }
    assert way(box, "10.11.1.1", "usb1") == "via 10.0.1.252 dev usb1"
    assert way(box, "10.8.1.1", "usb1") == "via 10.0.1.1 dev usb1"  # main has nothing there for usb1
    assert nothing_to_do(box)
    assert box.status()["agent"]["problems"] == []
    # What changes in main changes in the table.
    box.ip("route", "del", "10.8.0.0/16")
    box.ip("route", "replace", "10.10.0.0/16", "via", "10.0.0.249", "dev", "usb0", "metric", "5")
    wait_for(lambda: way(box, "10.8.1.1", "usb0") == "via 10.0.0.1 dev usb0", 1.0, "gone")
    wait_for(lambda: way(box, "10.10.1.1", "usb0") == "via 10.0.0.249 dev usb0", 1.0, "replaced")
    box.unplug("usb0")
    wait_for(lambda: "usb0" not in box.state(), 1.0, "nothing is left of usb0")
    assert box.stop() == 0
    assert "proto 78" not in box.ip("route", "show", "table", "all")


IPV6 = {
    "fe80::5": "dev usb0",  # a link-local neighbour: ssh to fe80::5%usb0
    "2001:db8:0:1::77": "dev usb0",  # a prefix that the router announces as on the link, beside a /128
    "2001:db8:8::1": "via fe80::fe dev usb0",  # a route of a router's advertisement (RFC 4191)
    "2001:db8:9::1": "via fe80::fd dev usb0",
    "fd00:1::1": "dev usb0",
    "2001:4860:4860::8888": "via fe80::1 dev usb0",
}
IPV6_ROUTES = """
default via fe80::1 dev usb0 proto ra metric 1024
2001:db8:0:1::/64 dev usb0 proto ra metric 1024 expires 600
2001:db8:8::/48 via fe80::fe dev usb0 proto ra metric 1024 pref high
2001:db8:9::/48 via fe80::fd dev usb0 metric 256
2001:db8:9::/48 via fe80::fc dev usb0 metric 512
fd00:1::/64 dev usb0 metric 100 mtu 1400
"""


def test_ipv6_goes_where_main_says(box: Box) -> None:
    sh("ip", "-n", box.far, "addr", "add", "fe80::1/64", "dev", "p0", "nodad")
    box.ip("addr", "add", "2001:db8:0:1::10/128", "dev", "usb0", "nodad")
    for route in IPV6_ROUTES.strip().splitlines():
        box.ip("-6", "route", "add", *route.split())
    wait_for(lambda: "tentative" not in box.ip("-6", "addr"), 3.0, "link-local addresses are there")
    assert {d: way(box, d, "usb0") for d in IPV6} == IPV6
    box.start()
    assert {d: way(box, d, "usb0") for d in IPV6} == IPV6
    assert nothing_to_do(box)
    assert box.status()["agent"]["problems"] == []
    # The router withdraws the prefix: its hosts are reached by it from now on.
    box.ip("-6", "route", "del", "2001:db8:0:1::/64", "dev", "usb0")
    wait_for(lambda: way(box, "2001:db8:0:1::77", "usb0") == "via fe80::1 dev usb0", 1.0, "withdrawn")


def test_what_a_copy_would_change_is_not_copied(box: Box) -> None:
    box.ip("route", "add", "10.8.0.0/16", "tos", "0x10", "via", "10.0.0.254", "dev", "usb0")
    box.start()
    assert way(box, "10.8.1.1", "usb0") == "via 10.0.0.1 dev usb0"
    assert nothing_to_do(box)


def test_a_box_with_a_routing_protocol_is_not_copied_as_a_whole(box: Box) -> None:
    many = "".join(
        f"route add 10.{n // 256 + 100}.{n % 256}.0/24 via 10.0.0.254 dev usb0 proto bgp\n"
        for n in range(600)
    )
    subprocess.run(["ip", "-n", box.name, "-batch", "-"], input=many, text=True, check=True)
    box.ip("route", "add", "169.254.0.0/16", "dev", "usb0", "scope", "link")
    box.start()
    assert way(box, "169.254.7.7", "usb0") == "dev usb0"
    assert way(box, "10.100.1.1", "usb0") == "via 10.0.0.1 dev usb0"
    (problem,) = box.status()["agent"]["problems"]
    assert problem.startswith("main has 602 routes through usb0: ")
