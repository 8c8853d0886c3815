"""The Debian packages: installed, used, upgraded, removed, purged. They are built by scripts/build."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.lab.lab import Lab
from tests.boxes.container import Container, booted
from tests.boxes.test_install import BOXES, differences, stream

RELEASES = {"bookworm": "deb12", "bookworm-nm": "deb12", "trixie": "deb13"}


def package(release: str) -> Path:
    """The package of this release, in the folder that $NETBOND_PACKAGES names."""
    folder = Path(os.environ.get("NETBOND_PACKAGES", "dist"))
    found = sorted(folder.glob(f"netbond_*~{release}_amd64.deb"))
    if not found:
        pytest.skip(f"{folder} has no package for {release}: scripts/build wheels deb")
    return found[-1]


@pytest.fixture(params=list(RELEASES))
def world(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> Iterator[tuple[Lab, Container]]:
    """A box of this system in a lab, with the package in /root."""
    deb = package(RELEASES[request.param])
    lab = Lab(f"nbp{os.getpid()}", 2, receiver=True, dhcp=False)
    name, setup = request.param, BOXES[request.param]
    with lab, booted(state / name, tmp_path, "box", lab.topology.box, setup) as container:
        shutil.copy(deb, container.folder / "root" / "netbond.deb")
        yield lab, container


def test_a_package_from_its_first_day_to_its_last(world: tuple[Lab, Container]) -> None:
    lab, box = world
    box.until("ip -4 -o address show dev usb1", "inet ")
    before = box.snapshot()

    assert "netbond is not started yet" in box.run("dpkg -i netbond.deb")
    assert "inactive" in box.try_run("systemctl is-active netbond").stdout
    box.run("netbond install --sender 203.0.113.10:5000 --dry-run")
    assert box.try_run("ls /etc/netbond").returncode != 0
    box.run("netbond install --sender 203.0.113.10:5000")
    box.until("netbond status --check", "2 links")
    assert "(compiled)" in box.run("netbond --version")
    lab.start("agent", lab.topology.box, ["sleep", "600"])
    sent, lost = stream(lab, 5.0)
    assert sent > 2000
    assert lost == 0

    box.run("dpkg -i netbond.deb")  # as an upgrade
    box.until("netbond status --check", "2 links")
    box.run("dpkg -r netbond")
    assert "78" not in box.run("ip rule; ip route show table all proto 78")
    assert box.run("ls /etc/netbond") == "netbond.toml\n"
    box.run("dpkg -P netbond")
    dpkg = ("/var/lib/dpkg/", "/etc/iproute2")
    left = {path for path in differences(before, box.snapshot()) if not path.startswith(dpkg)}
    assert left == set()
