"""Real-time priority: while passes are short, and for nothing that the agent starts."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from netbond.system.realtime import BACK_AFTER_S, LONGEST_PASS_S, STUCK_US, RealtimePriority


def test_while_passes_are_short_and_it_is_wanted() -> None:
    asked: list[tuple[int, int]] = []
    realtime = RealtimePriority(lambda _pid, policy, given: asked.append((policy, given.sched_priority)))
    for cost, wanted in (
        (0.001, True),
        (0.002, True),
        (LONGEST_PASS_S, True),
        (1.0, True),
        (0.01, True),
        (0.01, False),
    ):
        realtime.update(cost, 0.0, wanted=wanted)
    real_time = (os.SCHED_RR | os.SCHED_RESET_ON_FORK, 1)
    ordinary = (os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, 0)
    assert asked == [real_time, ordinary, real_time, ordinary]


def test_a_box_that_refuses_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def refuse(_pid: int, policy: int, _given: os.sched_param) -> None:
        asked.append(policy)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    caplog.set_level("INFO")
    realtime = RealtimePriority(refuse)
    for _ in range(3):
        realtime.update(0.001, 0.0, wanted=True)
    assert len(asked) == 1
    assert caplog.messages == ["no real-time priority: Operation not permitted"]


def test_what_is_started_does_not_inherit_it() -> None:
    code = (
        "import os, subprocess, sys, threading\n"
        "from netbond.system.realtime import RealtimePriority\n"
        "RealtimePriority().update(0.0, 0.0, wanted=True)\n"
        "own = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK\n"
        "told = []\n"
        "thread = threading.Thread(target=lambda: told.append(os.sched_getscheduler(0)))\n"
        "thread.start(); thread.join()\n"
        "child = [sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))']\n"
        "child = subprocess.run(child, capture_output=True, text=True, check=True)\n"
        "print(own in (os.SCHED_RR, os.SCHED_OTHER), told, child.stdout.strip())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"True [{os.SCHED_OTHER}] {os.SCHED_OTHER}\n", done.stderr


def test_who_never_pauses_loses_it_for_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []
    realtime = RealtimePriority(lambda _pid, policy, _given: asked.append(policy & ~os.SCHED_RESET_ON_FORK))
    realtime.update(0.001, 0.0, wanted=True)
    os.kill(os.getpid(), signal.SIGXCPU)
    realtime.update(0.001, 5.0, wanted=True)
    realtime.update(0.001, 5.0 + BACK_AFTER_S - 0.1, wanted=True)
    assert asked == [os.SCHED_RR, os.SCHED_OTHER]
    realtime.update(0.001, 5.0 + BACK_AFTER_S, wanted=True)
    assert asked == [os.SCHED_RR, os.SCHED_OTHER, os.SCHED_RR]
    assert caplog.messages == ["real-time priority ended for 60 s: 1 s of processor time without a pause"]


def test_when_it_is_back_the_kernel_counts_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its signal the kernel raises the limit by a second, for the whole process."""
    limits: list[int] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limit: limits.append(limit[0]))
    realtime = RealtimePriority(lambda *_: None)
    os.kill(os.getpid(), signal.SIGXCPU)
    realtime.update(0.001, 0.0, wanted=True)
    assert limits == [STUCK_US, STUCK_US]


def test_the_kernel_notices_who_never_pauses() -> None:
    code = (
        "import os, time\n"
        "from netbond.system.realtime import RealtimePriority\n"
        "RealtimePriority().update(0.0, 0.0, wanted=True)\n"
        "while os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR:\n"
        "    sum(range(100_000))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
