"""The manifest in contrib/kubernetes: its container as Kubernetes would run it, without a cluster."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netbond.srtla import wire
from tests.netns.box import sh, wait_for
from tests.netns.spaces import inside

pytestmark = pytest.mark.root

MANIFEST = (Path(__file__).parents[2] / "contrib/kubernetes/netbond-recv.yaml").read_text()
NETBOND = Path(sys.executable).with_name("netbond")
NOBODY = (
    "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"
)
# As the manifest asks: no root, no capability, nothing to write but /run/netbond.
CONFINED = (
    "mount -t tmpfs tmpfs /run && mkdir /run/netbond && chmod 777 /run/netbond && mount -o remount,ro,bind /"
    f' && exec {NOBODY} env -i "PATH=$PATH" "$@"'
)


def words(key: str) -> list[str]:
    """A list of the manifest, as in `args: [...]`."""
    (found,) = re.findall(rf"^ *{key}: (\[.*\])", MANIFEST, re.MULTILINE)
    return [str(word) for word in json.loads(found)]


@contextmanager
def container(log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The running one, and its network namespace."""
    name = f"nbk{os.getpid()}"
    program, subcommand = json.loads(re.findall(r"command: (\[\"netbond.*\])", MANIFEST)[0])
    assert program == "netbond"
    sh("ip", "netns", "add", name)
    sh("ip", "-n", name, "link", "set", "lo", "up")
    command = ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", CONFINED, "sh"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(NETBOND), subcommand, *words("args")], stdout=output, stderr=output
        )
    try:
        yield name, process
    finally:
        process.terminate()
        process.wait(40)
        sh("ip", "netns", "del", name)


def alive(process: subprocess.Popen[bytes]) -> bool:
    """What the livenessProbe says, in the container's own mounts."""
    probe = json.loads(re.findall(r"command: (\[\"sh\".*\])", MANIFEST)[0])
    done = subprocess.run(["nsenter", "-t", str(process.pid), "-m", *probe], capture_output=True)
    return done.returncode == 0


def test_the_container_works_without_root_and_its_probe_notices_a_receiver_that_hangs(tmp_path: Path) -> None:
    usable = subprocess.run([*NOBODY.split(), NETBOND, "--version"], capture_output=True)
    if usable.returncode:
        pytest.skip("nobody, a user without rights, cannot read this checkout and its Python")
    log = tmp_path / "log"
    with container(log) as (name, process):
        wait_for(lambda: alive(process), 5, "the first statistics")
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\s+65534", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        with inside(name), socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.settimeout(30)
            sender.sendto(b"\x92\x01" + bytes(256), ("127.0.0.1", 5000))
            assert wire.packet_type(sender.recv(2048)) == wire.REG_NGP, log.read_text()
        process.send_signal(signal.SIGSTOP)
        stats = f"/proc/{process.pid}/root/run/netbond/stats.json"
        old = "date -d '11 seconds ago' +%Y-%m-%dT%H:%M:%S"
        sh("sh", "-c", f"touch -d $({old}) {stats}")
        assert not alive(process)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: alive(process), 5, "it goes on")
    assert process.returncode == 0, "it ends at once when it is told to"


def test_the_probe_waits_longer_than_statistics_are_apart() -> None:
    assert "-lt 10" in MANIFEST, "seconds; there are new ones each second"
    assert "--stats-file" in words("args")
