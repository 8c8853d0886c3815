"""Follows the agent over its control socket while somebody looks at the page, and not otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from netbond.events import Event
from netbond.page.view import MAX_EVENTS, Beginnings, Json, events_of, page_of, with_advice
from netbond.srtla.watch import FRESH_S, WatchLine
from netbond.status import schema
from netbond.status.assessment import belated
from netbond.status.protocol import (
    MAX_REPLY,
    EventsReply,
    EventsRequest,
    StatusRequest,
    WatchRequest,
)
from netbond.system import strict_json
from netbond.system.typed_json import read_tolerant, to_json

logger = logging.getLogger(__name__)

STATUS_S: Final = 1.0  # between two snapshots, which the agent makes each second
ANSWER_S: Final = 5.0  # for which an answer is waited for, and each line of what is followed
AGAIN_S: Final = 1.0  # until the agent is asked again after a failure
LINGER_S: Final = 5.0  # for which the agent is followed after the last has gone: a page that is loaded anew


Ask = Callable[[Json | None], Coroutine[Any, Any, Json]]
Connect = Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class SilentError(Exception):
    """The agent does not answer, or not so that it is understood; the text says which."""


class DeclinedError(SilentError):
    """The agent answers, and says no."""


def at(path: Path) -> Connect:
    """Connections to the control socket at `path`."""

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(path), limit=MAX_REPLY)

    return connect


class Feed:
    """The state of the page, kept up to date between `enter()` and `leave()`."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._watching = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._end: asyncio.TimerHandle | None = None
        self._beginnings = Beginnings()
        self._page: Json = {}
        self._silent: Json = {}
        self._advice: dict[str, tuple[WatchLine, float]] = {}
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def state(self) -> Json:
        """Return what the page shows now. `silent` says why it is old, if it is."""
        now = time.monotonic()
        fresh = [line for line, at in self._advice.values() if now - at < FRESH_S]
        found = {**with_advice(self._page, fresh), **self._silent}
        return {**found, "events": events_of(self._events)} if self._events else found

    # --- who looks -----------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Somebody looks."""
        self._watching += 1
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if not self._tasks:
            follow: tuple[Callable[[], Coroutine[Any, Any, None]], ...]
            follow = (self._follow_status, self._follow_advice, self._follow_events)
            self._tasks = [asyncio.create_task(self._keep(each)) for each in follow]

    def leave(self) -> None:
        """Somebody looks no more."""
        self._watching -= 1
        if self._watching == 0:
            self._end = asyncio.get_running_loop().call_later(LINGER_S, self.stop)

    def stop(self) -> None:
        """Ask the agent nothing more."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._advice.clear()

    # --- what is followed ----------------------------------------------------------------------------------

    async def _keep(self, follow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Follow for ever; a failure is known by the snapshots that do not come."""
        while True:
            try:
                await follow()
            except SilentError as error:
                logger.debug("%s", error)
            await asyncio.sleep(AGAIN_S)

    async def _follow_status(self) -> None:
        try:
            async with connected(self._connect) as ask:
                while True:
                    reply = await ask(to_json(StatusRequest()))
                    status = reply.get("status")
                    if status is not None:
                        self._look(status)
                    await asyncio.sleep(STATUS_S)
        except SilentError as error:
            self._silent = {"silent": str(error)}
            raise

    def _look(self, status: object) -> None:
        try:
            snapshot = belated(schema.from_json(status))
        except ValueError as error:
            raise SilentError(f"the agent's answer is not understood: {error}") from None
        self._page, self._silent = page_of(snapshot, self._beginnings, time.monotonic()), {}

    async def _follow_advice(self) -> None:
        async with connected(self._connect) as ask:
            request: Json | None = to_json(WatchRequest())
            while True:
                reply, request = await ask(request), None
                with contextlib.suppress(ValueError):
                    line = read_tolerant(WatchLine, {k: v for k, v in reply.items() if k != "ok"})
                    self._advice[line.sender] = (line, time.monotonic())

    async def _follow_events(self) -> None:
        async with connected(self._connect) as ask:
            request: Json | None = to_json(EventsRequest(command="follow-events"))
            self._events.clear()  # the first reply has them all
            while True:
                reply, request = await ask(request), None
                with contextlib.suppress(ValueError):
                    self._events.extend(read_tolerant(EventsReply, {"events": reply.get("events")}).events)


@contextlib.asynccontextmanager
async def connected(connect: Connect, answer_s: float = ANSWER_S) -> AsyncIterator[Ask]:
    """A connection to the agent: give it a request, or None for the next line; it returns the reply.

    SilentError: the agent is not there, too slow, or refuses.
    """
    try:
        reader, writer = await connect()
    except OSError:
        raise SilentError("the agent is not running") from None

    async def ask(request: Json | None) -> Json:
        try:
            if request is not None:
                writer.write(json.dumps(request).encode() + b"\n")
            async with asyncio.timeout(answer_s):
                line = await reader.readline()
        except TimeoutError:
            raise SilentError("the agent does not answer") from None
        except (OSError, ValueError):
            line = b""
        if not line:
            raise SilentError("the agent has ended the connection")
        try:
            reply = strict_json.parse(line)
        except ValueError as error:
            raise SilentError(f"the agent's answer is not understood: {error}") from None
        if not isinstance(reply, dict) or not reply.get("ok"):
            why = reply.get("error") if isinstance(reply, dict) else ""
            raise DeclinedError(str(why) or "the agent refuses")
        return reply

    try:
        yield ask
    finally:
        writer.transport.abort()
