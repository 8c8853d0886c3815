"""The engine's end of its channel with the agent: JSON objects, one a line, over a stream socket.

docs/architecture.md lists the messages. Nothing here blocks the data path, and little waits for an agent that
does not read: of what is soon out of date anyway only the newest.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from netbond.errors import UsageError

LINE_MAX = 1024 * 1024  # bytes; the agent ends an engine that sends more (netbond.engines.child.MAX_LINE)
READ_SIZE = 64 * 1024  # bytes
FIRST_LINE_WITHIN = 10.0  # s for the agent to say what to resume

Message = dict[str, Any]


class Channel:
    """JSON lines in and out. `receive_first` before the loop runs, `start` in it."""

    def __init__(self, fd: int) -> None:
        """`fd`: the engine's end of the pair; UsageError if it is not an open socket."""
        try:
            self._socket = socket.socket(fileno=fd)
        except OSError as error:
            raise UsageError(
                f"--control-fd {fd} is not a socket: {error.strerror}", "the agent passes it; leave it out"
            ) from None
        self._in = b""
        self._out = bytearray()
        self._newest: dict[str, Message] = {}  # what goes out when the agent has read what is before it
        self._loop: asyncio.AbstractEventLoop | None = None

    def receive_first(self) -> Message:
        """The first message, waited for; {} if the agent says nothing of use in time."""
        end = time.monotonic() + FIRST_LINE_WITHIN
        while b"\n" not in self._in and len(self._in) <= LINE_MAX:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(READ_SIZE)
            except OSError:
                return {}
            if not data:
                return {}
            self._in += data
        line, _, self._in = self._in.partition(b"\n")
        return _decode(line)

    def close(self) -> None:
        """Let go of it: another process has it."""
        self._socket.close()

    def start(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        """From now on call these; `on_end` when the agent is gone."""
        self._loop = asyncio.get_running_loop()
        self._on_message, self._on_end = on_message, on_end
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._readable)
        self._loop.call_soon(self._deliver)  # what arrived together with the first line

    def send(self, message: Message) -> None:
        """Queue a message that must arrive, such as `ready`: a handful in an engine's life."""
        self._out += _encode(message)
        self._flush()

    def show(self, kind: str, value: Message) -> None:
        """Queue {kind: value}, in the place of an earlier one of this kind that is still waiting."""
        self._newest[kind] = value
        self._flush()

    def _flush(self) -> None:
        waiting = bool(self._out)
        while self._out or self._newest:
            if not self._out:
                kind = next(iter(self._newest))
                self._out += _encode({kind: self._newest.pop(kind)})
                continue
            try:
                del self._out[: self._socket.send(self._out)]
            except BlockingIOError:
                break
            except OSError:
                self._out.clear()  # the agent is gone: the reader will say so
                self._newest.clear()
        if self._loop is not None:
            if self._out:
                self._loop.add_writer(self._socket, self._flush)
            elif waiting:
                self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if self._loop is not None:
                self._loop.remove_reader(self._socket)
            self._on_end()
            return
        self._in += data
        self._deliver()

    def _deliver(self) -> None:
        while b"\n" in self._in:
            line, _, self._in = self._in.partition(b"\n")
            message = _decode(line)
            if message:
                self._on_message(message)
        if len(self._in) > LINE_MAX:
            self._in = b""  # not a line of ours


def _encode(message: Message) -> bytes:
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    return line if len(line) <= LINE_MAX else b""


def _decode(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
