"""`netbond plan` and `netbond explain` beside the agent: what it knows counts, or is said to be left out."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.model import FACTS_VERSION, Facts
from netbond.status.control import request
from netbond.system.typed_json import from_json
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
        box.add_lan()
        box.configure(ALL)
        yield box


AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def netbond(box: Box, *words: str, nobody: bool = False) -> subprocess.CompletedProcess[str]:
    """A command in the box, run by root or by nobody."""
    command = box.command(*words, "--config", str(box.config_file))
    if nobody:
        command[4:4] = AS_NOBODY
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def plan(box: Box, *options: str) -> subprocess.CompletedProcess[str]:
    return netbond(box, "plan", *options)


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
    wait_for(lambda: plan(box).returncode == 0, 5, "nothing to do")  # the table of nftables comes last

    def is_planned() -> bool:
        # Not one whose changes the kernel reports, such as forwarding.
        box.run("sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=0")
        return "fib_multipath_hash_policy=1" in plan(box).stdout

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


# --- the facts of the agent, and without them ---------------------------------------------------------------


@pytest.fixture
def deaf() -> Iterator[Box]:
    """An agent runs, and has found out that the gateway of usb1 is silent: no route or rule says so."""
    # Not in pytest's folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="nbtplan") as name, Box(Path(name)) as box:
        box.folder.chmod(0o755)
        for number in range(2):
            box.plug(f"usb{number}", number)
        box.configure("[health]\ninterval = 0.3\ntimeout = 0.2\n")
        box.start()
        sh("ip", "-n", box.far, "link", "set", "p1", "arp", "off")
        wait_for(lambda: "dead" in [each["state"] for each in box.status()["uplinks"]], 15, "usb1 is dead")
        yield box


@pytest.fixture
def _nobody_may_run_it() -> None:
    """Whether a checkout below somebody's home is open to others is not netbond's affair."""
    tried = subprocess.run([*AS_NOBODY, sys.executable, "-c", "import netbond.cli.plan"], capture_output=True)
    if tried.returncode:
        pytest.skip("users other than root cannot read this checkout")


ONLY_THE_AGENT = "# what only the agent knows is left out: the command 'facts' is for root\n"


def test_root_sees_what_the_agent_sees(deaf: Box) -> None:
    planned = netbond(deaf, "plan")
    assert (planned.returncode, planned.stdout, planned.stderr) == (0, "", "")
    explained = netbond(deaf, "explain", "8.8.8.8")
    assert (explained.returncode, explained.stderr) == (0, "")
    assert "result: via 10.0.0.1 dev usb0 (table 222)\n" in explained.stdout
    assert "netbond intends the same." in explained.stdout
    facts = request(deaf.folder / "control.sock", {"command": "facts"}, timeout=40.0)
    assert facts["version"] == FACTS_VERSION
    known = from_json(Facts, facts["facts"])
    assert [health.device for health in known.health if health.state == "down"] == ["usb1"]


@pytest.mark.usefixtures("_nobody_may_run_it")
def test_nobody_is_told_what_is_left_out_and_gets_the_rest(deaf: Box) -> None:
    planned = netbond(deaf, "plan", nobody=True)
    learned = f"# {deaf.folder}/state/learned: Permission denied\n"
    assert planned.stderr == learned + ONLY_THE_AGENT
    # Without the verdict, both uplinks are as good.
    assert planned.returncode == 2
    assert "usb1" in planned.stdout
    found = json.loads(netbond(deaf, "plan", "--json", nobody=True).stdout)
    assert all(each["command"].startswith("ip ") for each in found)

    explained = netbond(deaf, "explain", "8.8.8.8", nobody=True)
    assert explained.stderr.endswith(ONLY_THE_AGENT)
    assert "result: via 10.0.0.1 dev usb0 (table 222)\n" in explained.stdout
    assert "result: via 10.0.0.1 dev usb0 or via 10.0.1.1 dev usb1 (table 222)\n" in explained.stdout
    assert explained.returncode == 2
    bound = netbond(deaf, "explain", "8.8.8.8", "--dev", "usb1", nobody=True)
    assert bound.returncode == 0  # which no verdict changes


@pytest.mark.usefixtures("_nobody_may_run_it")
def test_nobody_without_an_agent_is_told_nothing_of_one(deaf: Box) -> None:
    deaf.stop()
    planned = netbond(deaf, "plan", nobody=True)
    assert planned.returncode == 2
    assert planned.stderr == f"# {deaf.folder}/state/learned: Permission denied\n"
