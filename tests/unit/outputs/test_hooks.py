"""Hooks as the agent runs them: real commands, told of real changes of made-up boxes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import HOOK_EVENTS, HookConfig
from netbond.desired import desired
from netbond.model import Facts, Health
from netbond.outputs.hooks import Hooks
from tests.unit.boxes import box
from tests.unit.places import config_in

BOTH = box("usb0", "usb1")
DEAD = replace(BOTH, health=(Health("usb0", 4, "down", "silent"),))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.01)


class Told:
    """A hook that writes what it is told into a file, and the output that runs it."""

    def __init__(self, folder: Path, body: str = "", events: tuple[str, ...] = HOOK_EVENTS) -> None:
        self.file = folder / "told"
        self.program = folder / "tell"
        self.program.write_text(f"#!/bin/sh\n{body}\necho $NETBOND_EVENT $NETBOND_UPLINK >> {self.file}\n")
        self.program.chmod(0o755)
        hook = HookConfig("tell", (str(self.program),), events, user="root")
        self.config = config_in(folder, hook=(hook,))
        self.hooks = Hooks()
        self.looks = 0

    async def look(self, facts: Facts) -> list[str]:
        return list(await self.hooks.apply(facts, desired(facts, self.config), self.config))

    async def idle(self) -> None:
        await until(lambda: not self.hooks._tasks)

    def said(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the hooks' file must be root's")


async def test_it_is_told_what_changes(tmp_path: Path) -> None:
    told = Told(tmp_path)
    assert await told.look(BOTH) == []
    assert told.said() == []
    for facts in (DEAD, DEAD, BOTH):
        assert await told.look(facts) == []
        await told.idle()
    assert told.said() == ["down usb0", "up usb0"]


async def test_a_hook_that_is_added_is_told_what_comes_after(tmp_path: Path) -> None:
    told = Told(tmp_path)
    with_hook = told.config
    told.config = config_in(tmp_path)
    for facts in (BOTH, DEAD):
        assert await told.look(facts) == []
    told.config = with_hook
    for facts in (BOTH, DEAD):
        await told.look(facts)
        await told.idle()
    assert told.said() == ["down usb0"]


async def test_only_events_that_it_asks_for(tmp_path: Path) -> None:
    told = Told(tmp_path, events=("up",))
    for facts in (BOTH, DEAD, BOTH):
        await told.look(facts)
        await told.idle()
    assert told.said() == ["up usb0"]


async def test_one_at_a_time_and_then_the_newest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    go = tmp_path / "go"
    told = Told(tmp_path, body=f"echo x >> {tmp_path}/began; while [ ! -e {go} ]; do sleep 0.02; done")
    await told.look(BOTH)
    await told.look(DEAD)
    await until((tmp_path / "began").exists)
    for facts in (BOTH, DEAD, BOTH, DEAD, BOTH):
        await told.look(facts)
    assert (tmp_path / "began").read_text() == "x\n"
    go.touch()
    await told.idle()
    assert told.said() == ["down usb0", "up usb0"]
    assert "skipped up of usb0 and down of usb0" in caplog.text


async def test_a_hook_that_fails_is_a_problem_until_it_works(tmp_path: Path) -> None:
    told = Told(tmp_path, body=f"[ -e {tmp_path}/ok ] || {{ echo no network; exit 7; }}")
    looks: list[None] = []
    await told.hooks.start(lambda: looks.append(None), ())
    await told.look(BOTH)
    await told.look(DEAD)
    await told.idle()
    assert len(looks) == 1
    assert await told.look(DEAD) == [
        "hook tell failed at its last run: down of usb0: ended with status 7: no network"
    ]
    (tmp_path / "ok").touch()
    await told.look(BOTH)
    await told.idle()
    assert len(looks) == 2
    assert await told.look(BOTH) == []


async def test_a_program_that_others_can_write_is_not_run(tmp_path: Path) -> None:
    told = Told(tmp_path)
    await told.look(BOTH)
    told.program.chmod(0o777)
    assert await told.look(DEAD) == [f"hook tell is not run: {told.program} is writable by everybody"]
    await told.idle()
    assert told.said() == []


async def test_a_hook_that_is_removed_while_it_runs_goes_on(tmp_path: Path) -> None:
    told = Told(tmp_path, body=f"touch {tmp_path}/began; sleep 0.3")
    await told.look(BOTH)
    await told.look(DEAD)
    await until((tmp_path / "began").exists)
    told.config = config_in(tmp_path)
    await told.look(BOTH)
    await told.idle()
    assert told.said() == ["down usb0"]


async def test_at_the_end_it_gets_a_moment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = Told(tmp_path, body="sleep 0.2")
    await told.look(BOTH)
    await told.look(DEAD)
    await told.hooks.stop()
    assert told.said() == ["down usb0"]
    told = Told(tmp_path, body="sleep 100")
    await told.look(BOTH)
    await told.look(DEAD)
    await told.hooks.stop()
    assert "hook tell: ended, because the agent stops" in caplog.text


async def test_what_is_still_to_be_told_at_the_end_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(tmp_path, body="sleep 0.3")
    await told.look(BOTH)
    await told.look(DEAD)
    await until(lambda: told.hooks._queues["tell"].running is not None)
    await told.look(BOTH)
    await told.hooks.stop()
    assert told.said() == ["down usb0"]
    assert "hook tell: skipped up of usb0, because the agent stops" in caplog.text
