"""Serves the streams of a receiver at http://HOST:PORT/stats?key=KEY, for NOALBS and scripts.

In the engine's own loop, beside packets: a request costs next to nothing, and one that does not come to its
end costs a place among MAX_CONNECTIONS for DEADLINE_S at most. Where all are taken, the oldest goes. Stream
ids are on the page, and who knows one may often publish in its place: so nothing is told without the key.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.srtla.publishers import document
from netbond.srtla.statistics import ReceiverStatistics

MAX_CONNECTIONS: Final = 16  # at once
MAX_REQUEST: Final = 8192  # bytes of a request's head
DEADLINE_S: Final = 5.0  # for a whole request, and for reading the answer
RETRY_S: Final = 10.0  # between attempts to listen
PATH: Final = "/stats"

log = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, bytes]  # the body is JSON


class StatsPage:
    """The page of one receiver."""

    def __init__(self, listen: HostPort, key: bytes, document: Callable[[], Any]) -> None:
        """`document` gives what the page shows, as JSON values."""
        self._listen = listen
        self._key = key
        self._document = document
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, None] = {}  # oldest first
        self._said = ""

    async def open(self) -> None:
        """Listen. If the port is taken, say so and try again later: streams do not wait for a page."""
        where = str(self._listen)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(self), self._listen.host, self._listen.port, backlog=MAX_CONNECTIONS
            )
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            if why != self._said:
                log.warning("cannot serve the page of streams at %s: %s; trying again", where, why)
            self._said = why
            self._timer = loop.call_later(RETRY_S, lambda: loop.create_task(self.open()))
        else:
            self._said = ""
            log.info("the page of streams is at http://%s%s", where, PATH)

    @property
    def port(self) -> int:
        """The port in use; 0: none yet."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.end()

    def enter(self, connection: _Connection) -> None:
        """A new connection: it takes the place of the oldest if there is none left."""
        if len(self._connections) >= MAX_CONNECTIONS:
            next(iter(self._connections)).end()
        self._connections[connection] = None

    def leave(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)

    def answer(self, head: bytes) -> Answer:
        """The answer to a request, by the head of it."""
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            return _error(HTTPStatus.BAD_REQUEST)
        method, target, _ = line
        path, _, query = target.partition("?")
        if path != PATH:
            return _error(HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            return _error(HTTPStatus.METHOD_NOT_ALLOWED)
        given = next((part[4:] for part in query.split("&") if part.startswith("key=")), "")
        if not hmac.compare_digest(unquote_to_bytes(given), self._key):
            return _error(HTTPStatus.FORBIDDEN)
        return HTTPStatus.OK, json.dumps(self._document()).encode()


def page_of(
    config: ReceiverConfig, key: bytes | None, latest: Callable[[], ReceiverStatistics | None]
) -> StatsPage | None:
    """The page of this receiver, if it shall have one. `latest` gives its latest statistics."""
    if config.stats_listen is None or key is None:
        return None

    def publishers() -> Any:
        stats = latest()
        return document(stats) if stats is not None else {}

    return StatsPage(config.stats_listen, key, publishers)


def _error(status: HTTPStatus) -> Answer:
    return status, json.dumps({"status": "error", "message": status.phrase}).encode()


class _Connection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, page: StatsPage) -> None:
        self._page = page
        self._head = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._page.enter(self)
        self._deadline = asyncio.get_running_loop().call_later(DEADLINE_S, self.end)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._head += data
        head, end, _ = self._head.partition(b"\r\n\r\n")
        if len(head) > MAX_REQUEST:
            status, body = _error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif end:
            status, body = self._page.answer(head)
        else:
            return
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        )
        text = "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")
        self._transport.write(text if head.startswith(b"HEAD ") else text + body)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._page.leave(self)

    def end(self) -> None:
        """End it, whether all is said or not."""
        self._page.leave(self)
        if self._transport is not None:
            self._transport.abort()
