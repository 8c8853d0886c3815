"""The control socket: who may ask what, and that nobody can harm anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from netbond.errors import NotRunningError, UnavailableError
from netbond.status import admission, control, protocol
from netbond.status.control import Command, ControlServer, Peer, Subscription, request
from netbond.system import unix_socket
from tests.unit.shortage import no_space


def echo(asked: dict[str, Any], peer: Peer) -> dict[str, Any]:
    return {"asked": asked, "uid": peer.uid, "pid": peer.pid}


async def slow_echo(asked: dict[str, Any], peer: Peer) -> dict[str, Any]:
    await asyncio.sleep(0)
    return echo(asked, peer)


def refuse(asked: dict[str, Any], peer: Peer) -> dict[str, Any]:
    raise UnavailableError("the modem is gone", "plug it in")


def stumble(asked: dict[str, Any], peer: Peer) -> dict[str, Any]:
    raise ZeroDivisionError("a mistake in the agent")


@dataclass(frozen=True)
class CountRequest:
    first: int
    command: Literal["count"] = "count"


@dataclass(frozen=True)
class Number:
    number: int
    fill: str = ""


async def count(request: CountRequest) -> AsyncGenerator[Number, None]:
    for number in range(request.first, request.first + 3):
        yield Number(number)
        await asyncio.sleep(0)
    raise UnavailableError("there are no more", "count again")


async def pour(asked: dict[str, Any], peer: Peer) -> AsyncGenerator[dict[str, Any], None]:
    """More than anybody takes."""
    while True:
        yield {"fill": "x" * 1000}


async def drip(asked: dict[str, Any], peer: Peer) -> AsyncGenerator[dict[str, Any], None]:
    """One line, and then nothing for long."""
    yield {"pid": peer.pid}
    await asyncio.sleep(3600)


async def trip(asked: dict[str, Any], peer: Peer) -> AsyncGenerator[dict[str, Any], None]:
    yield {}
    raise ZeroDivisionError("a mistake in the agent")


COMMANDS: dict[str, Command | Subscription] = {
    "status": Command(echo, anybody=True),
    "later": Command(slow_echo, anybody=True),
    "hook": Command(echo),
    "refuse": Command(refuse),
    "stumble": Command(stumble),
    "large": Command(lambda asked, peer: {"text": "x" * 1_000_000}),
    "count": Subscription.typed(CountRequest, count, anybody=True),
    "pour": Subscription(pour),
    "drip": Subscription(drip, anybody=True),
    "trip": Subscription(trip),
}


@asynccontextmanager
async def served(path: Path, **options: Any) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, COMMANDS, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """Send the lines over one connection and return what came back before its end."""
    reader, writer = await asyncio.open_unix_connection(path, limit=protocol.MAX_REPLY)
    try:
        writer.write(b"".join(lines))
        writer.write_eof()
        return [json.loads(line) async for line in reader]
    finally:
        writer.close()


def as_line(**keys: Any) -> bytes:
    return json.dumps(keys).encode() + b"\n"


# --- requests and replies ----------------------------------------------------------------------------------


async def _replies(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    async with served(path):
        return await asyncio.wait_for(ask(path, *lines), 20)


async def test_a_command_gets_the_request_and_who_asks(tmp_path: Path) -> None:
    [reply] = await _replies(tmp_path / "s", as_line(command="hook", device="usb0"))
    assert reply == {
        "ok": True,
        "asked": {"command": "hook", "device": "usb0"},
        "uid": os.getuid(),
        "pid": os.getpid(),
    }


async def test_several_lines_over_one_connection_and_coroutines(tmp_path: Path) -> None:
    replies = await _replies(tmp_path / "s", as_line(command="later", n=1), as_line(command="later", n=2))
    assert [reply["asked"]["n"] for reply in replies] == [1, 2]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\n", "a request is one line of JSON"),
        (b"\xff\xfe\n", "a request is one line of JSON"),
        (b"[" * 60_000 + b"\n", "a request is one line of JSON"),
        (b"9" * 60_000 + b"\n", "a request is one line of JSON"),
        (b"[]\n", 'a request is a JSON object with the key "command"'),
        (b'{"command": 1}\n', 'a request is a JSON object with the key "command"'),
        (
            as_line(command="reboot"),
            "there is no command 'reboot'; known are status, later, hook, refuse, stumble, large,"
            " count, pour, drip, trip",
        ),
        (as_line(command="refuse"), "the modem is gone; plug it in"),
        (as_line(command="stumble"), "internal error; see the agent's log"),
        (b"x" * 70_000 + b"\n", "a request is at most 65536 bytes"),
    ],
)
async def test_what_cannot_be_answered_is_an_error_of_one_line(
    tmp_path: Path, line: bytes, error: str
) -> None:
    replies = await _replies(tmp_path / "s", line)
    assert replies == [{"ok": False, "error": error}]


async def test_after_an_error_the_connection_still_serves(tmp_path: Path) -> None:
    first, second = await _replies(tmp_path / "s", as_line(command="stumble"), as_line(command="status"))
    assert (first["ok"], second["ok"]) == (False, True)


async def test_a_request_of_just_64_kib_is_read(tmp_path: Path) -> None:
    empty = len(as_line(command="status", pad="")) - 1
    line = as_line(command="status", pad="x" * (protocol.MAX_REQUEST - empty))
    assert len(line) == protocol.MAX_REQUEST + 1  # with its line feed
    [reply] = await _replies(tmp_path / "s", line)
    assert reply["ok"]


async def test_a_large_reply_arrives_whole(tmp_path: Path) -> None:
    [reply] = await _replies(tmp_path / "s", as_line(command="large"))
    assert len(reply["text"]) == 1_000_000


async def test_only_root_and_the_agents_user_may_change_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_peer", lambda connection: Peer(uid=1000 + os.getuid(), pid=7))
    status, hook = await _replies(tmp_path / "s", as_line(command="status"), as_line(command="hook"))
    assert status["ok"]
    assert hook == {"ok": False, "error": "the command 'hook' is for root"}


# --- bad clients -------------------------------------------------------------------------------------------


async def test_silent_and_slow_clients_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with served(path, timeout_s=0.2):
        silent, keep = await asyncio.open_unix_connection(path)
        dripping, drip = await asyncio.open_unix_connection(path)
        drip.write(b'{"comm')
        began = time.monotonic()
        assert await silent.read() == b""
        assert await dripping.read() == b""
        assert 0.1 < time.monotonic() - began < 10
        keep.close()
        drip.close()


async def test_a_client_that_does_not_read_is_dropped_and_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with served(path, timeout_s=0.3) as server:
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(path))
        deaf.sendall(as_line(command="large"))
        while not server._connections:  # noqa: ASYNC110 - a server tells nobody whom it has accepted
            await asyncio.sleep(0.01)
        assert (await ask(path, as_line(command="status")))[0]["ok"]
        while server._connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        deaf.close()


async def test_connections_are_limited(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with served(path) as server:
        idle = [await asyncio.open_unix_connection(path) for _ in range(admission.MAX_ROOT)]
        one_more, writer = await asyncio.open_unix_connection(path)
        assert json.loads(await one_more.readline()) == {
            "ok": False,
            "error": "too many connections to the control socket",
        }
        assert await one_more.read() == b""
        for _, other in idle:
            other.close()
        writer.close()
        while len(server._connections) > admission.MAX_ROOT // 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (await ask(path, as_line(command="status")))[0]["ok"]


async def test_users_cannot_keep_root_or_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = Peer(uid=os.getuid() + 1000, pid=7)
    monkeypatch.setattr(control, "_peer", lambda connection: who)

    path = tmp_path / "s"
    async with served(path):
        held = [await asyncio.open_unix_connection(path) for _ in range(admission.MAX_PER_UID + 3)]
        for reader, _ in held[-3:]:
            assert b"too many connections" in await reader.readline()
        for uid in (os.getuid() + 1001, os.getuid()):
            who = Peer(uid=uid, pid=8)
            assert (await ask(path, as_line(command="status")))[0]["ok"]
        for _, writer in held:
            writer.close()


async def test_nothing_is_made_for_a_connection_that_is_one_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "taken", lambda *_: False)
    async with served(tmp_path / "s") as server:
        [refused] = await ask(tmp_path / "s")
        assert refused == {"ok": False, "error": control.FULL}
        assert not server._connections


async def test_many_who_connect_to_the_open_socket_do_not_keep_the_loop_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REST_S", 3600.0)
    async with served(tmp_path / "s"):
        many = [await asyncio.open_unix_connection(tmp_path / "s") for _ in range(20)]
        await asyncio.sleep(0.05)
        for _, writer in many:
            writer.close()
        assert (await ask(control.root_socket(tmp_path / "s"), as_line(command="hook")))[0]["ok"]
        waiting, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(as_line(command="status"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting.readline(), 0.1)
        writer.close()


async def test_without_descriptors_it_says_so_once_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control, "NO_RESOURCES_S", 0.01)
    path = tmp_path / "s"
    async with served(path):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(as_line(command="status"))
            lowest = os.dup(client.fileno())  # all below it are in use
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                await asyncio.sleep(0.1)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            assert b'"ok": true' in await asyncio.wait_for(loop.sock_recv(client, 65536), 20)
    assert caplog.messages == ["the control socket accepts nobody at present: Too many open files"]


# --- those who follow something ---------------------------------------------------------------------------


async def test_a_subscription_gives_lines_until_it_ends_and_then_the_connection_serves_on(
    tmp_path: Path,
) -> None:
    lines = [as_line(command="count", first=5), as_line(command="hook")]
    first, second, third, end, after = await _replies(tmp_path / "s", *lines)
    assert (first, second["number"], third["number"]) == ({"ok": True, "number": 5, "fill": ""}, 6, 7)
    assert end == {"ok": False, "error": "there are no more; count again"}
    assert after["asked"] == {"command": "hook"}


async def test_a_subscription_that_is_not_understood_or_not_allowed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_peer", lambda connection: Peer(uid=1000 + os.getuid(), pid=7))
    replies = await _replies(tmp_path / "s", as_line(command="count"), as_line(command="pour"))
    assert [reply["ok"] for reply in replies] == [False, False]
    assert replies[0]["error"].startswith("the request is not understood: ")
    assert replies[1]["error"] == "the command 'pour' is for root"


async def test_a_mistake_in_a_subscription_ends_its_connection_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path / "s"):
        assert await ask(tmp_path / "s", as_line(command="trip"), as_line(command="hook")) == [{"ok": True}]
        assert (await ask(tmp_path / "s", as_line(command="hook")))[0]["ok"]
    assert "a connection to the control socket failed" in caplog.text


async def test_a_follower_that_does_not_read_is_dropped_before_much_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with served(path, timeout_s=0.3) as server:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.connect(str(path))
            deaf.sendall(as_line(command="pour"))
            while not server._followers:  # noqa: ASYNC110 - a server tells nobody whom it has accepted
                await asyncio.sleep(0.01)
            assert (await ask(path, as_line(command="status")))[0]["ok"]
            while server._followers:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            waiting = 0
            deaf.setblocking(False)
            while part := await asyncio.get_running_loop().sock_recv(deaf, 65536):
                waiting += len(part)
            assert waiting <= 4 * control.FOLLOWER_BUFFER, "the kernel counts its own overhead, too"


async def test_followers_leave_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    who = Peer(uid=os.getuid() + 1000, pid=7)
    monkeypatch.setattr(control, "_peer", lambda connection: who)
    path = tmp_path / "s"

    async def follower() -> tuple[dict[str, Any], asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(as_line(command="drip"))
        return json.loads(await reader.readline()), writer

    async with served(path, spacing_s=0.0) as server:
        users = []
        for uid in (1000, 1001, 1002):
            who = Peer(uid=os.getuid() + uid, pid=7)
            tries = admission.MAX_FOLLOWERS_PER_UID + (uid == 1000)
            users += [await follower() for _ in range(tries)]
        refused = [reply for reply, _ in users if not reply["ok"]]
        assert len(users) - len(refused) == admission.MAX_USERS_FOLLOWERS
        assert users[admission.MAX_FOLLOWERS_PER_UID][0] == {
            "ok": False,
            "error": "too many follow already; end one of them",
        }
        who = Peer(uid=os.getuid(), pid=8)
        left = admission.MAX_FOLLOWERS - admission.MAX_USERS_FOLLOWERS
        root = [await follower() for _ in range(left + 1)]
        assert [reply["ok"] for reply, _ in root] == [*[True] * left, False]
        who = Peer(uid=os.getuid() + 1009, pid=9)
        assert (await ask(path, as_line(command="status")))[0]["ok"], "a place is left for who asks once"
        for _, writer in (*users, *root):
            writer.close()
    assert server._followers == []


async def test_stop_ends_subscriptions(tmp_path: Path) -> None:
    async with served(tmp_path / "s"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(as_line(command="drip"))
        assert json.loads(await reader.readline())["ok"]
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


# --- the place of the socket -------------------------------------------------------------------------------


async def test_the_socket_is_open_to_all_and_gone_after_stop(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s"
    old = os.umask(0o077)
    try:
        async with served(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    finally:
        os.umask(old)
    assert not path.exists()


async def test_roots_own_socket_is_closed_to_users(tmp_path: Path) -> None:
    path = control.root_socket(tmp_path / "s")
    old = os.umask(0)
    try:
        async with served(tmp_path / "s"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert (await ask(path, as_line(command="hook")))[0]["ok"]
    finally:
        os.umask(old)
    assert not path.exists()


async def test_nothing_is_left_when_roots_own_socket_cannot_be_opened(tmp_path: Path) -> None:
    path = control.root_socket(tmp_path / "s")
    path.write_text("precious")
    with pytest.raises(UnavailableError, match=f"{path} is in the way of the control socket"):
        await ControlServer(tmp_path / "s", COMMANDS).start()
    assert (path.read_text(), (tmp_path / "s").exists()) == ("precious", False)


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    [reply] = await _replies(path, as_line(command="status"))
    assert reply["ok"]


async def test_a_second_agent_is_refused_even_without_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with served(path):
        for _ in range(2):
            with pytest.raises(UnavailableError, match=rf"another agent is running \(pid {os.getpid()}\)"):
                await ControlServer(path, COMMANDS).start()
            path.unlink(missing_ok=True)


async def test_a_listener_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(0)
        with pytest.raises(UnavailableError, match=rf"another agent is running \(pid {os.getpid()}\)"):
            await ControlServer(path, COMMANDS).start()
        # The queue of connections is full now (of our first try): alive, though it accepts nobody.
        with pytest.raises(UnavailableError, match="another agent is running;"):
            await ControlServer(path, COMMANDS).start()
        assert path.is_socket()


async def test_a_file_at_its_place_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(UnavailableError, match=f"{path} is in the way of the control socket"):
        await ControlServer(path, COMMANDS).start()
    assert path.read_text() == "precious"
    assert stat.S_IMODE(path.stat().st_mode) != 0o666


async def test_a_full_disk_keeps_no_agent_from_starting(tmp_path: Path) -> None:
    with no_space():
        server = ControlServer(tmp_path / "s", {})
        await server.start()
    with pytest.raises(UnavailableError, match="another agent is running"):
        await ControlServer(tmp_path / "s", {}).start()
    await server.stop()


async def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "s.lock").symlink_to(victim)
    with pytest.raises(UnavailableError, match=r"s\.lock is a symbolic link; remove it"):
        await ControlServer(tmp_path / "s", COMMANDS).start()
    assert victim.read_text() == "precious"


async def test_a_path_that_is_too_long_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"cannot open the control socket .*: AF_UNIX path too long"):
        await ControlServer(tmp_path / ("x" * 120), COMMANDS).start()


async def test_a_socket_that_somebody_put_there_since_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with served(path):
        path.unlink()
        path.write_text("not ours")
    assert path.read_text() == "not ours"


async def test_stop_ends_open_connections_and_a_new_server_can_start(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with served(path):
        reader, writer = await asyncio.open_unix_connection(path)
        await asyncio.sleep(0.05)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    async with served(path):
        assert (await ask(path, as_line(command="status")))[0]["ok"]


# --- the client --------------------------------------------------------------------------------------------


@contextmanager
def answering(path: Path, answer: bytes | None) -> Iterator[None]:
    """A server of one connection in a thread that sends `answer` and closes; None: it never answers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            if answer is None:
                done.wait(30)
            else:
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        listener.close()


def test_request_returns_the_reply_whatever_it_says(tmp_path: Path) -> None:
    with answering(tmp_path / "s", b'{"ok": true, "status": {}}\n'):
        assert request(tmp_path / "s", {"command": "status"}) == {"ok": True, "status": {}}
    with answering(tmp_path / "t", b'{"ok": false, "error": "no"}\n'):
        assert request(tmp_path / "t", {"command": "status"}) == {"ok": False, "error": "no"}


async def test_request_speaks_to_the_real_server(tmp_path: Path) -> None:
    async with served(tmp_path / "s"):
        reply = await asyncio.to_thread(request, tmp_path / "s", {"command": "large"})
    assert len(reply["text"]) == 1_000_000


@pytest.mark.parametrize("place", ["absent", "no/such/directory", "stale", "file", "file/below"])
def test_nobody_there_is_not_running(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "stale"))
    with pytest.raises(NotRunningError, match=r"the agent is not running .*; start it: netbond run"):
        request(tmp_path / place, {"command": "status"})


def test_no_answer_in_time_is_unavailable(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        answering(tmp_path / "s", None),
        pytest.raises(UnavailableError, match=r"does not answer at .* within 0\.2 s"),
    ):
        request(tmp_path / "s", {"command": "status"}, timeout=0.2)
    assert time.monotonic() - began < 10


def test_root_asks_at_its_own_socket_and_at_the_open_one_of_an_older_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with answering(tmp_path / "s", b'{"ok": true, "by": "all"}\n'):
        with answering(control.root_socket(tmp_path / "s"), b'{"ok": true, "by": "root"}\n'):
            assert request(tmp_path / "s", {})["by"] == "root"
        assert request(tmp_path / "s", {})["by"] == "all"  # nobody listens at the other any more


def test_root_does_not_take_a_users_socket_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside a sender's socket in /tmp."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(unix_socket, "peer", lambda _connection: (7, 1000))
    with socket.socket(socket.AF_UNIX) as theirs, answering(tmp_path / "s", b'{"ok": true}\n'):
        theirs.bind(str(control.root_socket(tmp_path / "s")))
        theirs.listen(1)
        assert request(tmp_path / "s", {}) == {"ok": True}


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400\n", b"[]\n", b"{}\n", b'{"ok": 1}\n', b"[" * 50_000])
def test_an_answer_that_makes_no_sense_is_unavailable(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path / "s", answer), pytest.raises(UnavailableError, match="is not a netbond agent"):
        request(tmp_path / "s", {"command": "status"})


def test_follow_yields_each_line_until_the_end_of_file(tmp_path: Path) -> None:
    lines = b'{"ok": true, "n": 1}\n{"ok": true, "n": 2}\n{"ok": false, "error": "no"}\n'
    with answering(tmp_path / "s", lines):
        found = list(control.follow(tmp_path / "s", {"command": "count"}))
    assert found == [{"ok": True, "n": 1}, {"ok": True, "n": 2}, {"ok": False, "error": "no"}]


async def test_follow_speaks_to_the_real_server(tmp_path: Path) -> None:
    def four() -> list[dict[str, Any]]:
        lines = control.follow(tmp_path / "s", {"command": "count", "first": 1})
        return [next(lines) for _ in range(4)]

    async with served(tmp_path / "s"):
        replies = await asyncio.to_thread(four)
    assert [reply.get("number") for reply in replies] == [1, 2, 3, None]


async def test_one_who_says_no_more_is_noticed(tmp_path: Path) -> None:
    def heard() -> None:
        for _ in control.follow(tmp_path / "s", {"command": "drip"}, timeout=0.2):
            pass

    async with served(tmp_path / "s"):
        with pytest.raises(UnavailableError, match=r"does not answer at .* within 0\.2 s"):
            await asyncio.to_thread(heard)


def test_the_client_does_not_import_asyncio() -> None:
    """A DHCP client waits for `netbond hook`."""
    code = "import sys, netbond.status.control; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_user_who_asks_without_end_is_answered_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each status costs the agent a millisecond or more, and routing waits meanwhile."""
    answers = 0

    async def scenario() -> None:
        nonlocal answers
        async with served(tmp_path / "s", spacing_s=3600.0):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(as_line(command="status") * 100)
            assert json.loads(await asyncio.wait_for(reader.readline(), 20.0))["ok"]
            answers += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.readline(), 0.2)
                answers += 1
            writer.close()

    monkeypatch.setattr(ControlServer, "_privileged", lambda _self, _peer: False)
    await scenario()
    assert answers == 1
    answers = 0
    monkeypatch.undo()
    await scenario()
    assert answers == 2


# --- connections that a child was handed -------------------------------------------------------------------

OF_CHILD: dict[str, Command | Subscription] = {"later": Command(slow_echo), "drip": Subscription(drip)}


async def handed(server: ControlServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    ours, theirs = socket.socketpair()
    server.hand(theirs, OF_CHILD)
    return await asyncio.open_unix_connection(sock=ours)


async def test_a_child_may_ask_what_it_was_given_and_no_more(tmp_path: Path) -> None:
    async with served(tmp_path / "c.sock") as server:
        reader, writer = await handed(server)
        writer.write(as_line(command="later"))
        assert json.loads(await reader.readline()) == {
            "ok": True,
            "asked": {"command": "later"},
            "uid": -1,
            "pid": 0,
        }
        writer.write(as_line(command="status"))
        said = json.loads(await reader.readline())
        assert said == {"ok": False, "error": "there is no command 'status'; known are later, drip"}
        writer.close()


async def test_a_child_has_places_of_its_own(tmp_path: Path) -> None:
    """Users cannot take them, and it cannot take users'."""
    async with served(tmp_path / "c.sock", spacing_s=0.0) as server:
        children = [await handed(server) for _ in range(control.MAX_HANDED + 2)]
        for reader, writer in children[: control.MAX_HANDED]:
            writer.write(as_line(command="drip"))
            assert json.loads(await reader.readline())["ok"]
        for reader, _ in children[control.MAX_HANDED :]:
            assert await reader.read() == b""
        assert server._followers == []
        [said] = await ask(tmp_path / "c.sock", as_line(command="status"))
        assert said["ok"]
        for _, writer in children:
            writer.close()


async def test_a_child_has_the_pace_of_a_user(tmp_path: Path) -> None:
    async with served(tmp_path / "c.sock", spacing_s=0.1) as server:
        reader, writer = await handed(server)
        began = time.monotonic()
        writer.write(as_line(command="later") * 4)
        for _ in range(4):
            assert json.loads(await reader.readline())["ok"]
        assert time.monotonic() - began >= 0.25
        writer.close()
