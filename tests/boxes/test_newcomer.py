"""A newcomer with two fresh machines and README.md: its own commands, timed, until a stream is played.

The machines reach Debian's mirror and PyPI, the box through its modems. NETBOND_BOXES_CA names certificates
that they have to trust, if somebody reads along.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.lab import netns
from netbond.lab.lab import Lab
from netbond.lab.topology import RECEIVER
from tests.boxes.container import Container, booted

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEVICES = ("usb0", "usb1", "usb2", "usb3")
LIMIT_S = 300.0
STEP_S = 400.0  # on a busy machine
BOX = "".join(f"auto {each}\nallow-hotplug {each}\niface {each} inet dhcp\n" for each in DEVICES)
SETUP = {
    # slirp4netns answers there. dhcpcd makes resolv.conf anew, and the lab's modems name no server.
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/resolv.conf.head": "nameserver 10.0.2.3\n",
    "etc/hosts": f"127.0.0.1 localhost\n{RECEIVER} bond.example.org\n",
}
GIT = "apt-get update -qq && apt-get install -y -qq --no-install-recommends git"
NAT = """\
table ip internet {
    chain post {
        type nat hook postrouting priority srcnat
        oifname "tap0" masquerade
    }
}
"""


def commands(before: str) -> list[str]:
    """The lines of the shell block of README.md that comes after this text."""
    text = README.partition(before)[2]
    assert text, before
    block = re.search("```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    lines = block[1].replace("\\\n", " ").splitlines()
    lines = [line.replace("REPOSITORY", "/root/netbond.git") for line in lines]
    return [
        line.replace("sudo scripts/", "cd netbond && sudo scripts/") for line in lines
    ]  # each has a shell


@contextlib.contextmanager
def internet(lab: Lab) -> Iterator[None]:
    """Lead the lab's internet on to the real one."""
    ready, told = os.pipe()
    command = ["slirp4netns", "--configure", "--disable-host-loopback", f"--ready-fd={told}"]
    command += ["--netns-type=path", f"/run/netns/{lab.topology.net}", "tap0"]
    process = subprocess.Popen(command, pass_fds=[told], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(told)
    try:
        assert os.read(ready, 1) == b"1", "slirp4netns does not start"

        def inside() -> None:
            netns.write_sysctls({"net/ipv4/ip_forward": "1"})
            subprocess.run(["nft", "-f", "-"], input=NAT, text=True, check=True)

        netns.call_in(lab.topology.net, inside)
        yield
    finally:
        os.close(ready)
        process.terminate()
        process.wait()


World = tuple[Lab, Container, Container]


@pytest.fixture(params=["bookworm", "trixie"])
def world(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> Iterator[World]:
    """A box and a server of this release, a day old, with this checkout to clone."""
    lab = Lab(
        f"nbn{os.getpid()}",
        devices=list(DEVICES),
        twins=DEVICES[2:],
        links=dict.fromkeys(DEVICES, ("rate=50", "delay=5")),
        receiver=False,
        dhcp=False,
    )
    system, setup = state / f"{request.param}-fresh", dict(SETUP)
    if bundle := os.environ.get("NETBOND_BOXES_CA"):
        setup["etc/ssl/certs/ca-certificates.crt"] = Path(bundle).read_text(encoding="utf-8")
    with (
        lab,
        internet(lab),
        booted(system, tmp_path, "box", lab.topology.box, {**setup, "etc/network/interfaces": BOX}) as box,
        booted(system, tmp_path, "server", lab.topology.net, setup) as server,
    ):
        for each in (box, server):
            each.environment = {"DEBIAN_FRONTEND": "noninteractive"}
            clone = ["git", "clone", "-q", "--bare", "--depth=1", f"file://{ROOT}"]
            subprocess.run([*clone, each.folder / "root/netbond.git"], check=True)
        try:
            yield lab, box, server
        finally:
            tell(box, server)


def tell(*containers: Container) -> None:
    """Print what was done, and how long each took."""
    for container in containers:
        for command, seconds in container.times:
            print(f"{container.name:7} {seconds:6.1f} s  {command}")
    print(f"together {taken(*containers):.0f} s; load of the machine now: {os.getloadavg()[0]:.0f}")


def taken(*containers: Container) -> float:
    """Seconds of all steps, one after the other."""
    return sum(seconds for container in containers for _, seconds in container.times)


def test_two_machines_and_the_readme(world: World) -> None:
    _, box, server = world
    box.until("ip -4 -o address show dev usb3", "inet ")
    for container, title in ((server, "On the server:"), (box, "On the box:")):
        container.run(GIT, STEP_S)
        for command in commands(title):
            container.run(command, STEP_S)
    box.until("netbond status --check", "READY over 4 of 4 links, no SRT caller yet")

    _, _, *install, play = commands("**A receiver on a server.**")
    for command in install:
        server.run(command, STEP_S)
    player = subprocess.Popen(server.command(play), stderr=subprocess.DEVNULL)
    try:
        server.until("ss -uln", "127.0.0.1:4001")
        before, encode, after = split(commands("**A Raspberry Pi with sticks, and an encoder.**"))
        for command in before:
            box.run(command, STEP_S)
        started = time.monotonic()
        encoder = subprocess.Popen(box.command(encode), stderr=subprocess.DEVNULL)
        try:
            server.until("[ -s received.ts ] && echo there", "there")
            box.times.append(("until the server has something to play", time.monotonic() - started))
            needed_s = taken(box, server)
            box.until("netbond status --check", "STREAMING")
            for command in after:
                assert "STREAMING" in box.run(command)
            assert encoder.wait(60) == 0
        finally:
            encoder.kill()
        player.wait(30)
    finally:
        player.kill()
    probe = "ffprobe -v error -select_streams v -count_packets -show_entries stream=nb_read_packets"
    frames = int(server.run(f"{probe} -of csv=p=0 received.ts").split()[0].strip(","))
    assert frames > 540, "20 s of 30 frames a second, but for what comes before ffmpeg has seen a keyframe"
    assert needed_s < LIMIT_S, "until a stream was played, one step after the other; is the machine busy?"


def split(lines: list[str]) -> tuple[list[str], str, list[str]]:
    """What comes before the encoder, the encoder, what comes after it."""
    encoder = next(number for number, line in enumerate(lines) if line.startswith("ffmpeg"))
    return lines[:encoder], lines[encoder], lines[encoder + 1 :]
