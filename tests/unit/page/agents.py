"""A control socket with an agent that says what a test wants, for the page's own tests."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from netbond.errors import UnavailableError
from netbond.events import Event
from netbond.srtla.watch import WatchLine
from netbond.status.control import Command, ControlServer, Peer, Subscription
from netbond.system.typed_json import to_json
from tests.unit.cli.snapshots import SNAPSHOT


class PretendedAgent:
    """What it says may be changed while it runs; `asked` counts."""

    def __init__(self) -> None:
        self.snapshot: dict[str, Any] | None = copy.deepcopy(SNAPSHOT)
        self.snapshot["verdict"] = {"text": "UP: 2 uplinks; usb1 dead", "code": 1}
        self.snapshot["engines"][0]["stats"]["links"][1]["silent_ms"] = 300  # nothing in it has an age
        self._began = time.monotonic()
        self.events = [Event(1, 100.0, "started", "", "info", "netbond is running")]
        self.line: WatchLine | None = None
        self.refusal = ""
        self.set_to: list[dict[str, Any]] = []
        self.asked = 0
        self.followers = 0

    def status(self, _request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        self.asked += 1
        if self.snapshot is not None and "agent" in self.snapshot:
            self.snapshot["agent"]["uptime_s"] = time.monotonic() - self._began
        return {"status": self.snapshot}

    async def doctor(self, _request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        if self.refusal:
            raise UnavailableError(self.refusal)
        return {"summary": "all is fine", "findings": [], "age_s": 0}

    async def set(self, request: dict[str, Any], _peer: Peer) -> dict[str, Any]:
        self.set_to.append(request)
        if self.refusal:
            raise UnavailableError(self.refusal)
        return {"text": "usb1 set off", "undo": "netbond unset usb1 mode", "before": [], "warnings": []}

    async def watch(self, _request: dict[str, Any], _peer: Peer) -> AsyncGenerator[dict[str, Any], None]:
        while True:
            if self.line is not None:
                yield to_json(self.line)
            await asyncio.sleep(0.05)

    async def follow(self, _request: dict[str, Any], _peer: Peer) -> AsyncGenerator[dict[str, Any], None]:
        self.followers += 1
        told = 0
        try:
            while True:
                new = [event for event in self.events if event.number > told]
                told = self.events[-1].number
                yield {"events": [to_json(event) for event in new]}
                await asyncio.sleep(0.05)
        finally:
            self.followers -= 1

    @asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator[None]:
        """Answer at this path."""
        server = ControlServer(
            path,
            {
                "status": Command(self.status, anybody=True),
                "doctor": Command(self.doctor, anybody=True),
                "set": Command(self.set, anybody=True),
                "unset": Command(self.set, anybody=True),
                "watch": Subscription(self.watch, anybody=True),
                "follow-events": Subscription(self.follow, anybody=True),
            },
        )
        await server.start()
        try:
            yield
        finally:
            await server.stop()
