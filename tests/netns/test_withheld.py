"""Interfaces that stop being uplinks: they leave the shared default, and their traffic goes nowhere else."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.netns.advertise import advertise
from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

FAR = "2001:4860:4860::8888"


@pytest.fixture
def routers(tmp_path: Path) -> Iterator[Box]:
    """A box with two modems that advertise themselves, both as fe80::1."""
    with Box(tmp_path) as box:
        # Without forwarding, a neighbour advertisement says that it is no router, and ends its default.
        sh("ip", "netns", "exec", box.far, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        box.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        for number in range(2):
            box.plug(f"usb{number}", number)
            peer = f"p{number}"
            sh("ip", "-n", box.far, "link", "set", peer, "address", f"02:00:00:00:0{number}:01")
            sh("ip", "-n", box.far, "addr", "add", "fe80::1/64", "dev", peer, "nodad")
            wait_for(partial(answered, box, number), 5, "its router")
        yield box


def router(box: Box, number: int, lifetime_s: int = 1800) -> str:
    """Let a router advertise itself and its prefix; the address that the box has from it."""
    advertise(box.far, f"p{number}", f"2001:db8:{number}::/64", lifetime_s=lifetime_s)
    found = box.ip("-6", "-o", "addr", "show", f"usb{number}", "scope", "global").split("inet6 ")
    return found[1].split("/")[0] if len(found) > 1 else ""


def answered(box: Box, number: int) -> bool:
    return router(box, number) != ""


def legs(box: Box) -> str:
    return box.ip("-6", "route", "show", "table", "222", check=False)


def refused(box: Box, source: str) -> bool:
    """Whether the kernel refuses what is bound to this address."""
    destination = FAR if ":" in source else "8.8.8.8"
    return "dev" not in box.ip("route", "get", destination, "from", source, check=False)


@pytest.mark.parametrize("with_prefix", [True, False])
def test_a_router_whose_lifetime_ends_is_left_within_2_s(routers: Box, with_prefix: bool) -> None:
    """The kernel lists the expired route for up to half a minute, and says nothing.

    Nor does it of an advertisement that shortens the lifetime alone, without a prefix.
    """
    routers.start()
    wait_for(lambda: "usb1" in legs(routers) and "usb0" in legs(routers), 5, "both share")
    router_address = router(routers, 1)
    began = time.monotonic()
    if with_prefix:
        router(routers, 1, lifetime_s=2)
    else:
        advertise(routers.far, "p1", lifetime_s=2)
    wait_for(lambda: "usb1" not in legs(routers), 8, "usb1 leaves the shared default")
    assert 1.9 < time.monotonic() - began < 8.0  # not by the look that comes each 10 s
    assert "usb1" in routers.ip("-6", "route", "show", "default")  # still listed
    wait_for(lambda: routers.way(FAR) == "usb0", 2, "the other one is used")
    wait_for(lambda: refused(routers, router_address), 2, "its address is withheld")


def test_a_router_withdraws_itself_and_keeps_its_prefix(routers: Box) -> None:
    """As a home router does that has lost its provider (RFC 7084, G-5): by nothing else, and back again."""
    routers.start()
    addresses = [router(routers, number) for number in range(2)]
    wait_for(lambda: "usb1" in legs(routers) and "usb0" in legs(routers), 5, "both share")
    router(routers, 0, lifetime_s=0)
    wait_for(lambda: "usb0" not in legs(routers), 2, "usb0 leaves the shared default")
    wait_for(lambda: refused(routers, addresses[0]), 2, "its address is withheld")
    assert routers.way(FAR, "from", addresses[1]) == "usb1"
    assert routers.way(FAR) == "usb1"
    # Its own network is reached as before, and an agent that is killed finds all of it.
    assert routers.way("2001:db8:0::99", "from", addresses[0]) == "usb0"
    rules = routers.ip("-6", "rule")
    routers.stop(signal.SIGKILL)
    routers.start()
    assert routers.ip("-6", "rule") == rules
    router(routers, 0)
    wait_for(lambda: "usb0" in legs(routers), 2, "usb0 shares again")
    wait_for(lambda: routers.way(FAR, "from", addresses[0]) == "usb0", 2, "and its address")
    assert routers.stop() == 0
    assert "proto 78" not in routers.ip("-6", "rule") + routers.ip("-6", "route", "show", "table", "all")


def test_a_disabled_interface_is_left_to_what_is_bound_to_it(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        for number in range(3):
            box.plug(f"usb{number}", number)
        box.start()
        box.configure('[[uplink]]\nmatch = "usb0"\nenabled = false')
        assert box.agent is not None
        box.agent.send_signal(signal.SIGHUP)
        wait_for(lambda: "oif usb0" not in box.rules(), 5, "usb0 is no uplink")
        assert box.way("8.8.8.8", "from", "10.0.0.10") == "usb0"
        wait_for(lambda: "dev usb0" not in box.table(222), 5, "nor is it shared")
        box.ip("link", "set", "usb0", "down")
        wait_for(lambda: refused(box, "10.0.0.10"), 2, "down, its address is withheld")


@pytest.mark.parametrize("layout", ["default", "classic"])
def test_an_address_without_a_router_yet(layout: str, tmp_path: Path) -> None:
    """From a DHCP server; eth1 has one of a person, and is a LAN."""
    with Box(tmp_path) as box:
        box.plug("usb0", 0, default=False)
        box.plug("eth0", 1, default=False)
        box.ip("addr", "change", "10.0.1.10/24", "dev", "eth0", "valid_lft", "600", "preferred_lft", "600")
        box.add_lan()
        box.configure(f'[routing]\nlayout = "{layout}"\n[[uplink]]\nmatch = "usb0"\ngateway = "10.0.0.1"')
        box.start()
        assert refused(box, "10.0.1.10")
        assert box.way("10.0.1.1", "from", "10.0.1.10") == "eth0"
        assert box.way("8.8.8.8", "from", "192.168.50.1") == "usb0"
        box.ip("route", "add", "default", "via", "10.0.1.1", "dev", "eth0", "metric", "1000")
        if layout == "default":
            wait_for(lambda: not refused(box, "10.0.1.10"), 2, "it has a router")
            assert box.way("8.8.8.8", "from", "10.0.1.10") == "eth0"
