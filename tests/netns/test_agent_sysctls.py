"""The agent and the kernel's settings: set, recorded, and put back however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, wait_for

pytestmark = pytest.mark.root

STRICT = ("net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.usb0.rp_filter=1", "net.ipv4.conf.usb1.rp_filter=0")
SETTINGS = (
    "net.ipv4.conf.usb0.rp_filter",
    "net.ipv4.conf.usb1.rp_filter",
    "net.ipv4.conf.usb0.ignore_routes_with_linkdown",
    "net.ipv6.conf.usb1.ignore_routes_with_linkdown",
    "net.ipv4.fib_multipath_hash_policy",
    "net.ipv4.conf.eth1.forwarding",
    "net.ipv4.conf.usb0.forwarding",
)
CONFIG = '[sysctl]\nmultipath_hash = "flows"\n[router]\nlan = ["eth1"]\n'


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
        box.add_lan()
        for setting in STRICT:
            box.run("sysctl", "-qw", setting)
        box.configure(CONFIG)
        yield box


def values(box: Box) -> list[str]:
    return box.run("sysctl", "-n", *SETTINGS).split()


BEFORE = ["1", "0", "0", "0", "0", "0", "0"]
SET = ["2", "2", "1", "1", "1", "1", "1"]


def restore(box: Box) -> subprocess.CompletedProcess[str]:
    """`netbond run --restore`."""
    command = box.command("run", "--restore", "--config", str(box.config_file))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def ours(box: Box) -> bool:
    return "inet netbond" in box.run("nft", "list", "tables")


def test_set_recorded_and_put_back_on_stop(box: Box) -> None:
    assert values(box) == BEFORE
    box.start()
    assert values(box) == SET
    record = json.loads((box.folder / "state/sysctls.json").read_text())["settings"]
    assert record["net/ipv4/conf/usb0/rp_filter"] == {"old": "1", "ours": "2"}
    assert ours(box)
    assert box.status()["agent"]["problems"] == []
    assert box.stop() == 0
    assert values(box) == BEFORE
    assert not ours(box)
    assert not (box.folder / "state/sysctls.json").exists()


def test_on_stop_keep_leaves_all_for_restore(box: Box) -> None:
    box.configure(CONFIG, agent='on_stop = "keep"')
    box.start()
    box.stop()
    assert values(box) == SET
    assert ours(box)
    done = restore(box)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(box) == BEFORE
    assert not ours(box)


def test_killed_then_restored(box: Box) -> None:
    box.start()
    state = box.state()
    box.stop(signal.SIGKILL)
    assert values(box) == SET
    box.run("sysctl", "-qw", "net.ipv4.conf.usb1.rp_filter=1")  # somebody has the last word
    assert restore(box).returncode == 0
    assert values(box) == ["1", "1", "0", "0", "0", "0", "0"]
    assert not ours(box)
    assert box.state() == state  # routes and rules stay: they lead out
    done = restore(box)
    assert (done.returncode, done.stdout) == (0, "nothing to put back\n")


def test_killed_and_started_again_still_knows_the_old_values(box: Box) -> None:
    box.start()
    box.stop(signal.SIGKILL)
    box.start()
    assert values(box) == SET
    box.stop()
    assert values(box) == BEFORE


def test_restore_puts_defaults_back_into_main(box: Box) -> None:
    classic = '[routing]\nlayout = "classic"\ntake_over_default = true\n'
    box.configure(classic)
    before = box.ip("route", "show", "default")
    assert before
    box.start()
    wait_for(lambda: box.ip("route", "show", "default") == "", 5, "taken over")
    box.stop(signal.SIGKILL)
    done = restore(box)
    assert (done.returncode, done.stderr) == (0, "")
    assert box.ip("route", "show", "default") == before
    assert "ip route add default via 10.0.0.1 dev usb0" in done.stdout


def test_restore_beside_a_running_agent_is_refused(box: Box) -> None:
    box.start()
    done = restore(box)
    assert done.returncode == 69
    assert "is running" in done.stderr
    assert done.stderr.count("\n") <= 2
    assert values(box) == SET


def test_a_new_interface_gets_its_settings_and_reload_takes_them_back(box: Box) -> None:
    box.configure("")
    box.start()
    assert values(box)[:2] == ["2", "2"]
    box.run("sysctl", "-qw", "net.ipv4.conf.default.rp_filter=1")
    box.plug("usb2", 2)
    wait_for(
        lambda: box.run("sysctl", "-n", "net.ipv4.conf.usb2.rp_filter") == "2\n", 5, "the new interface's"
    )
    box.configure("[sysctl]\nrp_filter = false\n")
    assert box.agent is not None
    box.agent.send_signal(signal.SIGHUP)
    wait_for(lambda: values(box)[:2] == ["1", "0"], 5, "put back")
    wait_for(lambda: values(box)[2] == "1", 5, "the others stay")
