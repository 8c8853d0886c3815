"""Keeps the last events: a ring in memory and in a file, which survives restarts of the agent.

The file has one JSON object a line, in the order of time. It is appended to, at most once in WRITE_S, and
begun anew with the newest MOST events when it has twice as many: on an SD card, a box that is quiet writes
nothing, and one whose modems flap all day at most RATE lines a minute. The agent writes what is left when it
ends; one that is killed loses WRITE_S of events, which the journal has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path

from netbond.events import ERROR, INFO, WARNING, Event, EventFinder, News
from netbond.status.protocol import EventsReply
from netbond.status.schema import Snapshot
from netbond.system import files, strict_json
from netbond.system.text import counted, printable
from netbond.system.typed_json import read_tolerant, to_json

logger = logging.getLogger(__name__)

MOST = 1000  # events that are kept
WRITE_S = 5.0  # between two writings of the file
RATE = 60  # events a minute; of the others only the number is kept
LONGEST = 500  # characters of a text
MAX_BYTES = 2 * MOST * (LONGEST * 2 + 300)  # of the file
HEARTBEAT_S = 1.0  # between two replies to one who follows
FILE = "events.jsonl"
_LEVELS = {INFO: logging.INFO, WARNING: logging.WARNING, ERROR: logging.ERROR}


def read(folder: Path) -> list[Event]:
    """The events that the file in `folder` has; lines that make no sense are left out. OSError."""
    try:
        data, status = files.read(folder / FILE, MAX_BYTES)
    except FileNotFoundError:
        return []
    if not files.trusted(status):
        return []
    return list(_events(data))[-MOST:]


def _events(data: bytes) -> Iterator[Event]:
    for line in data.splitlines():
        with contextlib.suppress(ValueError):
            yield read_tolerant(Event, strict_json.parse(line))


class EventLog:
    """The ring, its file, its lines in the log, and those who follow."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the agent's state_dir."""
        self._folder = folder
        self._finder = EventFinder()
        self._kept: deque[Event] = deque(maxlen=MOST)
        self._unwritten: list[Event] = []
        self._lines = 0  # of the file
        self._written_at = float("-inf")
        self._minute = (float("-inf"), 0)  # when it began, and how many events it has had
        self._left_out = 0
        self._news = asyncio.Event()
        self._warned = False
        files.sweep(folder)
        try:
            self._kept.extend(read(folder))
        except OSError as error:
            self._warn(error)
        self._number = self._kept[-1].number if self._kept else 0
        self._lines = 2 * MOST  # so that the first writing begins the file anew

    def look(self, snapshot: Snapshot, now: float, time: float) -> None:
        """Keep what has happened since the last snapshot; `now` is monotonic, `time` is Unix time."""
        for news in self._finder.look(snapshot, now):
            self.tell(news, now, time)
        if now - self._written_at >= WRITE_S:
            self._write(now)

    def tell(self, news: News, now: float, time: float) -> None:
        """Keep this event, and log it unless that is done."""
        text = printable(news.text, LONGEST)
        if not news.logged:
            logger.log(_LEVELS.get(news.level, logging.INFO), "%s", text)
        began, count = self._minute
        if now - began >= 60.0:
            began, count = now, 0
            if self._left_out:
                left_out, self._left_out = self._left_out, 0
                self._keep("left-out", "", WARNING, f"{counted(left_out, 'event')} left out", time)
        self._minute = (began, count + 1)
        if count >= RATE:
            self._left_out += 1
            return
        self._keep(news.kind, printable(news.subject), news.level, text, time)

    def _keep(self, kind: str, subject: str, level: str, text: str, time: float) -> None:
        self._number += 1
        event = Event(self._number, round(time, 3), kind, subject, level, text)
        self._kept.append(event)
        self._unwritten.append(event)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def since(self, time: float, number: int = 0) -> tuple[Event, ...]:
        """The events from this Unix time on, and of a higher number."""
        return tuple(event for event in self._kept if event.time >= time and event.number > number)

    async def follow(self, time: float) -> AsyncGenerator[EventsReply, None]:
        """Those since then, and each as it comes; an empty reply each HEARTBEAT_S.

        What comes counts whatever its time is: the wall clock may be set back meanwhile.
        """
        news, found = self._news, self.since(time)
        while True:
            number = self._number
            yield EventsReply(found)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await news.wait()
            news, found = self._news, tuple(event for event in self._kept if event.number > number)

    def close(self, now: float) -> None:
        """Write what is left."""
        self._write(now)

    def _write(self, now: float) -> None:
        if not self._unwritten:
            return
        self._written_at = now
        try:
            if self._lines + len(self._unwritten) > 2 * MOST:
                files.make_directory(self._folder, 0o755)
                files.replace(self._folder / FILE, _lines(self._kept), 0o600)
                self._lines = len(self._kept)
            else:
                _append(self._folder / FILE, _lines(self._unwritten))
                self._lines += len(self._unwritten)
        except OSError as error:
            self._lines = 2 * MOST  # begin the file anew, as soon as that works
            self._warn(error)
        self._unwritten.clear()

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: %s; events will not survive a restart", self._folder / FILE, files.why(error))


def _lines(events: Iterable[Event]) -> bytes:
    return b"".join(json.dumps(to_json(event)).encode() + b"\n" for event in events)


def _append(path: Path, data: bytes) -> None:
    """Append to our own file; OSError if something else is in its place, or it is gone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not files.trusted(os.fstat(descriptor)):
            raise PermissionError(1, "users other than root can write to it", str(path))
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
