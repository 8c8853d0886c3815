"""The socket of an engine that runs without the agent, for those who follow its advice (--watch-socket).

A unix stream socket, which speaks like the agent's control socket after the request `watch`: a JSON object on
each line (netbond.srtla.watch). It sends without being asked; what a reader writes is passed over. Nothing
here waits: what a reader does not take at once stays in its socket, and when that is full, the reader is
dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
from pathlib import Path
from typing import Final

from netbond.errors import UnavailableError
from netbond.srtla.watch import HEARTBEAT_S, WatchLine
from netbond.system import files, unix_socket
from netbond.system.typed_json import to_json

MODE: Final = 0o660
MAX_READERS: Final = 8
READER_BUFFER: Final = 32 * 1024  # bytes that the kernel keeps for a reader: some seconds
MAX_SAID: Final = 4096  # bytes that a reader may write; a request has less than 100
AGAIN_S: Final = 1.0  # until the next attempt after a failure, for want of descriptors for example
FULL: Final = b'{"ok": false, "error": "too many follow already; end one of them"}\n'


class WatchSocket:
    """The socket and its readers."""

    def __init__(self, path: Path, user: str | None = None) -> None:
        """Open it, before root is given up; it is given to `user`, which the engine becomes.

        UnavailableError says why it cannot be opened.
        """
        self._path = path
        try:
            self._listener, self._node = unix_socket.listen(path, MODE, owner=_owner(user))
        except OSError as error:
            raise UnavailableError(
                f"--watch-socket {path}: {files.why(error)}",
                "name another place, in a directory of one's own",
            ) from None
        self._readers: dict[socket.socket, int] = {}  # with the bytes that each has written
        self._line: WatchLine | None = None
        self._told = float("-inf")  # when there was a line last, monotonic seconds

    def __enter__(self) -> WatchSocket:
        return self

    def __exit__(self, *_: object) -> None:
        """Let all readers go, and remove the socket where that is allowed to the user that one became."""
        for each in (*self._readers, self._listener):
            each.close()
        with contextlib.suppress(OSError):
            unix_socket.remove(self._path, self._node)

    def start(self) -> None:
        """Accept readers from now on, in the loop that runs."""
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._loop.add_reader(self._listener, self._accept)

    def due(self, now: float) -> bool:
        """Whether a line must be told although there is no new advice. To be asked each second."""
        return now - self._told > HEARTBEAT_S / 2

    def tell(self, line: WatchLine, now: float) -> None:
        """Tell all readers. `now`: monotonic seconds."""
        self._line, self._told = line, now
        if self._readers:
            data = _encoded(line)
            for reader in list(self._readers):
                self._send(reader, data)

    def _accept(self) -> None:
        try:
            reader, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            self._loop.remove_reader(self._listener)
            self._loop.call_later(AGAIN_S, self._accept_again)
            return
        reader.setblocking(False)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, READER_BUFFER)
        if len(self._readers) >= MAX_READERS:
            with contextlib.suppress(OSError):
                reader.send(FULL)
            reader.close()
            return
        self._readers[reader] = 0
        self._loop.add_reader(reader, self._hear, reader)
        if self._line is not None:
            self._send(reader, _encoded(self._line))

    def _accept_again(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _hear(self, reader: socket.socket) -> None:
        try:
            said = len(reader.recv(MAX_SAID))
        except BlockingIOError:
            return
        except OSError:
            self._drop(reader)
            return
        self._readers[reader] += said
        if said == 0:
            self._loop.remove_reader(reader)  # it says no more, and may still read: the next line will show
        elif self._readers[reader] > MAX_SAID:
            self._drop(reader)

    def _send(self, reader: socket.socket, data: bytes) -> None:
        try:
            sent = reader.send(data)
        except OSError:  # gone, or too slow (BlockingIOError)
            sent = 0
        if sent < len(data):
            self._drop(reader)

    def _drop(self, reader: socket.socket) -> None:
        self._loop.remove_reader(reader)
        del self._readers[reader]
        reader.close()


def _encoded(line: WatchLine) -> bytes:
    return json.dumps({"ok": True, **to_json(line)}).encode() + b"\n"


def _owner(user: str | None) -> tuple[int, int] | None:
    """Its ids; None: nothing is to be given away, or the one who becomes this user says what is wrong."""
    if user is None or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid
