"""A gateway that the kernel does not take, as a bad DHCP server may name it, harms its own uplink only."""

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
    with Box(tmp_path) as box:
        for number in range(3):
            box.plug(f"usb{number}", number)
        yield box


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("gateway", ["fe80::1", "2001:db8::1"])
def test_an_ipv4_default_with_an_ipv6_gateway(tmp_path: Path, gateway: str, groups: bool) -> None:
    """RFC 8950, as hosters and unnumbered links have it: a leg like the others, also beside them."""
    with Box(tmp_path) as box:
        box.plug("usb0", 0)
        box.plug("eth0", 1, default=False)
        sh("ip", "-n", box.far, "addr", "add", f"{gateway}/64", "dev", "p1", "nodad")
        if gateway == "2001:db8::1":
            box.ip("addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
        box.ip("-4", "route", "add", "default", "via", "inet6", gateway, "dev", "eth0", "metric", "1001")
        box.configure("" if groups else "[routing]\nnexthop_base = 0\n")
        box.start()
        way = f"via inet6 {gateway} dev eth0"
        wait_for(
            lambda: way in box.table(222) and "via 10.0.0.1 dev usb0" in box.table(222), 5.0, "both legs"
        )
        assert way in box.ip("route", "get", "198.51.100.7", "from", "10.0.1.10")
        box.plug("usb2", 2)
        wait_for(lambda: "usb2" in box.table(222), 5.0, "a new leg joins")
        box.unplug("usb0")
        wait_for(lambda: "usb0" not in box.table(222) and way in box.table(222), 5.0, "the others")
        assert "refuse" not in box.log.read_text()
        wait_for(lambda: box.still_wrong() == [], 5.0, "nothing to say")
        # The kernel takes out the legs and routes by itself, the agent the rules.
        plan = box.command("plan", "--config", str(box.config_file))
        wait_for(lambda: subprocess.run(plan, check=False).returncode == 0, 5.0, "nothing to do")


def reasons(box: Box) -> set[tuple[str, str]]:
    return {(uplink["device"], uplink["reason"]) for uplink in box.status()["uplinks"]}


@pytest.mark.parametrize("groups", [True, False])
def test_the_others_share_the_traffic_and_it_comes_back(box: Box, groups: bool) -> None:
    base = "" if groups else "[routing]\nnexthop_base = 0\n"
    # An address of this box's own: the kernel says "Nexthop has invalid gateway", and refuses what uses it.
    text = base + '[[uplink]]\nmatch = "usb1"\ngateway = "10.0.0.10"\n'
    box.configure(text)
    box.start()
    wait_for(lambda: "usb0" in box.table(222) and "usb2" in box.table(222), 5.0, "the default of the others")
    refused = "the kernel refuses its gateway"
    wait_for(lambda: ("usb1", refused) in reasons(box), 5.0, refused)
    box.unplug("usb2")
    wait_for(lambda: "usb2" not in box.table(222) and "usb0" in box.table(222), 5.0, "the last one")
    assert "usb1" not in box.table(222)
    # With usb0 its address goes, and the kernel takes the gateway.
    box.unplug("usb0")
    wait_for(lambda: "usb1" in box.table(222), 15.0, "it is back")


@pytest.mark.parametrize(("groups", "gateway"), [(True, "192.0.2.1"), (False, "198.51.100.1")])
def test_what_the_kernel_took_once_and_takes_no_longer(tmp_path: Path, groups: bool, gateway: str) -> None:
    """The route in the uplink's own table stays; the shared default has to be made anew, without it."""
    with Box(tmp_path) as box:
        box.plug("usb0", 0)
        box.plug("usb1", 1)
        box.configure(
            f"[health]\nchecks = []\n[routing]\nnexthop_base = {7_800_000 if groups else 0}\n"
            f'[[uplink]]\nmatch = "usb1"\ngateway = "{gateway}"\n'
        )
        box.start()
        # Its gateway becomes an address of the box itself. The kernel looks at that in a new route only.
        box.ip("addr", "add", f"{gateway}/32", "dev", "lo")
        box.plug("usb2", 2)
        wait_for(lambda: "usb2" in box.table(222), 5.0, "a new leg joins")
        if groups:
            box.ip("nexthop", "flush", "proto", "78")
        wait_for(lambda: legs(box) == ["usb0", "usb2"], 5.0, "the two that the kernel takes")
        wait_for(lambda: f"default via {gateway} dev usb1" in box.table(101), 5.0, "its own table has it")
        problem = (
            "usb1 is not in the shared default of IPv4: the kernel refuses it:"
            " EINVAL (Nexthop has invalid gateway)"
        )
        wait_for(lambda: box.status()["agent"]["problems"] == [problem], 5.0, "it is named")
        shown = {("usb0", "up", True), ("usb1", "up", False), ("usb2", "up", True)}
        wait_for(
            lambda: {(u["device"], u["state"], u["in_ecmp"]) for u in box.status()["uplinks"]} == shown,
            5.0,
            "and shown",
        )
        box.plug("usb3", 3)
        wait_for(lambda: legs(box) == ["usb0", "usb2", "usb3"], 5.0, "one more joins")
        box.unplug("usb0")
        wait_for(lambda: legs(box) == ["usb2", "usb3"], 5.0, "one leaves")
        box.ip("addr", "del", f"{gateway}/32", "dev", "lo")
        wait_for(lambda: legs(box) == ["usb1", "usb2", "usb3"], 5.0, "it is back")
        wait_for(lambda: box.still_wrong() == [], 5.0, "no problem any more")


def legs(box: Box, family: str = "-4") -> list[str]:
    """The devices of the shared default."""
    return sorted(re.findall(r"dev (\S+)", box.ip(family, "route", "show", "table", "222", check=False)))


@pytest.mark.parametrize("taken", [True, False])
def test_a_refusal_is_called_one_for_as_long_as_it_lasts(tmp_path: Path, taken: bool) -> None:
    """Not a fight with another program that undoes it, however often it is tried."""
    with Box(tmp_path) as box:
        box.plug("usb0", 0)
        box.plug("usb1", 1)
        if taken:
            box.ip("route", "add", "default", "via", "10.0.1.1", "dev", "usb1", "table", "101")
            refused = "another program's route is in that place"
        else:
            box.ip("addr", "add", "192.0.2.1/32", "dev", "lo")
            box.configure('[[uplink]]\nmatch = "usb1"\ngateway = "192.0.2.1"\n')
            refused = "EINVAL (Nexthop has invalid gateway)"
        box.start()
        command = "default via 192.0.2.1" if not taken else "default via 10.0.1.1"
        wait_for(
            lambda: box.log.read_text().count(f"ip route add {command}") > 8, 9.0, "tried again and again"
        )
        starts = "ip route add " if taken else "the kernel refuses: ip route add "
        # Not while links and addresses change: then it may be only for a moment.
        wait_for(
            lambda: any(
                p.startswith(starts) and p.endswith(refused) for p in box.status()["agent"]["problems"]
            ),
            5.0,
            "it is named",
        )
        assert "keeps undoing" not in box.log.read_text()


def test_two_that_the_kernel_takes_alone_but_not_together(tmp_path: Path) -> None:
    """IPv6 takes no leg without a gateway into a multipath route, and this one asks for its neighbours."""
    with Box(tmp_path) as box:
        box.plug("eth0", 9, default=False)
        box.ip("addr", "add", "2001:db8:9::10/128", "dev", "eth0")
        for number in (0, 1):
            box.plug(f"usb{number}", number)
            box.ip("addr", "add", f"2001:db8:{number}::10/64", "dev", f"usb{number}", "nodad")
            way = ("via", f"fe80::{number + 1}", "dev", f"usb{number}", "metric", f"{1024 + number}")
            box.ip("-6", "route", "add", "default", *way)
        text = "[health]\nchecks = []\n[routing]\nnexthop_base = 0\n"
        box.configure(text + '[[uplink]]\nmatch = "eth0"\ngateway = "none"\n')
        box.start()
        wait_for(lambda: legs(box, "-6") == ["usb0", "usb1"], 5.0, "those with a gateway")
        refused = "eth0 is not in the shared default of IPv6: the kernel refuses it: "
        wait_for(lambda: refused in " ".join(box.status()["agent"]["problems"]), 5.0, "it is named")
        box.unplug("usb0")
        wait_for(lambda: legs(box, "-6") == ["usb1"], 5.0, "one leaves")
        box.unplug("usb1")
        wait_for(lambda: legs(box, "-6") == ["eth0"], 5.0, "alone it is taken")
        wait_for(lambda: box.still_wrong() == [], 5.0, "no problem any more")
