"""Raw-IP modems (NOARP) without POINTOPOINT work without configuration, and what is not used has a reason."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box with a modem of the usual kind."""
    with Box(tmp_path) as box:
        box.plug("usb0", 0)
        yield box


def plug_raw_ip(box: Box, device: str, peer: str) -> None:
    """A link as cdc_mbim makes it: BROADCAST, MULTICAST, NOARP. Frames have the device's own MAC address."""
    ends = ["type", "veth", "peer", "name", peer, "netns", box.far]
    box.ip("link", "add", device, *ends)
    mac = box.ip("-o", "link", "show", device).split("link/ether ")[1].split()[0]
    sh("ip", "-n", box.far, "link", "set", peer, "address", mac, "arp", "off", "up")
    box.ip("link", "set", device, "arp", "off", "up")


def pings(box: Box, source: str, destination: str) -> bool:
    words = ["ping", "-c1", "-W10", "-I", source, destination]
    return subprocess.run(["ip", "netns", "exec", box.name, *words], capture_output=True).returncode == 0


def test_raw_ip_modems_without_a_word_of_configuration(box: Box) -> None:
    sh("ip", "-n", box.far, "addr", "add", "198.51.100.1/32", "dev", "lo")
    sh("ip", "-n", box.far, "addr", "add", "2001:db8:ff::1/128", "dev", "lo", "nodad")
    plug_raw_ip(box, "wwan0", "w0")
    box.ip("addr", "add", "10.117.16.183/32", "dev", "wwan0")
    box.ip("route", "add", "default", "dev", "wwan0", "metric", "101")
    sh("ip", "-n", box.far, "route", "add", "10.117.16.183", "dev", "w0")
    plug_raw_ip(box, "wwan1", "w1")
    box.ip("addr", "add", "2001:db8:1::5/64", "dev", "wwan1", "nodad")
    box.ip("-6", "route", "add", "default", "dev", "wwan1", "metric", "101")
    sh("ip", "-n", box.far, "route", "add", "2001:db8:1::5", "dev", "w1")
    box.configure("[health]\ninterval = 0.2\ntimeout = 0.2")
    box.start()
    assert box.way("8.8.8.8", "from", "10.117.16.183") == "wwan0"
    assert box.way("2001:4860:4860::8888", "from", "2001:db8:1::5") == "wwan1"
    assert pings(box, "10.117.16.183", "198.51.100.1")
    assert pings(box, "2001:db8:1::5", "2001:db8:ff::1")
    assert "dev wwan0" in box.table(222)
    # The check of the gateway has nobody to ask, and says nothing against them.
    wait_for(lambda: len(box.status().get("health", ())) > 0, 3.0, "checks have run")
    assert {(u["device"], u["state"]) for u in box.status()["uplinks"]} == {
        ("usb0", "up"),
        ("wwan0", "up"),
        ("wwan1", "up"),
    }
    # The kernel drops the default with the link, and does not bring it back.
    box.ip("link", "set", "wwan0", "down")
    wait_for(lambda: "wwan0" not in box.table(222), 1.0, "out of the default")
    box.ip("link", "set", "wwan0", "up")
    wait_for(lambda: "dev wwan0" in box.table(222), 1.0, "back")


def test_what_is_not_used_is_listed_with_its_reason(box: Box) -> None:
    for number, (device, address) in enumerate(
        (("usb1", "10.1.0.10/24"), ("usb2", "10.2.0.10/24"), ("usb3", "169.254.7.7/16"))
    ):
        box.ip("link", "add", device, "type", "veth", "peer", "name", f"q{number}", "netns", box.far)
        sh("ip", "-n", box.far, "link", "set", f"q{number}", "up")
        box.ip("link", "set", device, "up")
        box.ip("addr", "add", address, "dev", device, *(["scope", "link"] if "169" in address else []))
    box.ip("route", "add", "default", "dev", "usb2", "metric", "5000")
    box.ip("link", "add", "br0", "type", "bridge")
    box.ip("addr", "add", "10.3.0.1/24", "dev", "br0")
    box.start()
    status = box.run(*box.command("status", "--all", "--config", str(box.config_file))[4:])
    listed = [line.split(maxsplit=1) for line in status.partition("Not used\n")[2].splitlines()]
    reasons = {device: reason.strip() for device, reason in (line for line in listed if len(line) == 2)}
    assert reasons == {
        "lo": "loopback",
        "br0": "a bridge",
        "usb1": "no gateway known",
        "usb2": 'its default in main has no gateway, which this link needs (or set gateway = "none")',
        "usb3": "only a link-local address",
    }
    assert box.status()["agent"]["problems"] == []
