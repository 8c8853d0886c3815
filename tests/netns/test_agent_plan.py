"""`netbond plan` beside the agent: nothing to do while the agent has done it, whatever it knows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

ALL = """
[router]
lan = ["eth1"]
[sysctl]
multipath_hash = "flows"
[health]
interval = 0.3
timeout = 0.2
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
        box.ip("link", "add", "eth1", "type", "veth", "peer", "name", "client")
        box.ip("addr", "add", "192.168.50.1/24", "dev", "eth1")
        box.ip("link", "set", "eth1", "up")
        box.configure(ALL)
        yield box


def plan(box: Box, *options: str) -> subprocess.CompletedProcess[str]:
    command = box.command("plan", "--config", str(box.config_file), *options)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_settings_and_nftables_are_in_it_and_it_can_be_carried_out(box: Box) -> None:
    planned = plan(box)
    assert (planned.returncode, planned.stderr) == (2, "")
    for line in (
        "sysctl -w net.ipv4.fib_multipath_hash_policy=1  # ",
        "sysctl -w net.ipv4.conf.eth1.forwarding=1  # router mode forwards between LAN and uplinks (now 0)",
        "nft -f - <<'END'\n# the LAN shares the uplinks\n",
    ):
        assert line in planned.stdout
    found = json.loads(plan(box, "--json").stdout)
    assert found[-1]["command"] == "nft -f -"
    assert found[-1]["why"] == "the LAN shares the uplinks"
    assert "masquerade" in found[-1]["input"]
    # The text is a shell script that does it all.
    box.run("sh", "-e", "-c", planned.stdout)
    again = plan(box)
    assert "ip " not in again.stdout.partition("nft -f -")[0]
    assert "sysctl" not in again.stdout


def test_nothing_to_do_beside_the_agent(box: Box) -> None:
    box.start()
    planned = plan(box)
    assert (planned.returncode, planned.stdout, planned.stderr) == (0, "", "")
    # What only the agent can know counts as well: a silent gateway.
    sh("ip", "-n", box.far, "link", "set", "p1", "arp", "off")
    wait_for(lambda: "dev usb1" not in box.table(222), 15, "usb1 is dead")
    planned = plan(box)
    assert (planned.returncode, planned.stdout) == (0, "")

    def is_planned() -> bool:
        box.run("sysctl", "-qw", "net.ipv4.conf.eth1.forwarding=0")
        return "eth1.forwarding=1" in plan(box).stdout

    # The agent mends it as well, as soon as something makes it look, which may be before the plan is made.
    wait_for(is_planned, 15, "a setting that somebody has changed")


def test_what_the_agent_learned_counts_without_it(box: Box) -> None:
    box.configure(ALL, agent='on_stop = "keep"')
    box.start()
    box.ip("link", "set", "usb1", "down")  # the kernel drops the default, the agent remembers it
    wait_for(lambda: "dev usb1" not in box.table(222), 5, "usb1 is down")
    wait_for(lambda: plan(box).returncode == 0, 5, "nothing to do")
    box.stop()
    planned = plan(box)
    assert (planned.returncode, planned.stdout) == (0, "")
