"""Programs that handle SIGHUP and say so, or that it would end, for tests of who is told of a new file."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[str]"]
# Ready when its child, too, has its own name: until then it has the parent's, and handles SIGHUP.
HANDLES = """
trap 'echo told; kill $!; exit' HUP; trap 'kill $!; exit' TERM; sleep 60 &
until read -r -d '' name </proc/$!/cmdline && [ "$name" = sleep ]; do :; done
echo ready; wait
"""
STAYS = "trap 'echo told' HUP; echo ready; read -r _"  # goes on until it is ended


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(
        name: str, *, handles: bool = True, stays: bool = False, user: int | None = None
    ) -> subprocess.Popen[str]:
        command, program = [name, "-c", STAYS if stays else HANDLES], "/bin/bash"
        if not handles:
            command, program = [name, "60"], "/bin/sleep"
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, executable=program, stdin=pipe, stdout=pipe, text=True, user=user)
        started.append(process)
        assert process.stdout is not None
        if handles:
            assert process.stdout.readline() == "ready\n"
        # The kernel tells Popen that the program runs a moment before it shows the command line.
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


def was_told(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.wait(30) == 0 and process.stdout.readline() == "told\n"


def was_told_again(process: subprocess.Popen[str]) -> bool:
    """Of one that stays: whether it says so, which it does at each signal."""
    assert process.stdout is not None
    return process.stdout.readline() == "told\n"


@pytest.fixture
def name() -> str:
    """A name that no other process of this machine has."""
    return f"nb-hup-{os.getpid()}"
