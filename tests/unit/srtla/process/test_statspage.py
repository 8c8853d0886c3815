"""The page of streams over HTTP: who gets it, and what slow or many clients can do."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.srtla.process import statspage
from netbond.srtla.process.statspage import MAX_CONNECTIONS, MAX_REQUEST, StatsPage, page_of
from netbond.srtla.statistics import ReceiverStatistics
from tests.srtla_util import free_ports
from tests.unit.srtla.process.engines import on_packet_loop, until

KEY = b"0123456789+/abcdef"
ASKED = b"GET /stats?key=0123456789+/abcdef HTTP/1.1\r\nHost: x\r\n\r\n"


def served(main: Callable[[StatsPage], Awaitable[None]]) -> None:
    """Run with a page on a free port, on the engines' loop."""

    async def within() -> None:
        (port,) = free_ports(1)
        page = StatsPage(HostPort("127.0.0.1", port), KEY, lambda: {"publishers": {}})
        await page.open()
        assert page.port == port
        try:
            await main(page)
        finally:
            page.close()

    on_packet_loop(within)


async def asked(page: StatsPage, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def test_who_knows_the_key_gets_the_page() -> None:
    async def main(page: StatsPage) -> None:
        head, _, body = (await asked(page, ASKED)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body == b'{"publishers": {}}'
        assert b"Content-Length: 18\r\n" in head
        assert (await asked(page, *(ASKED[n : n + 20] for n in range(0, len(ASKED), 20)))).endswith(body)
        escaped = ASKED.replace(b"+/", b"%2B%2f").replace(b"?", b"?x=1&")
        assert (await asked(page, escaped)).endswith(body)
        head_only = await asked(page, ASKED.replace(b"GET", b"HEAD"))
        assert head_only.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head_only.endswith(b"\r\n\r\n")

    served(main)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET /stats HTTP/1.1", 403),
        (b"GET /stats?key= HTTP/1.1", 403),
        (b"GET /stats?key=0123456789+/abcdeg HTTP/1.1", 403),
        (b"GET /stats?Key=0123456789+/abcdef HTTP/1.1", 403),
        (b"GET /stats?key=x&key=0123456789+/abcdef HTTP/1.1", 403),
        (b"GET /stats?key=\xff%ff%zz HTTP/1.0", 403),
        (b"GET /?key=0123456789+/abcdef HTTP/1.1", 404),
        (b"GET /metrics HTTP/1.1", 404),
        (b"POST /stats?key=0123456789+/abcdef HTTP/1.1", 405),
        (b"GET /stats", 400),
        (b"GET  /stats HTTP/1.1", 400),
        (b"GET /stats HTTP/2", 400),
        (b"", 400),
        (b"\x16\x03\x01\x02\x00", 400),
    ],
)
def test_nobody_else_gets_anything(head: bytes, code: int) -> None:
    page = StatsPage(HostPort("127.0.0.1", 1), KEY, lambda: pytest.fail("it was told"))
    assert page.answer(head)[0] == HTTPStatus(code)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: ASKED[:16] + rest))
def test_no_bytes_break_it(head: bytes) -> None:
    status_of_it, body = StatsPage(HostPort("127.0.0.1", 1), KEY, dict).answer(head)
    assert (status_of_it == HTTPStatus.OK) == (body == b"{}")


def test_it_listens_on_ipv6_too() -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        page = StatsPage(HostPort("::1", port), KEY, dict)
        await page.open()
        reader, writer = await asyncio.open_connection("::1", port)
        writer.write(ASKED)
        assert status(await reader.read()) == 200
        writer.close()
        page.close()

    on_packet_loop(main)


def test_a_long_request_is_refused() -> None:
    async def main(page: StatsPage) -> None:
        assert status(await asked(page, b"GET /" + b"x" * (2 * MAX_REQUEST))) == 431
        assert status(await asked(page, b"GET /" + b"x" * (2 * MAX_REQUEST) + b"\r\n\r\n")) == 431
        assert page._connections == {}

    served(main)


def test_who_is_slow_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statspage, "DEADLINE_S", 0.1)

    async def main(page: StatsPage) -> None:
        assert await asked(page, b"GET /stats") == b""
        assert page._connections == {}

    served(main)


def test_many_idle_connections_keep_nobody_out() -> None:
    async def main(page: StatsPage) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(3 * MAX_CONNECTIONS)]
        await until(lambda: len(page._connections) == MAX_CONNECTIONS)
        assert status(await asked(page, ASKED)) == 200
        assert len(page._connections) <= MAX_CONNECTIONS
        gone = 0
        for reader, writer in idle:
            if reader.at_eof() or reader.exception() is not None:
                gone += 1
            writer.close()
        assert gone >= 2 * MAX_CONNECTIONS

    served(main)


def test_a_taken_port_stops_no_stream(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(statspage, "RETRY_S", 0.02)
    caplog.set_level(logging.INFO, "netbond")

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            page = StatsPage(HostPort("127.0.0.1", port), KEY, dict)
            await page.open()
            assert page.port == 0
            await asyncio.sleep(0.1)
        await until(lambda: page.port == port)
        page.close()

    on_packet_loop(main)
    said = [record.getMessage() for record in caplog.records]
    where = next(line for line in said if "in use" in line)
    assert where.startswith("cannot serve the page of streams at 127.0.0.1:")
    assert len([line for line in said if "in use" in line]) == 1
    assert said[-1].endswith("/stats")


def test_a_receiver_has_a_page_if_it_shall_have_one(tmp_path: Path) -> None:
    here = HostPort("127.0.0.1", 5000)
    config = ReceiverConfig(here, here, stats_listen=here, stats_key_file=tmp_path)
    latest: list[ReceiverStatistics | None] = [None]
    assert page_of(ReceiverConfig(here, here), None, lambda: latest[0]) is None
    page = page_of(config, KEY, lambda: latest[0])
    assert page is not None
    head = ASKED.partition(b"\r\n")[0]
    assert page.answer(head) == (HTTPStatus.OK, b"{}")
    latest[0] = ReceiverStatistics("receiver", "", "", (), 0)
    assert page.answer(head) == (HTTPStatus.OK, b'{"status": "ok", "publishers": {}}')
