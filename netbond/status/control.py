"""The control socket: how `netbond status` and DHCP hooks speak to the running agent.

A unix stream socket. Both sides write JSON, one object a line: `{"command": "status"}` is answered by
`{"ok": true, ...}` or `{"ok": false, "error": "one line"}`; one who follows something (`watch`) gets such
lines until it closes the connection. Anybody may connect, and the kernel says who it
is (SO_PEERCRED): commands that change something are for root and the agent's own user.

Root and hooks have a socket of their own beside it (PATH.root, mode 0600), because the kernel's queue of
connections is one for all who connect, and who floods it keeps the others out. The open socket is looked at
now and then (REST_S), and a connection that is one too many is closed before anything is made for it.

The client is synchronous and imports no asyncio: a DHCP client waits for `netbond hook`, and that import
alone doubles its start. So the server's methods import it where they need it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import inspect
import json
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from netbond.config.paths import ROOT_SUFFIX
from netbond.errors import NetbondError, NotPermittedError, NotRunningError, UnavailableError, UsageError
from netbond.status.admission import UID_SPACING_S, Pace, may_follow, taken
from netbond.status.protocol import MAX_REPLY, MAX_REQUEST, encode, read_request, refusal
from netbond.system import files, strict_json, unix_socket
from netbond.system.typed_json import to_json

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

FOLLOWER_BUFFER = 32 * 1024  # bytes that the kernel keeps for a follower who does not read
TIMEOUT_S = 5.0  # for a client to send a line, or to take its reply
BACKLOG = 64
# Of the open socket: so many connections are accepted at once, and then none for this time. 200 a second take
# 1 % of a processor, however many wait.
ACCEPTED_AT_ONCE = 4
REST_S = 0.02
NO_RESOURCES_S = 1.0  # without descriptors or memory: until the next try
FULL = "too many connections to the control socket"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, as the kernel says."""

    uid: int
    pid: int

    @property
    def privileged(self) -> bool:
        """Whether it is root, or the agent's own user."""
        return self.uid in (0, os.geteuid())


# Of a connection that was handed to a child: no user has this uid.
HANDED = Peer(uid=-1, pid=0)
MAX_HANDED = 8

Handler = Callable[[dict[str, Any], Peer], "Awaitable[dict[str, Any]] | dict[str, Any]"]
Follow = Callable[[dict[str, Any], Peer], AsyncGenerator[dict[str, Any], None]]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Command:
    """What answers a command: `handle` gets the request and returns the reply's keys beside "ok".

    A NetbondError that it raises is the error in the reply. `anybody`: not only root may ask.
    """

    handle: Handler
    anybody: bool = False

    @classmethod
    def typed(
        cls, kind: type[R], handle: Callable[[R, Peer], Awaitable[object] | object], *, anybody: bool = False
    ) -> Command:
        """A command whose request is read as `kind`; its reply is a dataclass of netbond.status.protocol."""

        async def converted(request: dict[str, Any], peer: Peer) -> dict[str, Any]:
            reply = handle(_understood(kind, request), peer)
            said: dict[str, Any] = to_json(await reply if inspect.isawaitable(reply) else reply)
            return said

        return cls(converted, anybody)


@dataclass(frozen=True, slots=True)
class Subscription:
    """What answers a command again and again, as `follow` yields; a NetbondError that it raises ends it."""

    follow: Follow
    anybody: bool = False

    @classmethod
    def typed(
        cls, kind: type[R], follow: Callable[[R], AsyncGenerator[object, None]], *, anybody: bool = False
    ) -> Subscription:
        """As Command.typed."""

        async def converted(request: dict[str, Any], _peer: Peer) -> AsyncGenerator[dict[str, Any], None]:
            async with contextlib.aclosing(follow(_understood(kind, request))) as replies:
                async for reply in replies:
                    yield to_json(reply)

        return cls(converted, anybody)


Commands = Mapping[str, Command | Subscription]


def _understood(kind: type[R], request: Mapping[str, Any]) -> R:
    try:
        return read_request(kind, request)
    except ValueError as error:
        raise UsageError(f"the request is not understood: {error}") from None


def root_socket(path: Path) -> Path:
    """The socket for root and hooks alone, beside the one at `path` that is open to all."""
    return path.with_name(path.name + ROOT_SUFFIX)


# --- the agent's side --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Listening:
    path: Path
    socket: socket.socket
    node: unix_socket.Node
    for_all: bool


class ControlServer:
    """Answers on the control socket, and on root's beside it, from `start()` until `stop()`.

    A lock beside the socket (PATH.lock) is held all the while, so that two agents never write to one kernel,
    even if somebody removes the socket in between.
    """

    def __init__(
        self,
        path: Path,
        commands: Commands,
        *,
        timeout_s: float = TIMEOUT_S,
        spacing_s: float = UID_SPACING_S,
    ) -> None:
        self.path = path
        self._commands = commands
        self._timeout_s = timeout_s
        self._pace = Pace(spacing_s)
        self._lock: int | None = None
        self._sockets: list[_Listening] = []
        self._resting: set[asyncio.TimerHandle] = set()
        self._short = False  # of descriptors or memory, at the last try to accept
        self._connections: dict[asyncio.Task[None], Peer] = {}
        self._handed: set[asyncio.Task[None]] = set()
        self._followers: list[Peer] = []

    async def start(self) -> None:
        """Open the sockets; UnavailableError if another agent has them or something is in their place."""
        try:
            files.make_directory(self.path.parent, 0o755)  # anybody may ask for the status
            self._lock = _take_lock(self.path)
        except OSError as error:
            raise _cannot_open(self.path, error) from None
        try:
            for path, mode in ((self.path, 0o666), (root_socket(self.path), 0o600)):
                self._sockets.append(_Listening(path, *_listen(path, mode), for_all=mode == 0o666))
        except BaseException:
            self._release()
            raise
        for listening in self._sockets:
            self._look_at(listening)

    async def stop(self) -> None:
        """Close the socket and every connection; remove the socket if it is still ours."""
        import asyncio

        loop = asyncio.get_running_loop()
        for handle in self._resting:
            handle.cancel()
        for listening in self._sockets:
            loop.remove_reader(listening.socket)
        tasks = [*self._connections, *self._handed]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._release()

    def _release(self) -> None:
        for listening in self._sockets:
            listening.socket.close()
            unix_socket.remove(listening.path, listening.node)
        self._sockets.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _own(self) -> tuple[int, ...]:
        """The uids that are not counted with users'."""
        return (0, os.geteuid())

    def _privileged(self, peer: Peer) -> bool:
        return peer.uid in self._own()

    def _look_at(self, listening: _Listening) -> None:
        import asyncio

        asyncio.get_running_loop().add_reader(listening.socket, self._accept, listening)

    def _rest(self, listening: _Listening, seconds: float) -> None:
        """Accept nobody there for this time. Who connects meanwhile waits in the kernel, at no cost."""
        import asyncio

        def again() -> None:
            self._resting.discard(handle)
            self._look_at(listening)

        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.socket)
        handle = loop.call_later(seconds, again)
        self._resting.add(handle)

    def _accept(self, listening: _Listening) -> None:
        """Take those who wait. asyncio's own server would first make a transport and a task for each."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, _address = listening.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                if not self._short:
                    logger.error("the control socket accepts nobody at present: %s", files.why(error))
                self._short = True
                self._rest(listening, NO_RESOURCES_S)
                return
            self._short = False
            self._admit(connection)
        if listening.for_all:
            self._rest(listening, REST_S)

    def _admit(self, connection: socket.socket) -> None:
        import asyncio

        peer = _peer(connection)
        if not taken(peer.uid, [other.uid for other in self._connections.values()], self._own()):
            with connection, contextlib.suppress(OSError):
                connection.send(encode(refusal(FULL)), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._connected(connection, peer, self._commands))
        self._connections[task] = peer
        task.add_done_callback(self._disconnected)

    def hand(self, connection: socket.socket, commands: Commands) -> None:
        """Answer these commands, and no others, on a connection that a child of the agent was given.

        Whoever holds it may ask for all of them. It has no place among those of users, at most MAX_HANDED of
        its kind, and a user's pace.
        """
        import asyncio

        if len(self._handed) >= MAX_HANDED:
            connection.close()
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._connected(connection, HANDED, commands))
        self._handed.add(task)
        task.add_done_callback(self._disconnected)

    async def _connected(self, connection: socket.socket, peer: Peer, commands: Commands) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_REQUEST)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        except BaseException:
            connection.close()
            raise
        await self._serve(reader, asyncio.StreamWriter(transport, protocol, reader, loop), peer, commands)

    def _disconnected(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        self._handed.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a connection to the control socket failed", exc_info=error)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer, commands: Commands
    ) -> None:
        """Answer one client until it leaves, makes an error or is too slow."""
        import asyncio

        try:
            while True:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        line = await reader.readline()
                except ValueError:  # what readline() makes of a line beyond the limit
                    await self._send(writer, refusal(f"a request is at most {MAX_REQUEST} bytes"))
                    return
                if not line.endswith(b"\n"):
                    return  # end of file
                if not self._privileged(peer):
                    await asyncio.sleep(self._pace.of_uid_s(peer.uid, time.monotonic()))
                    if peer is not HANDED:
                        await asyncio.sleep(self._pace.of_users_s(time.monotonic()))
                await self._reply(writer, line, peer, commands)
        except (TimeoutError, OSError):
            pass  # too slow, or gone: nobody to tell
        finally:
            # Not close(): that would keep a reply for a client that does not read for as long as it pleases.
            # What drain() has passed to the kernel still arrives.
            writer.transport.abort()

    async def _send(self, writer: asyncio.StreamWriter, reply: dict[str, Any]) -> None:
        import asyncio

        # No water marks: drain() then returns when all has gone to the kernel, and not before.
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(encode(reply))
        # Not wait_for(): in Python 3.11 that may swallow the cancellation, and a follower would go on.
        async with asyncio.timeout(self._timeout_s):
            await writer.drain()

    async def _reply(self, writer: asyncio.StreamWriter, line: bytes, peer: Peer, commands: Commands) -> None:
        """Answer one line, once or for as long as a subscription lasts."""
        try:
            request, command = self._look_up(line, peer, commands)
            if isinstance(command, Subscription):
                await self._follow(writer, command, request, peer)
            else:
                await self._send(writer, await self._answer(command, request, peer))
        except NetbondError as error:
            await self._send(writer, refusal(str(error)))

    def _look_up(
        self, line: bytes, peer: Peer, commands: Commands
    ) -> tuple[dict[str, Any], Command | Subscription]:
        """The request, and what answers it; a NetbondError is the error in the reply."""
        try:
            request = strict_json.parse(line)
        except ValueError:
            raise UsageError("a request is one line of JSON") from None
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            raise UsageError('a request is a JSON object with the key "command"')
        name = request["command"]
        command = commands.get(name)
        if command is None:
            known = ", ".join(commands)
            raise UsageError(f"there is no command {name[:64]!r}", f"known are {known}")
        if not command.anybody and peer is not HANDED and not self._privileged(peer):
            raise NotPermittedError(f"the command {name!r} is for root")
        return request, command

    async def _follow(
        self, writer: asyncio.StreamWriter, command: Subscription, request: dict[str, Any], peer: Peer
    ) -> None:
        """Send what it yields. A client that takes too long for a line is dropped (TimeoutError)."""
        if peer is not HANDED and not may_follow(
            peer.uid, [other.uid for other in self._followers], self._own()
        ):
            raise UnavailableError("too many follow already", "end one of them")
        # Little waits in the kernel: a client that does not read is found out, and none gets old news.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FOLLOWER_BUFFER)
        counted = self._followers if peer is not HANDED else []
        counted.append(peer)
        try:
            async with contextlib.aclosing(command.follow(request, peer)) as replies:
                async for reply in replies:
                    await self._send(writer, {"ok": True, **reply})
        finally:
            counted.remove(peer)

    async def _answer(self, command: Command, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
        import asyncio

        # In a task of its own, so that whatever goes wrong in it ends as this client's error.
        task = asyncio.ensure_future(_call(command.handle, request, peer))
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
        error = task.exception()
        if isinstance(error, NetbondError):
            raise error
        if error is not None:
            logger.error("the command %r failed", request["command"], exc_info=error)
            return refusal("internal error; see the agent's log")
        return {"ok": True, **task.result()}


async def _call(handle: Handler, request: dict[str, Any], peer: Peer) -> dict[str, Any]:
    reply = handle(request, peer)
    if inspect.isawaitable(reply):
        return await reply
    return reply


def _peer(connection: socket.socket) -> Peer:
    pid, uid = unix_socket.peer(connection)
    return Peer(uid=uid, pid=pid)


def _cannot_open(path: Path, error: OSError) -> UnavailableError:
    if error.errno == errno.ELOOP:
        return UnavailableError(f"{path}.lock is a symbolic link", "remove it")
    return UnavailableError(
        f"cannot open the control socket {path}: {error.strerror or error}",
        "name another place with agent.control_socket",
    )


def _another(pid: int | None) -> UnavailableError:
    who = f" (pid {pid})" if pid else ""
    return UnavailableError(
        f"another agent is running{who}", "stop it first: two agents would undo each other's routes"
    )


def _listen(path: Path, mode: int) -> tuple[socket.socket, unix_socket.Node]:
    """A listening socket at `path` with this mode; UnavailableError says why there is none."""
    try:
        return unix_socket.listen(path, mode, backlog=BACKLOG)
    except unix_socket.NotASocketError:
        raise UnavailableError(
            f"{path} is in the way of the control socket: it is not a socket",
            "move it away, or name another place with agent.control_socket",
        ) from None
    except unix_socket.InUseError as error:
        raise _another(error.pid) from None
    except OSError as error:
        raise _cannot_open(path, error) from None


def _take_lock(path: Path) -> int:
    """A descriptor that holds the lock beside the socket; it goes with the process, also after kill -9."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(lock, 16, 0).strip()
            raise _another(int(text) if text.isdigit() else None) from None
        with contextlib.suppress(OSError):  # no space left: who holds the lock is only for a message
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


# --- the client's side -------------------------------------------------------------------------------------


def request(path: Path, command: Mapping[str, Any], timeout: float = 2.0) -> dict[str, Any]:
    """Send `command` to the agent at `path` and return its reply, which has "ok", within `timeout` seconds.

    NotRunningError: nobody listens. UnavailableError: no answer in time, or one that makes no sense.
    NotPermittedError: the socket's directory is closed to this user.
    """
    deadline = time.monotonic() + timeout
    with _asked(path, command, timeout) as connection:
        line, _ = _read_line(connection, b"", deadline)
    return _parsed(path, line)


def follow(path: Path, command: Mapping[str, Any], timeout: float = 3.0) -> Iterator[dict[str, Any]]:
    """Send `command` and yield each reply as it comes; it ends when the other side closes the connection.

    Errors as those of request(); UnavailableError also if nothing comes for `timeout` seconds.
    """
    with _asked(path, command, timeout) as connection:
        line, rest = _read_line(connection, b"", time.monotonic() + timeout)
        while line:
            yield _parsed(path, line)
            line, rest = _read_line(connection, rest, time.monotonic() + timeout)


@contextlib.contextmanager
def _asked(path: Path, command: Mapping[str, Any], timeout: float) -> Iterator[socket.socket]:
    """A connection over which the command has been sent; whatever fails becomes one line."""
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(_connection(path, timeout))
            with contextlib.suppress(BrokenPipeError):  # refused already; the reply says why
                connection.sendall(json.dumps(command).encode() + b"\n")
            yield connection
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NotRunningError(
                f"the agent is not running (nobody answers at {path})", "start it: netbond run"
            ) from None
        except PermissionError:
            raise NotPermittedError(f"{path}: permission denied", "ask as root") from None
        except (TimeoutError, BlockingIOError):
            raise UnavailableError(
                f"the agent does not answer at {path} within {timeout:g} s", "see its log, or start it again"
            ) from None
        except OSError as error:
            raise UnavailableError(
                f"cannot speak to the agent at {path}: {error.strerror or error}", "see its log"
            ) from None


def _connection(path: Path, timeout: float) -> socket.socket:
    """A connection to the agent: for root by root's socket, unless the agent is from before there was one.

    Whoever listens there must be root, or this user: where others may write, they could make such a socket.
    """
    paths = [root_socket(path), path] if os.geteuid() == 0 else [path]
    for each in paths:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(str(each))
            if each == path or unix_socket.peer(connection)[1] in (0, os.geteuid()):
                return connection
        except OSError:
            if each == path:
                connection.close()
                raise
        connection.close()
    raise AssertionError("the last path returns or raises")


def _parsed(path: Path, line: bytes) -> dict[str, Any]:
    try:
        reply = strict_json.parse(line)
    except ValueError:
        reply = None
    if not isinstance(reply, dict) or not isinstance(reply.get("ok"), bool):
        raise UnavailableError(f"what answers at {path} is not a netbond agent", "see who listens: ss -xlp")
    return reply


def _read_line(connection: socket.socket, data: bytes, deadline: float) -> tuple[bytes, bytes]:
    """The line that begins with `data`, or what came before the end of file, and what came after it.

    TimeoutError when the deadline has passed.
    """
    read = bytearray(data)
    while b"\n" not in read[-65536:] and len(read) <= MAX_REPLY:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(65536)
        if not part:
            break
        read += part
    line, feed, rest = bytes(read).partition(b"\n")
    return line + feed, rest
