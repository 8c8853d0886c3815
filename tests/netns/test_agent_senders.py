"""Somebody else's SRTLA sender beside the agent: the address list, and SIGHUP by process name and pid file.

The stand-in does what such senders do: it has a socket at each address of the list, and reads the list again
on SIGHUP. With NETBOND_FOREIGN_SRTLA (a folder with srtla_send) the real one is tried, too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

STAND_IN = """#!{python}
import signal, socket, sys
sockets = {{}}
def read(*_):
    with open(sys.argv[4]) as file:
        wanted = set(file.read().split())
    if not wanted:
        sys.exit("no addresses")
    for address in wanted - sockets.keys():
        sockets[address] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sockets[address].bind((address, 0))
    for address in sockets.keys() - wanted:
        sockets.pop(address).close()
signal.signal(signal.SIGHUP, read)
read()
while True:
    signal.pause()
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        box.ip("addr", "add", "127.0.0.1/8", "dev", "lo", check=False)
        for number in range(3):
            box.plug(f"usb{number}", number)
        yield box


def program(folder: Path, kind: str) -> Path:
    """The sender, by a name of its own: signals by name reach every process of that name on the machine."""
    path = folder / f"snd{os.getpid()}"
    if kind == "real":
        found = os.environ.get("NETBOND_FOREIGN_SRTLA")
        if found is None:
            pytest.skip("NETBOND_FOREIGN_SRTLA is unset: name the folder of BELABOX srtla_send")
        shutil.copy(Path(found) / "srtla_send", path)
    else:
        path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return path


@contextmanager
def sender(box: Box, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The sender runs in the box."""
    command = ["nsenter", f"--net=/run/netns/{box.name}", str(path), "6000", "192.0.2.1", "5000"]
    with (box.folder / "sender.log").open("ab") as log:
        process = subprocess.Popen([*command, str(box.folder / "ips")], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def bound(process: subprocess.Popen[bytes], box: Box) -> set[str]:
    """The addresses of the uplinks at which the process has sockets."""
    sockets = sh("ip", "netns", "exec", box.name, "ss", "-Huanp")
    return {
        address
        for line in sockets.splitlines()
        if f"pid={process.pid}," in line
        for address in re.findall(r"(10\.0\.\d+\.10):", line)
    }


@pytest.mark.parametrize("kind", ["stand-in", "real"])
@pytest.mark.parametrize("by", ["name", "pid file", "both"])
def test_the_sender_is_told_of_each_change(box: Box, kind: str, by: str) -> None:
    path = program(box.folder, kind)
    pid_file = box.folder / "sender.pid"
    settings = {
        "name": f'notify_process = "{path.name}"\n',
        "pid file": f'notify_pid_file = "{pid_file}"\n',
    }
    settings["both"] = settings["name"] + settings["pid file"]
    box.configure(agent=settings[by])
    box.start()
    wait_for((box.folder / "ips").exists, 5, "the list")
    with sender(box, path) as process:
        pid_file.write_text(f"{process.pid}\n")
        everything = {"10.0.0.10", "10.0.1.10", "10.0.2.10"}
        wait_for(lambda: bound(process, box) == everything, 10, "all at first")
        box.unplug("usb1")
        wait_for(lambda: bound(process, box) == everything - {"10.0.1.10"}, 10, "without usb1")
        box.plug("usb1", 1)
        wait_for(lambda: bound(process, box) == everything, 10, "with it again")
        for number in range(3):
            box.unplug(f"usb{number}")
        wait_for(lambda: box.status()["uplinks"] == [], 10, "no uplink is left")
        assert (box.folder / "ips").read_text()  # the last address: an empty list would end some senders
        box.plug("usb2", 2)
        wait_for(lambda: bound(process, box) == {"10.0.2.10"}, 10, "one is back, and the sender still there")
        assert process.poll() is None
        wait_for(lambda: box.still_wrong() == [], 5, "nothing to say")


def test_a_pid_file_that_names_another_process_by_now(box: Box) -> None:
    """The sender has died and its id is another's: that one handles SIGHUP, and must not get it."""
    path = program(box.folder, "stand-in")
    other = path.with_name("other")
    other.write_text(path.read_text().replace("sys.exit", "print"))
    other.chmod(0o755)
    pid_file = box.folder / "sender.pid"
    box.configure(agent=f'notify_pid_file = "{pid_file}"\nnotify_process = "{path.name}"\n')
    box.start()
    wait_for((box.folder / "ips").exists, 5, "the list")
    with sender(box, other) as process:
        wait_for(lambda: len(bound(process, box)) == 3, 10, "it has read the list once")
        pid_file.write_text(f"{process.pid}\n")
        box.unplug("usb1")
        wait_for(lambda: "is not " in str(box.status()["agent"]["problems"]), 5, "it is said")
        assert f"process {process.pid} is not {path.name} but 'other'" in str(
            box.status()["agent"]["problems"]
        )
        assert "10.0.1.10" in bound(process, box)  # it was not told
        # A link in the pid file's place is not followed.
        pid_file.rename(box.folder / "elsewhere")
        pid_file.symlink_to(box.folder / "elsewhere")
        box.unplug("usb2")
        wait_for(lambda: "is a symbolic link" in str(box.status()["agent"]["problems"]), 5, "that, too")
