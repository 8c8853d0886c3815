"""Processes of a lab: told apart from later ones of the same number, and ended for good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.errors import NetbondError
from netbond.lab import netns

STUBBORN = "import signal, time; signal.signal(15, 1); print('ready', flush=True); time.sleep(60)"
POLITE = "import time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def program() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(started: list[subprocess.Popen[str]], script: str) -> netns.Process:
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return netns.identify(process.pid)


def test_a_process_is_its_number_and_when_it_started(program: list[subprocess.Popen[str]]) -> None:
    found = start(program, POLITE)
    assert found.alive
    later = replace(found, started=found.started + 1)
    assert not later.alive
    later.signal(signal.SIGKILL)
    assert found.alive, "another one has the number now: it is left alone"
    found.signal(signal.SIGKILL)
    program[0].wait(10)
    assert not found.alive


def test_what_has_ended_is_nobody() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(10)
    gone = netns.identify(done.pid)
    assert gone.started == -1
    assert not gone.alive
    gone.signal(signal.SIGTERM)
    netns.stop([gone])


def test_politely_and_then_for_good(program: list[subprocess.Popen[str]]) -> None:
    polite, stubborn = start(program, POLITE), start(program, STUBBORN)
    netns.stop([polite, stubborn], grace_s=0.2)
    assert not polite.alive
    assert not stubborn.alive


def test_a_zombie_of_ours_is_reaped() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = netns.identify(pid)
    assert not found.alive
    netns.stop([found])
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_no_namespace_has_no_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "NETNS_DIR", tmp_path)
    assert netns.processes_in(["none"]) == []
    assert netns.processes_in([]) == []


def test_this_process_is_in_its_own_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").symlink_to(f"/proc/{os.getpid()}/ns/net")
    monkeypatch.setattr(netns, "NETNS_DIR", tmp_path)
    assert os.getpid() in [process.pid for process in netns.processes_in(["here"])]


def test_a_setting_that_the_kernel_does_not_have_is_passed_over() -> None:
    netns.write_sysctls({"net/no/such/setting": "1"})


def test_a_batch_that_ip_refuses_is_one_error() -> None:
    with pytest.raises(NetbondError):
        netns.ip_batch(["link set no-such-interface-0 up"])


def test_who_has_a_recycled_number_is_not_stopped() -> None:
    me = netns.identify(os.getpid())
    assert not netns.Process(me.pid, me.started - 1).alive
    netns.stop([netns.Process(me.pid, me.started - 1)])  # or this test would end here
