"""Processes that hang, and processes that only seem to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from netbond.system import hang
from netbond.system.hang import LIMIT_S, LOOK_INTERVAL_S, HangDetector, Sight, parse

SLEEPS = {1: Sight("S", 1.0)}


def noticed_after(detector: HangDetector, *sights: dict[int, Sight], looks: int = 40) -> float | None:
    """Look at these in turn, the last one again and again; after how many seconds it hangs."""
    for number in range(looks):
        now = 100 + number * LOOK_INTERVAL_S
        if detector.look(now, sights[min(number, len(sights) - 1)]):
            return now - 100
    return None


def busy(share: float, state: str = "R") -> list[dict[int, Sight]]:
    """A process with this share of a processor, look by look."""
    return [{1: Sight(state, number * LOOK_INTERVAL_S * share)} for number in range(40)]


@pytest.mark.parametrize("state", ["S", "T"])
def test_one_that_sleeps_or_is_stopped_hangs(state: str) -> None:
    assert noticed_after(HangDetector(), {1: Sight(state, 1.0)}) == LIMIT_S


def test_one_that_speaks_each_second_does_not() -> None:
    detector = HangDetector()
    for number in range(100):
        assert not detector.look(number * LOOK_INTERVAL_S, SLEEPS)
        if number % 2:
            detector.heard()
    assert noticed_after(detector, SLEEPS) == LIMIT_S - LOOK_INTERVAL_S  # when it stops


def test_an_endless_loop_hangs_even_when_the_machine_is_busy() -> None:
    assert noticed_after(HangDetector(), *busy(1.0)) == LIMIT_S
    assert noticed_after(HangDetector(), *busy(0.25)) == LIMIT_S
    assert noticed_after(HangDetector(), *busy(0.125)) == 2 * LIMIT_S


def test_one_that_gets_no_processor_does_not() -> None:
    assert noticed_after(HangDetector(), *busy(0.0)) is None
    assert noticed_after(HangDetector(), *busy(0.02)) is None


@pytest.mark.parametrize("state", ["D", "t", "Z"])
def test_nor_one_that_waits_for_a_disk_is_debugged_or_has_ended(state: str) -> None:
    assert noticed_after(HangDetector(), {1: Sight(state, 1.0)}) is None


def test_nor_one_that_is_not_there() -> None:
    assert noticed_after(HangDetector(), {}) is None
    detector = HangDetector()
    assert noticed_after(detector, SLEEPS, looks=6) is None
    assert not detector.look(200, {})


def test_a_worker_of_it_that_gets_no_processor_excuses_it() -> None:
    assert noticed_after(HangDetector(), {**SLEEPS, 2: Sight("R", 0.0)}) is None
    assert noticed_after(HangDetector(), {**SLEEPS, 2: Sight("S", 0.0)}) == LIMIT_S
    others = ({**SLEEPS, number: Sight("S", 0.0)} for number in range(2, 42))
    assert noticed_after(HangDetector(), *others) is None, "a new one at each look"


def test_looks_that_come_late_prove_nothing() -> None:
    """The agent was stopped, or the box suspended: what the engine has said is not read yet."""
    detector = HangDetector()
    detector.look(0, SLEEPS)
    assert not detector.look(3600, SLEEPS)
    detector.heard()
    assert not detector.look(7200, SLEEPS)
    assert noticed_after(HangDetector(), SLEEPS) is not None


@pytest.mark.parametrize("name", ["python3", "a) R 1 (b", "x\ny"])
def test_the_name_of_a_process_is_any_text(name: str) -> None:
    stat = f"7 ({name}) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 5 6 20 0 1 0 99 1000 200\n"
    assert parse(stat.encode()) == Sight("S", 200 / os.sysconf("SC_CLK_TCK"))


def test_real_processes() -> None:
    program = "import os, time\nif os.fork() == 0: time.sleep(60)\nprint(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while (before := hang.look_at(process.pid))[process.pid].cpu_s < 0.1 or len(before) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (worker,) = (pid for pid in before if pid != process.pid)
        assert before[worker].state == "S"
        assert before[process.pid].state == "R"
        assert list(hang.look_at(process.pid, workers=False)) == [process.pid]
        os.kill(process.pid, signal.SIGSTOP)
        while hang.look_at(process.pid)[process.pid].state != "T":
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    while hang.look_at(process.pid):  # until somebody has taken note of the other one's end
        assert time.monotonic() < deadline
        time.sleep(0.01)
