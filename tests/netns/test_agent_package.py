"""A package that is replaced under a running agent, as pip does it: routing goes on, and so does a stream."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import netbond
from tests.netns.box import Box, wait_for

pytestmark = pytest.mark.root

SENDER = '[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "10.0.0.1:5000"\n'


class CopiedBox(Box):
    """Its agent runs from a copy of the package; `-X importtime` tells of each import."""

    def command(self, *words: str) -> list[str]:
        """Return a netbond command line that runs in this box."""
        options = ("-P", "-X", "importtime") if words[0] == "run" else ("-P",)
        return ["ip", "netns", "exec", self.name, sys.executable, *options, "-m", "netbond", *words]


@pytest.fixture
def box() -> Iterator[CopiedBox]:
    # Not below pytest's folder: the engine's user must be able to read the package.
    with tempfile.TemporaryDirectory(prefix="nbcopy") as name:
        folder = Path(name)
        folder.chmod(0o755)
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(netbond.__file__).parent, folder / "site" / "netbond", ignore=skip)
        with CopiedBox(folder) as box:
            box.environment["PYTHONPATH"] = str(folder / "site")
            for number in range(2):
                box.plug(f"usb{number}", number)
            box.ip("link", "set", "lo", "up")
            yield box


def engine(box: Box) -> dict[str, object]:
    found = box.status()["engines"][0]
    assert isinstance(found, dict)
    return found


def ports(box: Box) -> list[str]:
    """The port of the link over usb0, which the receiver knows the stream by."""
    lines = [line.split()[3] for line in box.run("ss", "-Huan").splitlines()]
    return [each for each in lines if each.startswith("10.0.0.10%usb0:")]


def test_while_it_is_away_and_after_it_came_back_as_another(box: CopiedBox) -> None:
    box.configure(SENDER)
    box.start()
    wait_for(lambda: engine(box)["state"] == "running" and bool(engine(box)["stats"]), 10, "the sender runs")
    wait_for(lambda: len(ports(box)) == 1, 10, "its link over usb0 is open")
    before, started = ports(box), len(box.log.read_text())
    package = box.folder / "site" / "netbond"
    shutil.move(package, box.folder / "away")
    package.mkdir()
    (package / "__init__.py").touch()  # half installed

    box.unplug("usb1")
    wait_for(lambda: "usb1" not in box.table(222), 5, "it is routed without usb1")
    box.plug("usb1", 1)
    wait_for(lambda: len(box.status()["uplinks"]) == 2, 5, "and with it")
    pid = engine(box)["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    deaths = "No module named netbond.__main__"
    wait_for(lambda: box.log.read_text().count(f"ended with status 1: {sys.executable}: {deaths}") > 0, 5, "")
    wait_for(lambda: box.status()["engines"][0]["restarts"] > 4, 10, "it is tried again and again")

    text = (box.folder / "away" / "__init__.py").read_text()
    (box.folder / "away" / "__init__.py").write_text(text.replace(netbond.__version__, "9.9.9"))
    shutil.rmtree(package)
    shutil.move(box.folder / "away", package)
    wait_for(lambda: engine(box)["state"] == "running", 15, "it runs")
    wait_for(lambda: "10.0.0.10%usb0" in box.run("ss", "-Huan"), 5, "it has its link")
    assert ports(box) == before
    log = box.log.read_text()[started:]
    assert "import time:" not in log, "the agent imports nothing that may be away by then"
    assert "9.9.9" in log
