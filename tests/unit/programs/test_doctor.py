"""Runs of doctor for the web page: not too often, and each ends."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from netbond.errors import UnavailableError
from netbond.programs import doctor as doctor_module
from netbond.programs.doctor import EVERY_S, Doctor

FINE = 'echo x >>{count}; echo \'{{"summary": "all is fine", "findings": []}}\'; exit 2'


def runs(folder: Path) -> int:
    file = folder / "count"
    return len(file.read_text().split()) if file.exists() else 0


def doctor(folder: Path, code: str, clock: list[float]) -> Doctor:
    command = ["/bin/sh", "-c", code.format(count=folder / "count")]
    return Doctor(command, {"PATH": "/usr/bin:/bin"}, lambda: clock[0])


async def test_it_runs_once_a_minute_at_most(tmp_path: Path) -> None:
    clock = [1000.0]
    found = doctor(tmp_path, FINE, clock)
    first, second = await asyncio.gather(found.findings(), found.findings())
    assert first == second == {"summary": "all is fine", "findings": [], "age_s": 0}
    clock[0] += EVERY_S - 1
    assert (await found.findings())["age_s"] == EVERY_S - 1
    assert runs(tmp_path) == 1
    clock[0] += 1
    assert (await found.findings())["age_s"] == 0
    assert runs(tmp_path) == 2


async def test_who_gives_up_waiting_does_not_end_it(tmp_path: Path) -> None:
    found = doctor(tmp_path, "sleep 0.3; " + FINE, [0.0])
    task = asyncio.create_task(found.findings())
    await asyncio.sleep(0.05)
    task.cancel()
    assert (await found.findings())["summary"] == "all is fine"
    assert runs(tmp_path) == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("echo nonsense", "not understood: it is not JSON"),
        ("echo '[1]'", "are not understood"),
        ("exit 1", "not understood"),
        ("head -c 600000 /dev/zero", "too long"),
    ],
)
async def test_findings_that_are_none(tmp_path: Path, code: str, says: str) -> None:
    found = doctor(tmp_path, "echo x >>{count}; " + code, [0.0])
    with pytest.raises(UnavailableError, match=says):
        await found.findings()
    with pytest.raises(UnavailableError, match="said nothing"):  # and it is not tried at once
        await found.findings()
    assert runs(tmp_path) == 1


async def test_a_run_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "LASTS_S", 0.2)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="took too long"):
        await doctor(tmp_path, "sleep 100", [0.0]).findings()
    assert time.monotonic() - began < 30


async def test_the_agent_stops(tmp_path: Path) -> None:
    found = doctor(tmp_path, "sleep 100", [0.0])
    task = asyncio.create_task(found.findings())
    await asyncio.sleep(0.05)
    await found.stop()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_it_cannot_be_started() -> None:
    with pytest.raises(UnavailableError, match="cannot be started"):
        await Doctor(["/nonexistent"], {}).findings()
    assert sys.executable
