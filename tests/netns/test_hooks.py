"""Hooks of a real agent: modems that are unplugged, fall silent and come back."""

from __future__ import annotations

import os
import pwd
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

TELL = """#!/bin/sh
echo "$(id -un): $NETBOND_EVENT $NETBOND_UPLINK [$NETBOND_IN_USE] $NETBOND_REASON" >> {told}
{more}
"""
QUICK = "[health]\ninterval = 0.4\ntimeout = 0.2\nhold_down = 0\n"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
        yield box


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for a hook: pytest's own are in reach of root alone."""
    with tempfile.TemporaryDirectory(prefix="nbhook") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def hook(box: Box, place: Path, text: str = "", more: str = "", user: str = "nobody") -> Path:
    """A hook that writes what it is told, and the file."""
    program, told = place / "tell", place / "told"
    told.touch()
    os.chown(told, pwd.getpwnam(user).pw_uid, -1)
    program.write_text(TELL.format(told=told, more=more))
    program.chmod(0o755)
    box.configure(f'{text}\n[[hook]]\nname = "tell"\ncommand = ["{program}"]\nuser = "{user}"\ntimeout = 1\n')
    box.start()
    return told


def lines(told: Path) -> list[str]:
    return told.read_text().splitlines()


def test_a_modem_is_unplugged_and_plugged_in(box: Box, place: Path) -> None:
    told = hook(box, place)
    box.unplug("usb1")
    wait_for(lambda: len(lines(told)) == 1, 5, "it is told of usb1")
    box.plug("usb1", 1)
    wait_for(lambda: len(lines(told)) == 2, 5, "and of its return")
    assert lines(told) == ["nobody: down usb1 [usb0] it is gone", "nobody: up usb1 [usb0 usb1] "]
    ended = "hook tell: down of usb1: ended with status 0"
    wait_for(lambda: ended in box.log.read_text(), 5, "its end is in the log")


def test_the_backup_takes_over_and_gives_back(box: Box, place: Path) -> None:
    """An unlike input: a silent gateway, and as root."""
    told = hook(box, place, QUICK + '[[uplink]]\nmatch = "usb1"\nbackup = true', user="root")
    sh("ip", "-n", box.far, "link", "set", "p0", "arp", "off")
    wait_for(lambda: len(lines(told)) == 2, 20, "usb1 takes over")
    sh("ip", "-n", box.far, "link", "set", "p0", "arp", "on")
    wait_for(lambda: len(lines(told)) == 4, 20, "and gives back")
    assert [line.split("]")[0] for line in lines(told)] == [
        "root: down usb0 [usb1",
        "root: failover  [usb1",
        "root: up usb0 [usb0",
        "root: failback  [usb0",
    ]
    assert "10.0.0.1" in lines(told)[0]


def test_a_hook_that_hangs_delays_nothing(box: Box, place: Path) -> None:
    told = hook(box, place, more="sleep 1000")
    box.unplug("usb1")
    wait_for(lambda: "down usb1" in told.read_text(), 5, "it is told, and hangs")
    box.plug("usb1", 1)
    wait_for(lambda: "usb1" in box.table(222), 5, "routing goes on")
    wait_for(lambda: "up usb1" in told.read_text(), 10, "it was ended, and is told the next")
    problem = "hook tell failed at its last run: down of usb1: took too long, and was ended"
    wait_for(lambda: problem in box.log.read_text(), 5, "the problem is in the log")
    assert box.stop(signal.SIGTERM) == 0
