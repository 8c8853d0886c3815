"""The ring of events: in memory, in its file, in the log, and for those who follow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path

import pytest

from netbond.events import ERROR, WARNING, News
from netbond.status import event_log
from netbond.status.event_log import FILE, MOST, RATE, WRITE_S, EventLog, read
from netbond.status.schema import from_json
from tests.unit.status.faults import at_home


def texts(folder: Path) -> list[str]:
    return [event.text for event in read(folder)]


def test_it_survives_a_restart_and_goes_on_counting(tmp_path: Path) -> None:
    first = EventLog(tmp_path)
    first.tell(News("new", "usb0", "usb0 is new"), 100.0, 1_800_000_000.0)
    first.tell(News("unplugged", "usb0", "usb0 unplugged", WARNING), 101.0, 1_800_000_001.5)
    assert texts(tmp_path) == []
    first.close(102.0)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    second = EventLog(tmp_path)
    second.tell(News("back", "usb0", "usb0 back"), 5.0, 1_800_000_010.0)
    assert [(e.number, e.kind, e.subject, e.level, e.time) for e in second.since(0.0)] == [
        (1, "new", "usb0", "info", 1_800_000_000.0),
        (2, "unplugged", "usb0", "warning", 1_800_000_001.5),
        (3, "back", "usb0", "info", 1_800_000_010.0),
    ]
    assert [e.text for e in second.since(1_800_000_001.0)] == ["usb0 unplugged", "usb0 back"]
    second.close(6.0)
    assert texts(tmp_path) == ["usb0 is new", "usb0 unplugged", "usb0 back"]


def test_the_file_is_written_now_and_then_and_appended_to(tmp_path: Path) -> None:
    log, snapshot = EventLog(tmp_path), from_json(at_home())
    log.tell(News("started", "", "netbond 0.2.0 running: 2 uplinks (usb0, usb1)"), 100.0, 1.0)
    log.look(snapshot, 100.0, 1.0)
    assert texts(tmp_path) == ["netbond 0.2.0 running: 2 uplinks (usb0, usb1)"]
    inode = (tmp_path / FILE).stat().st_ino
    log.tell(News("x", "", "one"), 101.0, 2.0)
    log.look(snapshot, 101.0, 2.0)
    assert len(texts(tmp_path)) == 1, "too soon"
    log.look(snapshot, 100.0 + WRITE_S, 6.0)
    assert texts(tmp_path)[1:] == ["one"]
    assert (tmp_path / FILE).stat().st_ino == inode
    size = (tmp_path / FILE).stat().st_size
    for second in range(20):
        log.look(snapshot, 200.0 + second, 7.0)
    assert (tmp_path / FILE).stat().st_size == size, "a quiet box writes nothing"


def test_it_is_bounded(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for minute in range(3 * MOST // RATE):
        for number in range(RATE):
            log.tell(News("x", "", f"{minute}/{number}"), 60.0 * minute, 60.0 * minute)
        log.look(from_json(at_home()), 60.0 * minute, 60.0 * minute)
    assert len(log.since(0.0)) == MOST
    assert len((tmp_path / FILE).read_text().splitlines()) <= 2 * MOST
    assert len(read(tmp_path)) == MOST


def test_a_flood_is_cut_off_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = EventLog(tmp_path)
    for number in range(RATE + 17):
        log.tell(News("x", "", f"flap {number}"), 100.0, 1.0)
    assert len(log.since(0.0)) == RATE
    log.tell(News("x", "", "later"), 161.0, 62.0)
    assert [event.text for event in log.since(0.0)][RATE:] == ["17 events left out", "later"]
    assert len(caplog.messages) == RATE + 17 + 1, "the log has all"


def test_the_log_has_the_same_lines_at_their_level(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = EventLog(tmp_path)
    log.tell(News("unplugged", "usb0", "usb0 unplugged\x1b[2J", WARNING), 1.0, 1.0)
    log.tell(News("x", "", "told already", ERROR, logged=True), 1.0, 1.0)
    assert [(one.levelname, one.message) for one in caplog.records] == [("WARNING", r"usb0 unplugged\x1b[2J")]
    assert len(log.since(0.0)) == 2


def test_a_file_with_nonsense_is_read_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.tell(News("x", "", "good"), 1.0, 1.0)
    log.close(2.0)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'\xff\n[]\n{"number": 9}\n{"half')
    assert texts(tmp_path) == ["good"]
    assert [event.text for event in EventLog(tmp_path).since(0.0)] == ["good"]


def test_what_others_may_have_written_is_not_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.tell(News("x", "", "good"), 1.0, 1.0)
    log.close(2.0)
    (tmp_path / FILE).chmod(0o666)
    assert texts(tmp_path) == []
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to("/etc/passwd")
    with contextlib.suppress(OSError):
        assert texts(tmp_path) == []


def test_a_disk_that_does_not_take_it_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("netbond.status.event_log.files.replace", full)
        for second in (1.0, 10.0):
            log.tell(News("x", "", f"at {second}", logged=True), second, second)
            log.close(second)
    assert caplog.text.count("events will not survive a restart") == 1
    log.tell(News("x", "", "later", logged=True), 20.0, 20.0)
    log.close(20.0)
    assert texts(tmp_path) == ["at 1.0", "at 10.0", "later"], "all that is kept"
    os.unlink(tmp_path / FILE)  # noqa: PTH108 - somebody else does
    for second in (30.0, 40.0):
        log.tell(News("x", "", f"at {second}", logged=True), second, second)
        log.close(second)
    assert texts(tmp_path)[-1] == "at 40.0"


async def test_who_follows_hears_each_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "HEARTBEAT_S", 0.05)
    log = EventLog(tmp_path)
    log.tell(News("x", "", "old"), 1.0, 1.0)
    log.tell(News("x", "", "before"), 10.0, 10.0)

    async with contextlib.aclosing(log.follow(5.0)) as replies:
        assert [event.text for event in (await anext(replies)).events] == ["before"]
        assert (await anext(replies)).events == (), "a sign of life"
        monkeypatch.setattr(event_log, "HEARTBEAT_S", 60.0)
        waits = asyncio.ensure_future(anext(replies))
        await asyncio.sleep(0)
        log.tell(News("x", "", "new"), 11.0, 11.0)
        async with asyncio.timeout(10):
            assert [event.text for event in (await waits).events] == ["new"]


async def test_who_follows_hears_what_comes_after_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "HEARTBEAT_S", 0.05)
    log = EventLog(tmp_path)
    log.tell(News("x", "", "long ago"), 1.0, 1.0)
    async with contextlib.aclosing(log.follow(2000.0)) as replies:
        assert (await anext(replies)).events == ()
        log.tell(News("x", "", "in 1970"), 2.0, 10.0)
        assert [event.text for event in (await anext(replies)).events] == ["in 1970"]


def test_a_line_is_json(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.tell(News("x", "s", "text"), 1.0, 1.0)
    log.close(1.0)
    (line,) = (tmp_path / FILE).read_text().splitlines()
    assert json.loads(line) == {
        "number": 1,
        "time": 1.0,
        "kind": "x",
        "subject": "s",
        "level": "info",
        "text": "text",
    }
