"""`netbond status` against a real kernel: what the agent sees, and what the kernel holds without an agent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def box() -> Iterator[str]:
    name = f"nbst{os.getpid()}"
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "add", "usb0", "type", "veth", "peer", "name", "far")
        sh("ip", "-n", name, "addr", "add", "10.0.0.10/24", "dev", "usb0")
        for device in ("lo", "usb0", "far"):
            sh("ip", "-n", name, "link", "set", device, "up")
        yield name
    finally:
        sh("ip", "netns", "del", name)


def status(box: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", box, sys.executable, "-m", "netbond", "status", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_the_kernel_holds_of_ours(box: str, tmp_path: Path) -> None:
    socket = f"{tmp_path}/s"
    empty = status(box, "--socket", socket)
    assert empty.returncode == 3
    assert empty.stdout == "The kernel holds no rules or routes of netbond's.\n"

    ours, other = ("proto", "78"), ("proto", "99")
    route = ("ip", "-n", box, "route", "add")
    sh(*route, "10.0.0.0/24", "dev", "usb0", "table", "100", "scope", "link", "src", "10.0.0.10", *ours)
    sh(*route, "default", "via", "10.0.0.1", "dev", "usb0", "table", "100", *ours)
    sh(*route, "default", "via", "10.0.0.1", "dev", "usb0", "table", "200", *other)
    rule = ("ip", "-n", box, "rule", "add")
    sh(*rule, "priority", "100", "from", "10.0.0.10", "lookup", "100", "protocol", "78")
    sh(*rule, "priority", "40", "oif", "usb0", "lookup", "100", "protocol", "78")
    sh(*rule, "priority", "41", "oif", "usb0", "lookup", "200", "protocol", "99")

    held = status(box, "--socket", socket)
    assert held.returncode == 3
    assert held.stderr == (
        f"netbond status: the agent is not running (nobody answers at {socket}); start it: netbond run\n"
    )
    assert held.stdout.splitlines() == [
        "Of netbond's the kernel still holds",
        "ip rule   priority 40 from all oif usb0 lookup 100 protocol 78",
        "ip rule   priority 100 from 10.0.0.10 lookup 100 protocol 78",
        "ip route  default via 10.0.0.1 dev usb0 table 100 proto 78",
        "ip route  10.0.0.0/24 dev usb0 table 100 proto 78 scope link src 10.0.0.10",
    ]

    plain = status(box, "--socket", socket, "--json")
    answer = json.loads(plain.stdout)
    assert plain.returncode == 3
    assert answer["agent"]["running"] is False
    assert answer["kernel"]["rules"] == [line[10:] for line in held.stdout.splitlines()[1:3]]
    assert answer["kernel"]["routes"] == [line[10:] for line in held.stdout.splitlines()[3:]]


def test_another_protocol_number_is_that_of_the_configuration(box: str, tmp_path: Path) -> None:
    sh("ip", "-n", box, "rule", "add", "priority", "41", "oif", "usb0", "lookup", "200", "protocol", "99")
    file = tmp_path / "netbond.toml"
    file.write_text("[routing]\nprotocol = 99\n")
    held = status(box, "--socket", f"{tmp_path}/s", "--config", str(file))
    assert "ip rule   priority 41 from all oif usb0 lookup 200 protocol 99\n" in held.stdout


# --- with an agent -----------------------------------------------------------------------------------------


@pytest.fixture
def modems(tmp_path: Path) -> Iterator[Box]:
    """A box with two modems, the first one's gateway known from a DHCP client's hook."""
    with Box(tmp_path) as box:
        box.plug("usb0", 0, default=False)
        box.plug("usb1", 1)
        box.configure(
            "[health]\ninterval = 0.2\ntimeout = 0.2\n"
            '[[uplink]]\nmatch = "usb1"\nlabel = "roof"\nbudget = "50GB"',
            agent="networkmanager = false\nmodemmanager = false",
        )
        yield box


def shown(box: Box, *words: str) -> str:
    output = box.run(*box.command("status", "--config", str(box.config_file), *words)[4:])
    return "\n".join(line.rstrip() for line in output.splitlines())


def test_who_named_the_gateway_and_when_and_why_an_uplink_is_dead(modems: Box) -> None:
    modems.start()
    lease = {"reason": "BOUND", "interface": "usb0", "new_ip_address": "10.0.0.10"}
    lease |= {"new_subnet_mask": "255.255.255.0", "new_routers": "10.0.0.1"}
    words = [f"{key}={value}" for key, value in lease.items()]
    hook = modems.command("hook", "dhclient", "--config", str(modems.config_file))[4:]
    before = time.time()
    modems.run("env", *words, *hook)
    wait_for(lambda: len(modems.status()["uplinks"]) == 2, 5, "the lease's uplink is there")
    first = next(uplink for uplink in modems.status()["uplinks"] if uplink["device"] == "usb0")
    assert before <= first["gateway_since"] <= time.time()
    assert re.search(
        r"^  usb0 +10\.0\.0\.10 10\.0\.0\.1 \(dhclient, \d+ s ago\) ", shown(modems), re.MULTILINE
    )
    assert re.search(r"(?m)^  roof \(usb1\) 10\.0\.1\.10 10\.0\.1\.1 \(main\) ", shown(modems))
    assert re.search(r"(?m)^  roof  [\d.]+ kB of 50\.0 GB used$", shown(modems))

    def health(device: str) -> str:
        found = [str(each["state"]) for each in modems.status()["health"] if each["device"] == device]
        return "".join(found[:1])  # nothing is known at first

    wait_for(lambda: health("usb0") == health("usb1") == "up", 10, "both gateways answer")
    # Its address goes, not its cable: nobody answers ARP any more.
    sh("ip", "-n", modems.far, "addr", "flush", "dev", "p0")
    sh("ip", "-n", modems.far, "link", "set", "p0", "arp", "off")
    wait_for(lambda: health("usb0") == "down", 10, "checks notice")
    wait_for(lambda: not modems.status()["uplinks"][0]["in_ecmp"], 5, "it is out of the default")
    dead = re.compile(r"(?m)^! usb0 dead: gateway: .*\(for \d+ s\)$")
    wait_for(lambda: dead.search(shown(modems)) is not None, 10, "it is a problem, with its age")
    everything = shown(modems, "--all")
    assert re.search(r"(?m)^  health, IPv4  down: gateway: ", everything)
    assert re.search(r"(?m)^    gateway     failing", everything)
    assert "\n\nNot used\n  lo  loopback" in everything
