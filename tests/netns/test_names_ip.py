"""Named tables as `ip` reads them, on an /etc/iproute2 of the namespace's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.kernel.iproute2_names import NameFiles

pytestmark = pytest.mark.root


def ip(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", name, "ip", *words], capture_output=True, text=True, timeout=40
    )


@pytest.fixture
def namespace() -> Iterator[tuple[str, Path]]:
    name = f"nbnames{os.getpid()}"
    etc = Path("/etc/netns") / name / "iproute2"
    etc.mkdir(parents=True)
    try:
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=40)
        yield name, etc
    finally:
        subprocess.run(["ip", "netns", "del", name], timeout=40)
        shutil.rmtree(etc.parent)


def test_ip_knows_the_names(namespace: tuple[str, Path]) -> None:
    name, etc = namespace
    for words in (
        "link set lo up",
        "address add 10.0.0.10/24 dev lo",
        "route add default via 10.0.0.1 dev lo table 100 proto 78",
        "rule add from 10.0.0.10 lookup 100 priority 100",
    ):
        assert ip(name, *words.split()).returncode == 0, words
    assert ip(name, "route", "show", "table", "usb0").returncode != 0

    files = NameFiles(etc)
    assert files.write({"usb0": 100, "main": 130}, 222, 78) == ()
    shown = ip(name, "route", "show", "table", "usb0")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.split() == ["default", "via", "10.0.0.1", "dev", "lo", "proto", "netbond"]
    assert "from 10.0.0.10 lookup usb0" in ip(name, "rule").stdout
    only = ip(name, "route", "show", "table", "usb0", "proto", "netbond").stdout
    assert only.split() == ["default", "via", "10.0.0.1", "dev", "lo"]  # `ip` leaves out what was asked for
    # A device called "main" has not taken the name of table 254.
    assert "lookup main" in ip(name, "rule").stdout

    assert files.remove() == ()
    assert ip(name, "route", "show", "table", "usb0").returncode != 0
