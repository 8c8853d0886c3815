"""The engine's end of its channel with the agent: it queues messages, and never blocks the data path.

protocol.py has the messages. Little waits for an agent that does not read: of statistics, advice and resumes
only the newest.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Collection
from typing import Final

from netbond.errors import UsageError
from netbond.srtla.process.protocol import (
    FROM_AGENT,
    MAX_LINE_BYTES,
    AdviceMessage,
    ChannelError,
    Message,
    Resume,
    ResumeData,
    Stats,
    VideoRate,
    encode,
    parse,
)

READ_BYTES: Final = 64 * 1024  # at once
RESUME_WITHIN_S: Final = 10.0  # for the agent to say what to resume


class Channel:
    """Messages in and out. `receive_resume` before the loop runs, `start` in it."""

    def __init__(self, fd: int, expected: Collection[type[Message]] = FROM_AGENT) -> None:
        """`fd`: the engine's end of the pair; UsageError if it is not an open socket. `expected`: messages
        that the other end may send; others are ignored."""
        try:
            self._socket = socket.socket(fileno=fd)
        except OSError as error:
            raise UsageError(
                f"--control-fd {fd} is not a socket: {error.strerror}", "the agent passes it; leave it out"
            ) from None
        self._expected = expected
        self._in = b""
        self._out = bytearray()
        self._newest: dict[type[Message], Message] = {}  # sent when the agent has read what is before it
        self._loop: asyncio.AbstractEventLoop | None = None
        self.resume_bytes = 0  # of the last resume that was sent

    def receive_resume(self, lines: int = 1) -> ResumeData:
        """Wait for what to resume, in the first of so many lines that has it; {} if it does not come in time.
        Other messages in these lines are lost."""
        for _ in range(lines):
            line = self._receive_line()
            if line is None:
                break
            for message in self._parse(line):
                if isinstance(message, Resume):
                    return message.data
        return {}

    def _receive_line(self) -> bytes | None:
        end = time.monotonic() + RESUME_WITHIN_S
        while b"\n" not in self._in and len(self._in) <= MAX_LINE_BYTES:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(READ_BYTES)
            except OSError:
                return None
            if not data:
                return None
            self._in += data
        line, _, self._in = self._in.partition(b"\n")
        return line

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
        """Queue a message that must arrive, such as Ready: a handful in an engine's life."""
        self._out += _line(message)
        self._flush()

    def show(self, message: Stats | Resume | AdviceMessage | VideoRate) -> None:
        """Queue a message in the place of an earlier one of its kind that is still waiting."""
        self._newest[type(message)] = message
        self._flush()

    def end_line(self) -> None:
        """End a line that another process may have left half-written."""
        self._out += b"\n"
        self._flush()

    def _flush(self) -> None:
        waiting = bool(self._out)
        while self._out or self._newest:
            if not self._out:
                message = self._newest.pop(next(iter(self._newest)))
                line = _line(message)
                if isinstance(message, Resume):
                    self.resume_bytes = len(line)
                self._out += line
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
            data = self._socket.recv(READ_BYTES)
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
            for message in self._parse(line):
                self._on_message(message)
        if len(self._in) > MAX_LINE_BYTES:
            self._in = b""  # not a line of ours

    def _parse(self, line: bytes) -> list[Message]:
        try:
            return parse(line, self._expected)
        except ChannelError:
            return []  # the agent is trusted, and may be of a later version


def _line(message: Message) -> bytes:
    try:
        return encode(message)
    except ChannelError:
        return b""  # the agent would end us for it
