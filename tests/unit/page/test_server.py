"""The server over real sockets: who gets what, and that slow, many and strange clients harm nobody."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.page import server as server_module
from netbond.page.access import Access
from netbond.page.feed import at
from netbond.page.server import Server, listen
from tests.unit.page.agents import PretendedAgent

TOKEN = b"correct horse battery"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def served(
    folder: Path,
    access: Access | None = None,
    tls: ssl.SSLContext | None = None,
    *,
    of_agent: bool = True,
    control: bool = False,
) -> AsyncIterator[tuple[int, PretendedAgent]]:
    agent, port = PretendedAgent(), free_port()
    async with agent.at(folder / "c.sock"):
        connect = at(folder / "c.sock")
        server = Server(access or Access(), connect, tls, of_agent=of_agent, control=control)
        with listen(HostPort("127.0.0.1", port)) as listener:
            task = asyncio.create_task(server.run(listener))
            try:
                yield port, agent
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def raw(port: int, data: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """Send it, and return all that comes back until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        writer.write(data)
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.transport.abort()


async def ask(
    port: int, path: str, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, str, str]:
    """Return status, head and body of an answer."""
    content = b"" if body is None else json.dumps(body).encode()
    given = {
        "Host": f"127.0.0.1:{port}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if method == "POST":
        given = {
            "Origin": f"http://{given['Host']}",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **given,
        }
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    answer = await raw(port, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
    got, _, rest = answer.partition(b"\r\n\r\n")
    return int(got.split(b" ")[1]), got.decode(), rest.decode("latin-1")


@asynccontextmanager
async def stream(port: int, **headers: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    given = {"Host": f"127.0.0.1:{port}", **headers}
    writer.write(
        b"GET /live HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in given.items()).encode() + b"\r\n"
    )
    try:
        yield reader
    finally:
        writer.transport.abort()


async def event(reader: asyncio.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            line = await reader.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: "):
                found: dict[str, Any] = json.loads(line[6:])
                return found


async def test_the_document(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, _):
        status, head, body = await ask(port, "/")
        assert status == 200
        assert "Content-Security-Policy: default-src 'none'; script-src 'sha256-" in head
        assert body.startswith("<!doctype html>")
        status, head, body = await ask(port, "/", Accept_Encoding="br, gzip;q=1.0")
        assert "Content-Encoding: gzip" in head
        assert gzip.decompress(body.encode("latin-1")).startswith(b"<!doctype html>")
        status, head, body = await ask(port, "/", "HEAD")
        assert (status, body) == (200, "")
        assert (await ask(port, "/manifest.webmanifest"))[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/../page.py", "GET", 404),
        ("/%2e%2e/page.py", "GET", 404),
        ("/files/page.js", "GET", 404),
        ("/", "POST", 405),
        ("/live", "POST", 404),
        ("/login", "GET", 405),
        ("/doctor", "GET", 405),
        ("/", "DELETE", 403),
    ],
)
async def test_bad_paths_and_methods(tmp_path: Path, path: str, method: str, status: int) -> None:
    async with served(tmp_path) as (port, _):
        assert (await ask(port, path, method))[0] == status


async def test_another_name_and_another_page(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, _):
        for path in ("/", "/live", "/session"):
            assert (await ask(port, path, Host="evil.example"))[0] == 421
        assert (await ask(port, "/doctor", "POST", {}, Origin="http://evil.example"))[0] == 403
        assert (await ask(port, "/live", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors"))[0] == 403


async def test_what_is_too_large(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, _):
        assert b"HTTP/1.1 431 " in await raw(port, b"GET / HTTP/1.1\r\nX: " + b"x" * 9000)
        assert b"HTTP/1.1 413 " in await raw(port, b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        assert b"HTTP/1.1 400 " in await raw(port, b"\x16\x03\x01\x02\x00\r\n\r\n")


async def test_the_stream(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, agent), stream(port) as reader:
        state: dict[str, Any] = {}
        while "uplinks" not in state:
            state |= (await event(reader))["p"]
        assert state["verdict"] == "UP: 2 uplinks; usb1 dead"
        assert agent.snapshot is not None
        agent.snapshot["uplinks"][0]["rx_bps"] = 7_000_000
        while True:
            changes = (await event(reader))["p"]
            if "uplinks" in changes:
                break
        assert changes == {"uplinks": {"usb0": {"rx": 7000}}}
        # Without changes there is a sign of life each second.
        began = time.monotonic()
        while (await event(reader))["p"] != {}:
            pass
        assert time.monotonic() - began < 10


async def test_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "WRONG_TOKEN_S", 0.2)
    async with served(tmp_path, Access(token=TOKEN)) as (port, agent):
        assert (await ask(port, "/"))[0] == 200  # the document has no secret, and asks for the token
        for path, method in (("/live", "GET"), ("/session", "GET"), ("/doctor", "POST")):
            assert (await ask(port, path, method, {}))[0] == 401
        assert agent.asked == 0
        began = time.monotonic()
        assert (await ask(port, "/login", "POST", {"token": "wrong"}))[0] == 403
        assert time.monotonic() - began >= 0.2
        assert (await ask(port, "/login", "POST", {"token": 5}))[0] == 403
        assert (await ask(port, "/login", "POST", ["token"]))[0] == 400
        assert (await ask(port, "/login", "POST", {}, Content_Type="text/plain"))[0] == 415
        status, head, _ = await ask(port, "/login", "POST", {"token": TOKEN.decode()})
        assert status == 204
        cookie = (
            next(line for line in head.split("\r\n") if line.startswith("Set-Cookie: "))
            .split(": ")[1]
            .split(";")[0]
        )
        assert (await ask(port, "/session", Cookie=cookie))[0] == 204
        assert (await ask(port, "/doctor", "POST", {}, Cookie=cookie))[0] == 200
        async with stream(port, Cookie=cookie) as reader:
            assert "p" in await event(reader)


async def test_doctor(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, agent):
        status, _, body = await ask(port, "/doctor", "POST", {})
        assert (status, json.loads(body)["summary"]) == (200, "all is fine")
        agent.refusal = "netbond doctor took too long"
        assert await ask(port, "/doctor", "POST", {}) == (409, *(await ask(port, "/doctor", "POST", {}))[1:])
        assert (await ask(port, "/doctor", "POST", {}))[2] == "netbond doctor took too long\n"
    async with served(tmp_path, of_agent=False) as (port, _):
        assert (await ask(port, "/doctor", "POST", {}))[0] == 404


async def test_an_uplink_is_set(tmp_path: Path) -> None:
    wanted = {"uplink": "usb1", "what": "mode", "value": "off", "for_s": 60}
    bearer = {"Authorization": f"Bearer {TOKEN.decode()}"}
    async with served(tmp_path, Access(token=TOKEN), control=True) as (port, agent):
        assert (await ask(port, "/set", "POST", wanted))[0] == 401
        assert (await ask(port, "/set", "POST", wanted, Origin="http://evil.example", **bearer))[0] == 403
        assert (await ask(port, "/set", "POST", wanted, Content_Type="text/plain", **bearer))[0] == 415
        assert (await ask(port, "/set", "POST", [wanted], **bearer))[0] == 400
        assert (await ask(port, "/set", **bearer))[0] == 405
        assert agent.set_to == []
        status, _, body = await ask(
            port, "/set", "POST", {**wanted, "by": "root", "command": "hook"}, **bearer
        )
        assert (status, json.loads(body)["text"]) == (200, "usb1 set off")
        assert (await ask(port, "/unset", "POST", {"uplink": "usb1", "value": 1}, **bearer))[0] == 200
        assert agent.set_to == [{"command": "set", **wanted}, {"command": "unset", "uplink": "usb1"}]
        agent.refusal = "usb1 is the last uplink that works for IPv4, and nothing takes its place"
        status, _, body = await ask(port, "/set", "POST", wanted, **bearer)
        assert (status, body) == (409, f"{agent.refusal}\n")
        async with stream(port, **bearer) as reader:
            assert (await event(reader))["p"]["control"] is True


async def test_a_page_that_only_shows(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, agent):
        for path in ("/set", "/unset"):
            assert (await ask(port, path, "POST", {"uplink": "usb1"}))[0] == 403
        assert agent.set_to == []
        async with stream(port) as reader:
            assert "control" not in (await event(reader))["p"]


async def test_slow_clients_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are places, each a byte at a time (slowloris); then somebody asks."""
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 8)
    async with served(tmp_path) as (port, _):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"G")
        await asyncio.sleep(0.1)
        assert (await ask(port, "/"))[0] == 200
        ended = 0
        for reader, _ in slow[:12]:
            async with asyncio.timeout(20):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
                ended += 1
        assert ended == 12
        for _, writer in slow:
            writer.transport.abort()


async def test_a_request_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.3)
    async with served(tmp_path) as (port, _):
        began = time.monotonic()
        assert await raw(port, b"GET / HTTP/1.1\r\nHost: a") == b""
        assert await raw(port, b"POST /login HTTP/1.1\r\nContent-Length: 100\r\n\r\n{") == b""
        assert time.monotonic() - began < 9  # two of the usual ones take 10 s


async def test_many_viewers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_VIEWERS", 2)
    async with served(tmp_path) as (port, _), stream(port) as first, stream(port) as second:
        await event(first)
        await event(second)
        assert (await ask(port, "/live"))[0] == 503
        assert (await ask(port, "/"))[0] == 200


async def test_a_viewer_who_does_not_read_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TAKE_S", 0.3)
    async with served(tmp_path) as (port, agent):
        assert agent.snapshot is not None
        one = agent.snapshot["uplinks"][0]
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", port))
            client.sendall(f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            agent.snapshot["uplinks"] = [{**one, "name": f"u{n}", "reason": "x" * 400} for n in range(200)]
            end = time.monotonic() + 30
            while not agent.followers:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            await asyncio.sleep(2.5)
            assert (await ask(port, "/"))[0] == 200
        async with stream(port) as reader:  # and others are served
            await event(reader)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "page.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += [
        "-subj",
        "/CN=box",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(path),
        "-out",
        f"{path}.crt",
    ]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


async def test_tls(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.5)
    ours, theirs = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(cafile=str(certificate)),
    )
    ours.load_cert_chain(certificate)
    async with served(tmp_path, Access(secure=True), ours) as (port, _):
        request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        assert (await raw(port, request, theirs)).startswith(b"HTTP/1.1 200 OK")
        # Who speaks no TLS, or nothing at all, is given up.
        with suppress(ConnectionError):
            assert b"HTTP" not in await raw(port, request)
        began = time.monotonic()
        with suppress(ConnectionError):
            assert await raw(port, b"") == b""
        assert time.monotonic() - began < 3
        assert (await raw(port, request, theirs)).startswith(b"HTTP/1.1 200 OK")
    assert caplog.text == ""


async def test_a_viewer_over_tls_who_goes_is_no_news(
    tmp_path: Path, certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(cafile=str(certificate)),
    )
    ours.load_cert_chain(certificate)
    async with served(tmp_path, Access(secure=True), ours) as (port, agent):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=theirs)
            writer.write(f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            await event(reader)
            await event(reader)
            writer.transport.abort()
        await asyncio.sleep(1.5)  # in which they would be told something
    assert agent.asked
    assert caplog.text == ""


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        where = HostPort("127.0.0.1", other.getsockname()[1])
        with pytest.raises(UnavailableError, match=r"cannot serve the page at 127.0.0.1:[0-9]+: .*in use"):
            listen(where)
