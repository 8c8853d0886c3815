"""The kernel kills the engine, then the agent, because a control group's memory has run out."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.box import Box, wait_for

pytestmark = pytest.mark.root

LIMIT_BYTES = 32 << 20
V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
_numbers = itertools.count()

# It takes what there is, and the kernel chooses another process of the group.
HOG = """
import sys
with open(sys.argv[1], "w") as file:
    file.write("0")
held = []
while True:
    held.append(bytearray(b"x" * (1 << 20)))
"""


@contextlib.contextmanager
def short_of_memory() -> Iterator[Path]:
    """A control group of our own; skipped where none with memory can be had."""
    name = f"netbond-test-{os.getpid()}-{next(_numbers)}"
    group, limit = V1 / name, "memory.limit_in_bytes"
    if not (V1 / limit).exists():
        group, limit = V2 / name, "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(LIMIT_BYTES))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group for memory: {error}")
    try:
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            Path(group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()


def kill(victim: int) -> None:
    """Let the kernel kill this process for lack of memory."""
    with short_of_memory() as group:
        (group / "cgroup.procs").write_text(str(victim))
        Path(f"/proc/{victim}/oom_score_adj").write_text("1000")
        hog = subprocess.Popen([sys.executable, "-c", HOG, str(group / "cgroup.procs")])
        try:
            path = Path(f"/proc/{victim}/stat")
            end = time.monotonic() + 30
            while path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z":
                assert time.monotonic() < end, "it was not killed"
                time.sleep(0.02)
        finally:
            hog.kill()
            hog.wait()


def test_memory_runs_out(tmp_path: Path) -> None:
    with (
        Box(tmp_path) as box,
        Agent(tmp_path, box.name, lambda *words: [*box.command()[:4], *words]) as agent,
    ):
        box.plug("usb0", 0)
        agent.configure('[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "10.0.0.1:5000"\n')
        agent.start()

        def engine_runs() -> bool:
            (engine,) = agent.status()["engines"]
            return bool(engine["state"] == "running")

        wait_for(engine_runs, 10, "the engine runs")
        (engine,) = agent.status()["engines"]
        kill(engine["pid"])
        wait_for(lambda: agent.status()["engines"][0]["restarts"] == 1 and engine_runs(), 10, "another one")
        (engine,) = agent.status()["engines"]
        assert engine["last_exit"] == "killed by SIGKILL, as the kernel ran out of memory"
        before = box.state()
        assert agent.process is not None
        kill(agent.process.pid)
        agent.process.wait()
        agent.process = None
        assert box.state() == before
        agent.start()
        assert box.state() == before
        wait_for(engine_runs, 10, "its engine runs")
