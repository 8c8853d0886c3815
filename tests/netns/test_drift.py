"""Start and drift: nothing is pruned too early, and nothing of the kernel's silence goes unseen."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, heard, ip_monitor, sh, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(3):
            box.plug(f"usb{number}", number)
        yield box


def test_a_restart_takes_nothing_away_on_the_way(box: Box) -> None:
    """What carries traffic is not removed and made again: the kernel tells of each deletion."""
    box.start()
    box.stop(signal.SIGKILL)
    monitor = ip_monitor(box.name, "monitor", "route", "rule", "nexthop")
    try:
        box.start()
    finally:
        lines = heard(monitor, box.name)
    assert not [line for line in lines if "Deleted" in line]


def test_an_upgrade_from_a_plain_route_to_a_group(box: Box) -> None:
    box.configure("[routing]\nnexthop_base = 0")
    box.start()
    assert "nhid" not in box.table(222)
    box.stop(signal.SIGKILL)
    box.configure()
    box.start()
    assert box.table(222).startswith("default nhid 7800222 proto 78")
    assert box.table(222).count("default") == 1


def test_every_leg_goes_and_comes_back(box: Box) -> None:
    """The last leg takes the group and its route along."""
    box.start()
    before = box.state()
    for number in range(3):
        box.ip("link", "set", f"usb{number}", "down")
    wait_for(lambda: box.table(222) == "", 2.0, "no default is left")
    wait_for(lambda: box.ip("nexthop") == "", 2.0, "nor a nexthop")
    for number in range(3):
        box.ip("link", "set", f"usb{number}", "up")
    wait_for(lambda: box.state() == before, 2.0, "as before")


def test_a_modem_that_flaps_is_followed_at_full_speed(box: Box) -> None:
    """Faster than anybody looks, it seems to be wanted all along: that is no rival's work."""
    box.start()
    before = box.state()
    batch = box.folder / "batch"
    batch.write_text("link set usb1 down\nlink set usb1 up\n")
    taken = []
    for _ in range(15):
        box.ip("-batch", str(batch))
        taken.append(wait_for(lambda: box.state() == before, 2.0, "as before"))
    # After so many, a rival would be waited for: 1.6 s, 3.2 s, and longer.
    assert min(taken[8:]) < 1.0, taken
    assert "keeps undoing" not in box.log.read_text()


def test_many_rivals_at_once_are_all_mended(box: Box) -> None:
    box.start()
    before = box.state()
    sh("ip", "-n", box.name, "rule", "flush")
    for table in ("100", "101", "102"):
        sh("ip", "-n", box.name, "route", "flush", "table", table)
    sh("ip", "-n", box.name, "nexthop", "flush")
    wait_for(lambda: box.state() == before, 1.0, "as before")


def test_a_flapping_link_is_no_reason_for_warnings(box: Box) -> None:
    """What the kernel refuses because the link went down meanwhile is history by the next look."""
    box.start()
    before = box.state()
    batch = box.folder / "batch"
    batch.write_text("link set usb1 down\nlink set usb1 up\n" * 1000)
    box.ip("-batch", str(batch))
    wait_for(lambda: box.state() == before, 3.0, "as before")
    wait_for(lambda: box.status()["agent"]["problems"] == [], 3.0, "nothing to say")
    assert "WARNING ip " not in box.log.read_text()
