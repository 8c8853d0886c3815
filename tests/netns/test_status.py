"""`netbond status` without an agent, against a real kernel: netbond's own rules and routes, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


def sh(*command: str) -> None:
    subprocess.run(command, check=True, timeout=20)


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
        timeout=30,
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
