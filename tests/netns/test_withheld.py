"""Interfaces that stop being uplinks: they leave the shared default, and their traffic goes nowhere else."""

from __future__ import annotations

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


def test_a_router_whose_lifetime_ends_is_left_within_2_s(routers: Box) -> None:
    """The kernel lists the expired route for up to half a minute, and says nothing."""
    routers.start()
    wait_for(lambda: "usb1" in legs(routers) and "usb0" in legs(routers), 5, "both share")
    router(routers, 1, lifetime_s=2)
    began = time.monotonic()
    wait_for(lambda: "usb1" not in legs(routers), 8, "usb1 leaves the shared default")
    assert 1.9 < time.monotonic() - began < 4.0
    assert "usb1" in routers.ip("-6", "route", "show", "default")  # still listed
    assert routers.way(FAR) == "usb0"
