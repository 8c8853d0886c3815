"""Serves the page over HTTP: the document, the stream of what changes, and what a person asks for.

In one event loop. Slow and many clients cannot make it grow: a connection has some seconds for its request,
there are MAX_CONNECTIONS of them, and where all are taken the one that has waited longest for a request goes.
A browser that takes the stream slowly gets fewer and larger changes, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import socket
import ssl
import time
from http import HTTPStatus
from typing import Any, Final

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.page import assets
from netbond.page.access import Access
from netbond.page.feed import Connect, DeclinedError, Feed, SilentError, connected
from netbond.page.http import MAX_HEAD, RefusedError, Request, Response, read_head, write, write_stream_head
from netbond.page.merge import patch
from netbond.system import files, strict_json

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 48
MAX_VIEWERS: Final = 12  # of these, those that take the stream
REQUEST_S: Final = 5.0  # for a connection's TLS, and then for its request
TAKE_S: Final = 10.0  # for a client to take what it is sent
EVERY_S: Final = 0.2  # between two changes in the stream
HEARTBEAT_S: Final = 1.0  # at least: who hears nothing for longer knows that the connection is dead
ASKED_S: Final = 90.0  # for the agent to answer: doctor asks the network
WRONG_TOKEN_S: Final = 1.0  # until somebody with a wrong token gets the answer
SEND_BUFFER: Final = 16 * 1024  # bytes that the kernel keeps for a viewer: what waits there is old
BACKLOG: Final = 64
# What a browser may say of a request for the agent (SetRequest and UnsetRequest), which checks the values.
SET_KEYS: Final = ("uplink", "what", "value", "for_s", "yes")
UNSET_KEYS: Final = ("uplink", "what")
_SHORT: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_SHORT_S: Final = 0.5  # without descriptors or memory: until the next try


def listen(where: HostPort) -> socket.socket:
    """Open the page's port; UnavailableError says why that fails. A low one needs root."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((where.host, where.port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot serve the page at {where}: {files.why(error)}", "choose another address with page.listen"
        ) from None
    return listener


class Server:
    """Answers on a listening socket, from `run()` on."""

    def __init__(
        self,
        access: Access,
        connect: Connect,
        tls: ssl.SSLContext | None = None,
        *,
        of_agent: bool = False,
        control: bool = False,
    ) -> None:
        """`connect` makes connections to the agent; `of_agent`: they are those of its own page.

        `control`: uplinks may be set.
        """
        self._access = access
        self._feed = Feed(connect)
        self._connect = connect
        self._tls = tls
        self._of_agent = of_agent
        self._control = control
        self._assets = assets.load()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], None] = {}  # without a whole request yet, oldest first
        self._viewers = 0

    async def run(self, listener: socket.socket) -> None:
        """Accept connections until cancelled; then end them all."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listener)
                except OSError as error:
                    if error.errno in _SHORT:
                        await asyncio.sleep(_SHORT_S)
                    continue
                self._admit(connection)
        finally:
            for task in self._tasks:
                task.cancel()
            self._feed.stop()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _admit(self, connection: socket.socket) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS and self._waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
        elif len(self._tasks) >= 2 * MAX_CONNECTIONS:  # those that were ended are not gone yet
            connection.close()
            return
        task = asyncio.create_task(self._connected(connection))
        self._tasks.add(task)
        self._waiting[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a request failed", exc_info=error)

    # --- one connection ------------------------------------------------------------------------------------

    async def _connected(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        reader = asyncio.StreamReader(limit=MAX_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        limit = REQUEST_S if self._tls is not None else None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=limit
            )
        except (OSError, ssl.SSLError):
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        # drain() then returns when all has gone to the kernel, and not before.
        transport.set_write_buffer_limits(high=1)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._serve(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # too slow, or gone: nobody to tell
        finally:
            transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = True
        try:
            async with asyncio.timeout(REQUEST_S):
                request = read_head(await _head(reader))
                content = await reader.readexactly(request.length)
            current = asyncio.current_task()
            if current is not None:
                self._waiting.pop(current, None)
            body = request.method != "HEAD"
            self._access.check(request)
            if request.path == "/live" and request.method == "GET":
                self._need_token(request)
                await self._live(writer)
                return
            response = await self._answer(request, content)
        except RefusedError as refused:
            response = refused.response
        await _send(writer, write(response, body=body))
        with contextlib.suppress(NotImplementedError):  # TLS has no half-closed connections
            writer.write_eof()
        async with asyncio.timeout(1.0):  # let the client read it: a reset could overtake it
            await reader.read(1)

    def _need_token(self, request: Request) -> None:
        if not self._access.logged_in(request, time.time()):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "log in", [("WWW-Authenticate", "Bearer")])

    async def _answer(self, request: Request, content: bytes) -> Response:
        asset = self._assets.get(request.path)
        if asset is not None:
            _only(request, "GET", "HEAD")
            return _of_asset(asset, request)
        if request.path == "/login":
            _only(request, "POST")
            return await self._log_in(request, content)
        if request.path == "/session":
            _only(request, "GET", "HEAD")
            self._need_token(request)
            return Response(HTTPStatus.NO_CONTENT)
        if request.path == "/doctor":
            _only(request, "POST")
            self._need_token(request)
            return await self._asked({"command": "doctor"})
        if request.path in ("/set", "/unset"):
            _only(request, "POST")
            self._need_token(request)
            if not self._control:
                raise RefusedError(HTTPStatus.FORBIDDEN, "this page only shows (control = true in [page])")
            given = _object(request, content)
            keys = SET_KEYS if request.path == "/set" else UNSET_KEYS
            wanted = {key: given[key] for key in keys if key in given}
            return await self._asked({"command": request.path[1:], **wanted})
        raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such page")

    async def _log_in(self, request: Request, content: bytes) -> Response:
        token = _object(request, content).get("token")
        try:
            given = token.encode() if isinstance(token, str) else b""
            cookie = self._access.log_in(given, time.time())
        except RefusedError:
            await asyncio.sleep(WRONG_TOKEN_S)
            raise
        return Response(HTTPStatus.NO_CONTENT, headers=(cookie,))

    async def _asked(self, request: dict[str, Any]) -> Response:
        if not self._of_agent:
            raise RefusedError(HTTPStatus.NOT_FOUND, "only the page that the agent runs can ask for that")
        try:
            async with connected(self._connect, ASKED_S) as ask:
                reply = await ask(request)
        except DeclinedError as error:
            raise RefusedError(HTTPStatus.CONFLICT, str(error)) from None
        except SilentError as error:
            raise RefusedError(HTTPStatus.BAD_GATEWAY, str(error)) from None
        return Response(HTTPStatus.OK, json.dumps(reply).encode(), "application/json")

    # --- the stream ----------------------------------------------------------------------------------------

    async def _live(self, writer: asyncio.StreamWriter) -> None:
        """Send the state, and from then on what changes, as server-sent events."""
        if self._viewers >= MAX_VIEWERS:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many look at this page already")
        peer: socket.socket = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._viewers += 1
        self._feed.enter()
        try:
            await _send(writer, write_stream_head())
            shown: dict[str, Any] = {}
            told = float("-inf")
            while True:
                state, now = self._feed.state(), time.monotonic()
                if self._control:
                    state["control"] = True
                changes = patch(shown, state)
                if changes or now - told >= HEARTBEAT_S:
                    data = json.dumps({"t": round(now, 1), "p": changes}, separators=(",", ":"))
                    await _send(writer, b"data: %b\n\n" % data.encode())
                    shown, told = state, now
                await asyncio.sleep(EVERY_S)
        finally:
            self._viewers -= 1
            self._feed.leave()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n"))[:-4]
    except asyncio.LimitOverrunError:
        raise RefusedError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a request's head is at most {MAX_HEAD} bytes"
        ) from None


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    if writer.transport.is_closing():  # TLS would log it as an error of ours
        raise ConnectionResetError
    writer.write(data)
    async with asyncio.timeout(TAKE_S):
        await writer.drain()


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "not in this way", [("Allow", ", ".join(methods))])


def _object(request: Request, content: bytes) -> dict[str, Any]:
    """The body as a JSON object. A form of another page could not send it with this type of content."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
    try:
        found = strict_json.parse(content)
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not understood: {error}") from None
    if not isinstance(found, dict):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is no object")
    return found


def _of_asset(asset: assets.Asset, request: Request) -> Response:
    headers: tuple[tuple[str, str], ...] = (("Vary", "Accept-Encoding"),)
    if asset.policy:
        headers += (("Content-Security-Policy", asset.policy),)
    accepted = request.headers.get("accept-encoding", "").split(",")
    if "gzip" in (each.partition(";")[0].strip() for each in accepted):
        return Response(HTTPStatus.OK, asset.zipped, asset.kind, (*headers, ("Content-Encoding", "gzip")))
    return Response(HTTPStatus.OK, asset.body, asset.kind, headers)
