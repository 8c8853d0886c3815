"""Running programs for the agent: real ones, as its children."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

import pytest

from netbond.programs import running
from netbond.programs.job import Job
from netbond.programs.running import Outcome, in_unit_of_systemd, run


async def outcome(code: str, timeout_s: float = 20.0, **more: str) -> tuple[Outcome, list[str]]:
    lines: list[str] = []
    job = Job("test", ["/bin/sh", "-c", code], None, timeout_s, more)
    return await run(job, lines.append, transient=False), lines


async def test_it_ends_well() -> None:
    found, lines = await outcome("echo one; echo two >&2")
    assert (str(found), found.status) == ("ended with status 0", 0)
    assert lines == ["one", "two"]


async def test_it_ends_badly() -> None:
    assert str((await outcome("exit 3"))[0]) == "ended with status 3"
    assert str((await outcome("kill -9 $$"))[0]) == "was ended by signal 9"


async def test_it_gets_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    found, lines = await outcome("env | sort; pwd; umask; cat; ls /proc/self/fd", NETBOND_EVENT="up")
    assert found.status == 0
    assert "NETBOND_EVENT=up" in lines
    assert not [line for line in lines if "SECRET" in line]
    at = lines.index("/")
    assert lines[at:] == ["/", "0022", "0", "1", "2", "3"]  # no input; 3 is the folder that ls reads


async def test_it_takes_too_long_and_ends_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    found, lines = await outcome(
        f"trap '' TERM; (trap '' TERM; sleep 30; touch {tmp_path}/alive) & echo here; wait", timeout_s=0.3
    )
    assert str(found) == "took too long, and was ended: here"
    assert lines == ["here"]
    assert time.monotonic() - began < 25
    assert not list(tmp_path.iterdir())


async def test_what_it_leaves_behind_ends_with_it() -> None:
    found, lines = await outcome("sleep 1000 & echo $!")
    assert found.status == 0

    def ended() -> bool:
        try:
            return "Z" in Path("/proc", lines[0], "stat").read_text()
        except OSError:
            return True

    async with asyncio.timeout(20):
        while not ended():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_much_output_does_not_stop_it() -> None:
    found, lines = await outcome("yes | head -c 3000000; echo end")
    assert (found.status, found.last_line, len(lines)) == (0, "end", 21)


async def test_it_cannot_be_started() -> None:
    job = Job("test", ["/nonexistent/program"], None, 5)
    found = await run(job, print, transient=False)
    assert str(found) == "was not started: No such file or directory"


async def test_the_loop_goes_on_meanwhile() -> None:
    task = asyncio.create_task(outcome("sleep 0.5"))
    laps = 0
    while not task.done():
        await asyncio.sleep(0.01)
        laps += 1
    assert laps > 10


async def test_it_is_ended_if_nobody_waits_any_more() -> None:
    lines: list[str] = []
    job = Job("test", ["/bin/sh", "-c", "echo $$; exec sleep 1000"], None, 2000)
    task = asyncio.create_task(run(job, lines.append, transient=False))
    while not lines:  # noqa: ASYNC110 - another process writes them
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not Path("/proc", lines[0]).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_as_another_user() -> None:
    lines: list[str] = []
    found = await run(Job("test", ["/usr/bin/id", "-un"], "nobody", 20), lines.append, transient=False)
    assert (found.status, lines) == (0, ["nobody"])
    found = await run(Job("test", ["/usr/bin/id"], "no-such-user", 20), lines.append, transient=False)
    assert found.status is None


async def test_in_a_unit_the_service_manager_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for systemd-run, which gets the command line."""
    monkeypatch.setattr(
        running, "transient_unit", lambda job, unit, pid: ["/bin/echo", unit.partition("-")[0], *job.command]
    )
    lines: list[str] = []
    found = await run(Job("test", ["/bin/tell"], "nobody", 20), lines.append, transient=True)
    assert (found.status, lines) == (0, ["netbond /bin/tell"])


def test_who_has_started_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    unit = {"INVOCATION_ID": "0" * 32}
    assert in_unit_of_systemd(unit, parent=1)
    assert not in_unit_of_systemd(unit, parent=4711)  # a shell in a unit
    assert not in_unit_of_systemd({}, parent=1)  # an orphan
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not in_unit_of_systemd(unit, parent=1)
