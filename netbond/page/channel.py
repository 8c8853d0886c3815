"""The page's end of its channel with the agent: over it the page is given connections to ask by.

A socket pair that the agent hands down. Whoever holds it is the page: it has no name that another process
could open, and it works wherever the control socket lies. The page says READY once; for each connection it
makes a socket pair and sends one end of it (SCM_RIGHTS) with CONNECT. End of file: the agent has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from netbond.status.protocol import MAX_REPLY

READY: Final = b"r"
CONNECT: Final = b"c"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Channel:
    """To be made within the running loop; `ended` is set when the agent has gone."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is inherited, and belongs to the channel from now on."""
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self.ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        """The agent says nothing: what comes is the end."""
        with contextlib.suppress(BlockingIOError):
            with contextlib.suppress(ConnectionError):
                if self._socket.recv(64):
                    return
            asyncio.get_running_loop().remove_reader(self._socket)
            self.ended.set()

    def close(self) -> None:
        """Give up the channel."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def ready(self) -> None:
        """Tell the agent that the page serves."""
        self._socket.send(READY)

    async def connect(self) -> Connection:
        """A new connection to the agent, which answers as on its control socket; OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._socket, [CONNECT], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return await asyncio.open_unix_connection(sock=ours, limit=MAX_REPLY)
