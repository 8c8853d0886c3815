"""netbond as process 1 of a container, which the kernel gives no signal that it has no handler for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.srtla_util import free_ports

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]


def handles(pid: int, number: int) -> bool:
    """Whether the process has a handler for the signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(mask & 1 << number - 1)


def test_sigterm_ends_a_receiver_that_still_starts() -> None:
    """It waits here for what the agent tells it first, long before its engine handles signals."""
    ours, theirs = socket.socketpair()
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "netbond", "recv"]
    command += ["--listen", f"127.0.0.1:{free_ports(1)[0]}", "--srt", "127.0.0.1:9"]
    command += ["--control-fd", str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, pass_fds=(theirs.fileno(),)) as process:
        try:
            deadline = time.monotonic() + 30
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while not ((found := children.read_text().split()) and handles(int(found[0]), signal.SIGTERM)):
                assert time.monotonic() < deadline, "process 1 ignores SIGTERM while it starts"
                assert process.poll() is None
                time.sleep(0.01)
            os.kill(int(found[0]), signal.SIGTERM)
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_none_is_lost_that_comes_before_python_has_started(tmp_path: Path) -> None:
    """As the image starts netbond; the shell is Python that still starts."""
    start = str(tmp_path / "netbond-start")
    subprocess.run(["cc", "-o", start, str(ROOT / "contrib/container/netbond-start.c")], check=True)
    early = ["/bin/sh", "-c", 'kill -TERM $$; exec "$@"', "sh"]
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        start,
        *early,
        sys.executable,
        "-m",
        "netbond",
        "recv",
    ]
    command += ["--listen", f"127.0.0.1:{free_ports(1)[0]}", "--srt", "127.0.0.1:9"]
    assert subprocess.run(command, timeout=30).returncode == 128 + signal.SIGTERM
    # Where it is not the first, as behind a container's own init, it changes nothing.
    assert subprocess.run([start, *early]).returncode == -signal.SIGTERM
