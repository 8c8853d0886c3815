"""The agent with gateways that fall silent: out of ECMP and list, back by itself, never without a way."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.lab.netns import call_in
from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

QUICK = "[health]\ninterval = 0.4\ntimeout = 0.2\nhold_down = 0\n"
SENDER = '[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "198.51.100.1:5000"\n'


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(3):
            box.plug(f"usb{number}", number)
        yield box


def gateway(box: Box, number: int, answers: bool) -> None:
    """The gateway of usbN answers ARP, or does not."""
    sh("ip", "-n", box.far, "link", "set", f"p{number}", "arp", "on" if answers else "off")


def healths(box: Box) -> dict[str, str]:
    return {health["device"]: health["state"] for health in box.status()["health"]}


def states(box: Box) -> dict[str, str]:
    return {uplink["device"]: uplink["state"] for uplink in box.status()["uplinks"]}


def addresses(box: Box) -> list[str]:
    return (box.folder / "ips").read_text().split()


def legs(box: Box) -> set[str]:
    """The uplinks of the ECMP default."""
    shown = box.table(222)
    return {f"usb{number}" for number in range(3) if f"dev usb{number}" in shown}


def test_a_silent_gateway_takes_its_uplink_out_and_brings_it_back(box: Box) -> None:
    box.configure(QUICK + SENDER)
    box.start()
    wait_for(lambda: set(healths(box).values()) == {"up"}, 15, "all are up")
    table, rules = box.table(101), box.rules()
    assert legs(box) == {"usb0", "usb1", "usb2"}

    gateway(box, 1, answers=False)
    wait_for(lambda: legs(box) == {"usb0", "usb2"}, 15, "usb1 leaves the ECMP default")
    wait_for(lambda: addresses(box) == ["10.0.0.10", "10.0.2.10"], 5, "and the list")
    assert box.table(101) == table  # checks go on through it
    assert box.rules() == rules
    uplink = box.status()["uplinks"][1]
    assert (uplink["state"], uplink["device"]) == ("dead", "usb1")
    assert "10.0.1.1" in uplink["reason"]
    wait_for(lambda: "10.0.1.10" in json.dumps(box.status()["engines"]), 10, "the engine goes on trying")

    gateway(box, 1, answers=True)
    wait_for(lambda: legs(box) == {"usb0", "usb1", "usb2"}, 15, "it is back")
    wait_for(lambda: addresses(box) == ["10.0.0.10", "10.0.1.10", "10.0.2.10"], 5, "in the list as well")
    assert [one for one in box.status()["agent"]["problems"] if "pure Python" not in one] == []


def test_the_kernels_word_on_a_gateway_brings_the_check_forward(box: Box) -> None:
    box.configure("[health]\ninterval = 600\ntimeout = 0.3\ndown_after = 1\nup_after = 1\nhold_down = 0\n")
    box.start()
    wait_for(lambda: set(healths(box).values()) == {"up"}, 15, "all are up")

    def send() -> None:
        """So that the kernel needs to know where the gateway is."""
        sh("ip", "-n", box.name, "neigh", "flush", "dev", "usb1")
        with call_in(box.name, lambda: socket.socket(type=socket.SOCK_DGRAM)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"usb1")
            sock.sendto(b"anything", ("10.0.1.1", 9))

    gateway(box, 1, answers=False)
    assert legs(box) == {"usb0", "usb1", "usb2"}
    send()
    wait_for(lambda: legs(box) == {"usb0", "usb2"}, 30, "ten minutes are not waited for")
    gateway(box, 1, answers=True)
    send()
    wait_for(lambda: legs(box) == {"usb0", "usb1", "usb2"}, 30, "it is back as soon as the kernel reaches it")


def test_all_dead_leaves_the_last_state(box: Box) -> None:
    box.configure(QUICK)
    box.start()
    wait_for(lambda: set(healths(box).values()) == {"up"}, 15, "all are up")
    gateway(box, 1, answers=False)
    wait_for(lambda: legs(box) == {"usb0", "usb2"}, 15, "usb1 is out")
    for number in (0, 2):
        gateway(box, number, answers=False)
    wait_for(lambda: set(healths(box).values()) == {"down"}, 15, "all are down")
    # One of the two went first, which left one; from then on nothing more is taken.
    wait_for(lambda: "used because all are dead" in json.dumps(box.status()["uplinks"]), 5, "the last stays")
    wait_for(lambda: len(addresses(box)) == len(legs(box)), 5, "senders are told")
    last, listed = legs(box), addresses(box)
    assert last
    assert last <= {"usb0", "usb2"}
    time.sleep(1.5)
    assert (legs(box), addresses(box)) == (last, listed)
    assert len(listed) == len(last)

    gateway(box, 1, answers=True)
    wait_for(lambda: legs(box) == {"usb1"}, 15, "the one that lives carries all")
    for number in (0, 2):
        gateway(box, number, answers=True)
    wait_for(lambda: legs(box) == {"usb0", "usb1", "usb2"}, 15, "all are back")


def test_the_default_checks_send_nothing_to_the_internet(box: Box, tmp_path: Path) -> None:
    """They ask the gateway's own address and nobody else."""
    box.configure("[health]\ninterval = 0.5\ntimeout = 1\n")
    words = ["tcpdump", "-n", "-l", "-i", "any", "ip and not dst net 10.0.0.0/8"]
    seen = tmp_path / "seen"
    with (tmp_path / "tcpdump").open("wb") as log, seen.open("wb") as out:
        capture = subprocess.Popen(["ip", "netns", "exec", box.name, *words], stdout=out, stderr=log)
    try:
        wait_for(lambda: b"listening on" in (tmp_path / "tcpdump").read_bytes(), 20, "tcpdump listens")
        box.start()
        wait_for(lambda: set(healths(box).values()) == {"up"}, 40, "all are up")
        time.sleep(1.0)
        box.run("bash", "-c", "echo >/dev/udp/192.0.2.99/9")  # the capture can see
        wait_for(lambda: "192.0.2.99" in seen.read_text(), 10, "the capture has seen it")
    finally:
        capture.terminate()
        capture.wait(40)
    assert [line for line in seen.read_text().splitlines() if line and "192.0.2.99" not in line] == []
