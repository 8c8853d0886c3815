"""The image by podman as docs/container.md says, in a network of its own, with a stream through it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import wait_for

NETBOND = Path(sys.executable).with_name("netbond")
CONFINED = ("--network", "host", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
# What a machine without systemd, or one that is itself a container, cannot give as podman wants it.
WITHOUT_SYSTEMD = ("--cgroups", "disabled", "--no-healthcheck", "--log-driver", "k8s-file")
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
LARGEST = 150_000_000  # bytes
PACKETS, PACKET = 1500, 1316
PAUSE_S = 0.004  # 2.6 Mbit/s
KEY = "0123456789abcdef0123456789abcdef"
ABOUT_ITSELF = """
import os
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
try:
    open("/usr/nonsense", "w")
except OSError as error:
    print(os.getuid(), int(status["CapEff"], 16), int(status["NoNewPrivs"]), error.strerror)
"""


class Machine:
    """A network of its own, and podman there, with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # podman 4.3 looks for control groups of version 2, whichever this machine has.
        script = "mount -t cgroup2 none /sys/fs/cgroup && ip link set lo up && echo && exec sleep infinity"
        command = ["unshare", "--net", "--mount", "sh", "-c", script]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"\n"
        self.programs: list[subprocess.Popen[bytes]] = []

    def inside(self, *words: str | Path) -> list[str]:
        return ["nsenter", "-t", str(self.holder.pid), "--net", "--mount", *map(str, words)]

    def podman(self, *words: str | Path, check: bool = True) -> str:
        store = ("--storage-driver", "vfs", "--root", self.folder / "store", "--runroot", self.folder / "run")
        plain = ("--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "crun")
        command = self.inside("podman", *store, *plain, *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    def start(self, log: str, *words: str | Path, feed: bool = False) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("wb") as file:
            program = subprocess.Popen(
                self.inside(*words), stdin=subprocess.PIPE if feed else None, stdout=file, stderr=file
            )
        self.programs.append(program)
        return program

    def log(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8", errors="replace")

    def ask(self, url: str) -> str:
        code = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=10).read().decode())"
        return subprocess.run(self.inside(sys.executable, "-c", code), capture_output=True, text=True).stdout

    def close(self) -> None:
        self.podman("rm", "--all", "--force", check=False)
        self.podman("rmi", "--all", "--force", check=False)
        for program in (*self.programs, self.holder):
            with program:  # closes its pipes, and waits
                program.kill()


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="nbc-") as folder:  # podman takes no long path
        machine = Machine(Path(folder))
        try:
            yield machine
        finally:
            machine.close()


def test_a_stream_goes_through_the_confined_receiver(machine: Machine) -> None:
    folder = machine.folder
    machine.podman("load", "--input", os.environ["NETBOND_IMAGE"])
    image = machine.podman("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    assert int(machine.podman("image", "inspect", "--format", "{{.Size}}", image)) < LARGEST

    (folder / "key").write_text(KEY)
    os.chown(folder / "key", 65532, 65532)
    (folder / "key").chmod(0o400)
    options = ["--srtla-port", "5000", "--srt", "127.0.0.1:4001"]
    options += ["--stats-listen", "127.0.0.1:8181", "--stats-key-file", "/key"]
    start = ("run", "--detach", "--name", "recv", "--volume", f"{folder}/key:/key:ro")
    machine.podman(*start, *CONFINED, *WITHOUT_SYSTEMD, *LIMITS, image, *options)

    def healthy() -> bool:
        return machine.podman("exec", "recv", "/usr/bin/netbond-healthy", check=False) == "healthy"

    wait_for(healthy, 60, "health")
    itself = machine.podman("exec", "recv", "/usr/bin/python3", "-c", ABOUT_ITSELF)
    assert itself == "65532 0 1 Read-only file system"

    got = folder / "got"
    server = "srt://127.0.0.1:4001?mode=listener&latency=2000"
    machine.start("server.log", "sh", "-c", f'exec srt-live-transmit -a:no "{server}" file://con >"{got}"')
    (folder / "addresses").write_text("127.0.0.1\n")
    machine.start("send.log", NETBOND, "send", "6000", "127.0.0.1", "5000", folder / "addresses")
    wait_for(lambda: "link 127.0.0.1: up" in machine.log("send.log"), 60, "a link")
    encoder = machine.start(
        "encoder.log",
        "srt-live-transmit",
        "-a:no",
        "file://con",
        "srt://127.0.0.1:6000?mode=caller&latency=2000&streamid=live/a",
        feed=True,
    )
    sent = os.urandom(PACKETS * PACKET)
    assert encoder.stdin is not None
    for begin in range(0, len(sent), PACKET):
        encoder.stdin.write(sent[begin : begin + PACKET])
        encoder.stdin.flush()
        time.sleep(PAUSE_S)
    page = json.loads(machine.ask(f"http://127.0.0.1:8181/stats?key={KEY}"))
    assert "live/a" in page["publishers"]
    # Both ends write whole blocks: what does not fill the last one stays with them while the stream lasts.
    wait_for(lambda: got.stat().st_size > len(sent) - 64 * 1024, 60, "the stream's bytes")
    arrived = got.read_bytes()
    assert arrived == sent[: len(arrived)]

    began = time.monotonic()
    machine.podman("stop", "--time", "20", "recv")
    assert machine.podman("inspect", "--format", "{{.State.ExitCode}}", "recv") == "0"
    assert time.monotonic() - began < 15
