"""Attributes of main's default, as mtu, advmss, initcwnd: bound and shared traffic carries them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

# What dhcpcd (option 26), networkd and people set there.
ALL = (
    "mtu lock 1430 window 65536 rtt 300ms rttvar 150ms ssthresh 20 cwnd 40 advmss 1390 reordering 5"
    " hoplimit 70 initcwnd 30 features ecn rto_min 200ms initrwnd 40 quickack 1 congctl reno"
    " fastopen_no_cookie 1"
)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        box.plug("usb0", 0, default=False)
        box.plug("usb1", 1)
        box.configure("[health]\nchecks = []\n")
        yield box


def attributes(box: Box, table: int, family: str = "-4") -> list[str]:
    """The attributes of a table's default, as `ip` shows them; "no default" if there is none just now."""
    shown = box.ip(family, "route", "show", "default", "table", str(table), check=False)
    if not shown:
        return ["no default"]
    words = " ".join(shown.splitlines()[0].split()[1:])
    return re.sub(r"(via|dev|proto|src|metric|nhid|pref) \S+ ?", "", words).split()


def test_the_own_table_has_all_that_main_has(box: Box) -> None:
    box.ip("route", "add", "default", "via", "10.0.0.1", "dev", "usb0", *ALL.split())
    has = attributes(box, 254)
    assert len(has) == len(ALL.split()) + 1  # `ip` shows the lock of rto_min
    planned = subprocess.run(
        box.command("plan", "--config", str(box.config_file)), capture_output=True, text=True, check=False
    )
    box.start()
    assert attributes(box, 100) == has
    assert attributes(box, 101) == []
    # Of two legs with unlike ones the limits stay, the smallest of each.
    assert attributes(box, 222) == ["mtu", "1430", "window", "65536", "cwnd", "40", "advmss", "1390"]
    mine = box.state()
    box.stop()
    box.run("sh", "-e", "-c", planned.stdout)
    assert box.state() == mine, "what `plan` prints does the same"
    box.start()
    box.unplug("usb1")
    wait_for(lambda: attributes(box, 222) == has, 5.0, "one leg has its own")
    box.ip("route", "change", "default", "via", "10.0.0.1", "dev", "usb0", "mtu", "1400", "initcwnd", "20")
    wait_for(lambda: attributes(box, 100) == ["mtu", "1400", "initcwnd", "20"], 5.0, "what main has now")
    box.ip("route", "change", "default", "via", "10.0.0.1", "dev", "usb0")
    wait_for(lambda: attributes(box, 100) == attributes(box, 222) == [], 5.0, "nothing any more")
    wait_for(lambda: box.still_wrong() == [], 5.0, "nothing to say")


def test_what_ipv6_routers_announce_and_a_jumbo_link_beside_another(box: Box) -> None:
    box.ip("route", "add", "default", "via", "10.0.0.1", "dev", "usb0")
    for number, mtu in ((0, 1280), (1, 8000)):
        device = f"usb{number}"
        box.ip("addr", "add", f"2001:db8:{number}::10/64", "dev", device, "nodad")
        sh("ip", "-n", box.far, "addr", "add", f"fe80::{number + 1}/64", "dev", f"p{number}", "nodad")
        box.ip(
            *("-6", "route", "add", "default", "via", f"fe80::{number + 1}", "dev", device, "proto", "ra"),
            *("metric", str(1024 + number), "mtu", str(mtu), "hoplimit", "64"),
        )
    box.start()
    assert attributes(box, 100, "-6") == ["mtu", "1280", "hoplimit", "64"]
    assert attributes(box, 101, "-6") == ["mtu", "8000", "hoplimit", "64"]
    assert attributes(box, 222, "-6") == ["mtu", "1280", "hoplimit", "64"]
    # usb0 has no MTU of its own any more: that of its device counts.
    box.ip(
        "-6", "route", "change", "default", "via", "fe80::1", "dev", "usb0", "proto", "ra", "metric", "1024"
    )
    wait_for(lambda: attributes(box, 222, "-6") == ["mtu", "1500"], 5.0, "no more than usb0's link takes")


def test_a_default_that_was_taken_out_of_main_comes_back_as_it_was(box: Box) -> None:
    box.ip("route", "add", "default", "via", "10.0.0.1", "dev", "usb0", "mtu", "1430", "congctl", "reno")
    before = sorted(box.table(254).splitlines())
    box.configure('[routing]\nlayout = "classic"\ntake_over_default = true\n[health]\nchecks = []\n')
    box.start()
    wait_for(lambda: "default" not in box.table(254), 5.0, "main has none")
    wait_for(
        lambda: attributes(box, 100) == ["mtu", "1430", "congctl", "reno"],
        5.0,
        "and the table still has them",
    )
    box.stop()
    assert sorted(box.table(254).splitlines()) == before


def test_a_default_that_went_with_its_link_is_remembered_as_it_was(box: Box) -> None:
    box.ip("route", "add", "default", "via", "10.0.0.1", "dev", "usb0", "mtu", "1430")
    box.start()
    box.ip("link", "set", "usb0", "down")
    wait_for(lambda: attributes(box, 222) == [], 5.0, "the other one")
    box.ip("link", "set", "usb0", "up")
    wait_for(lambda: "usb0" in box.table(222), 5.0, "it is back")
    assert "usb0" not in box.ip("route", "show", "default", "table", "main")
    wait_for(lambda: attributes(box, 100) == ["mtu", "1430"], 5.0, "with its MTU")
