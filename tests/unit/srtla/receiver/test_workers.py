"""The processes of a receiver that has several."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.srtla.receiver import workers
from tests.srtla_util import free_ports


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def receiver(port: int, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """`netbond recv --workers 2`, and the agent's end of its channel, once it is ready."""
    ours, theirs = socket.socketpair()
    command = [
        sys.executable,
        "-m",
        "netbond",
        "recv",
        "--listen",
        f"127.0.0.1:{port}",
        "--srt",
        "127.0.0.1:9",
    ]
    command += ["--workers", "2", "--control-fd", str(theirs.fileno())]
    with ours, log.open("w") as file:
        with theirs:
            ours.sendall(b'{"resume":{}}\n')
            process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stderr=file)
        try:
            ours.settimeout(60)
            lines = ours.makefile("rb")
            assert any(json.loads(line) == {"ready": True} for line in lines), log.read_text()
            lines.close()
            yield process, ours
        finally:
            process.kill()
            process.wait()


def family_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The front and both workers; the front is ready before the workers are forked."""
    deadline = time.monotonic() + 30
    while len(family := children(process.pid)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return family


def until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_that_dies_is_started_again_and_all_end_together(tmp_path: Path) -> None:
    with receiver(free_ports(1)[0], tmp_path / "log") as (process, _):
        front, *others = family_of(process)
        os.kill(others[0], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while len(now := children(process.pid)) != 3 or others[0] in now:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert front in now
        assert others[1] in now
        assert "worker 1 died; starting it again" in (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        until_gone(now)


@pytest.mark.parametrize(("told_to", "status"), [(True, 0), (False, 128 + signal.SIGTERM)])
def test_a_front_that_was_told_to_end_and_had_no_handler_has_not_failed(
    told_to: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has none while it starts, and none any more at its very end."""
    parent = workers._Parent.__new__(workers._Parent)
    parent._front, parent._workers, parent._ending = 7, {}, told_to
    monkeypatch.setattr("netbond.srtla.receiver.workers.os.waitpid", lambda *_: (7, signal.SIGTERM))
    assert parent._watch() == status


TOLD_TO_END_AT_EACH_FORK = """
import os, signal, sys
from netbond.cli import main

def fork(real=os.fork):
    os.kill(os.getpid(), signal.SIGTERM)
    return real()

os.fork = fork
sys.exit(main(sys.argv[1:]))
"""


def test_a_receiver_that_is_told_to_end_while_it_starts_its_processes_ends() -> None:
    command = [sys.executable, "-c", TOLD_TO_END_AT_EACH_FORK, "recv", "--workers", "2"]
    command += ["--listen", f"127.0.0.1:{free_ports(1)[0]}", "--srt", "127.0.0.1:9"]
    # A session of its own: what it sends to its group must not end the test.
    result = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, start_new_session=True)
    assert result.returncode == 0, result.stderr.decode()


def test_without_its_front_a_receiver_ends(tmp_path: Path) -> None:
    with receiver(free_ports(1)[0], tmp_path / "log") as (process, _):
        family = family_of(process)
        os.kill(family[0], signal.SIGKILL)
        assert process.wait(40) == 128 + signal.SIGKILL
        until_gone(family)


def test_when_the_agent_is_gone_all_end(tmp_path: Path) -> None:
    with receiver(free_ports(1)[0], tmp_path / "log") as (process, agent):
        family = family_of(process)
        agent.shutdown(socket.SHUT_RDWR)
        assert process.wait(40) == 0
        until_gone(family)


def test_a_port_that_another_program_has_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PORT_FREE_WITHIN_S", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="is in use by another program"):
            workers._listeners(HostPort("127.0.0.1", taken.getsockname()[1]), 3)


def test_listeners_share_one_port() -> None:
    found = workers._listeners(HostPort("127.0.0.1", free_ports(1)[0]), 3)
    assert len({sock.getsockname() for sock in found}) == 1
    assert len(found) == 3
    for sock in found:
        sock.close()
