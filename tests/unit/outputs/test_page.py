"""The web page as a child: started, heard, ended; a stand-in for it does what a broken one could."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from netbond.config.schema import Config, PageConfig
from netbond.config.values import HostPort
from netbond.desired import Desired
from netbond.model import Facts
from netbond.outputs.page import Page, arguments
from tests.unit.places import config_in

START = """
import os, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[sys.argv.index("--control-fd") + 1]))
open({started!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
"""
GOOD = "channel.send(b'r'); channel.recv(1)"


class Look:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@asynccontextmanager
async def running(
    folder: Path, code: str, config: Config | None = None
) -> AsyncIterator[tuple[Page, Look, Config]]:
    program = folder / "page.py"
    program.write_text(START.format(started=str(folder / "started")) + code)
    page, look = Page(None, [sys.executable, str(program)]), Look()
    wanted = config or config_in(folder, page=PageConfig(enabled=True))
    await page.start(look, ())
    await page.apply(Facts(), Desired(), wanted)
    try:
        yield page, look, wanted
    finally:
        await page.stop()


def starts(folder: Path) -> list[str]:
    file = folder / "started"
    return file.read_text().splitlines() if file.exists() else []


async def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 40
    while not true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


def test_its_command_line() -> None:
    assert arguments(PageConfig(enabled=True), Path("/run/c.sock")) == [
        *("page", "--socket", "/run/c.sock", "--user", "nobody")
    ]
    page = PageConfig(
        enabled=True,
        listen=HostPort("::", 443),
        hosts=("a.lan", "b.lan"),
        token_file=Path("/t"),
        certificate=Path("/c"),
        user="web",
        control=True,
    )
    assert arguments(page, Path("/run/c.sock")) == [
        *("page", "--socket", "/run/c.sock", "--user", "web", "--listen", "[::]:443", "--hosts", "a.lan"),
        *("--hosts", "b.lan", "--token-file", "/t", "--certificate", "/c", "--control"),
    ]


async def test_it_runs_where_it_is_enabled(tmp_path: Path) -> None:
    async with running(tmp_path, GOOD) as (page, _, config):
        await until(lambda: starts(tmp_path), "it starts")
        assert await page.apply(Facts(), Desired(), config) == ()
        await page.apply(Facts(), Desired(), config_in(tmp_path))
        await asyncio.sleep(0.3)
        await page.apply(Facts(), Desired(), config)
        await until(lambda: len(starts(tmp_path)) == 2, "it is enabled again")
    async with running(tmp_path / ".", GOOD, config_in(tmp_path)):
        await asyncio.sleep(0.2)
        assert len(starts(tmp_path)) == 2


async def test_another_configuration_or_another_secret(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one")
    config = config_in(tmp_path, page=PageConfig(enabled=True, token_file=token))
    async with running(tmp_path, GOOD, config) as (page, _, _):
        await until(lambda: len(starts(tmp_path)) == 1, "it starts")
        await page.apply(Facts(), Desired(), config)
        os.utime(token, (1, 1))
        await page.apply(Facts(), Desired(), config)
        await until(lambda: len(starts(tmp_path)) == 2, "another token")
        other = replace(config, page=replace(config.page, hosts=("a.lan",)))
        await page.apply(Facts(), Desired(), other)
        await until(lambda: len(starts(tmp_path)) == 3, "another name")


async def test_one_that_dies_is_a_problem_until_it_runs_again(tmp_path: Path) -> None:
    flag = tmp_path / "well"
    code = f"if not os.path.exists({str(flag)!r}): sys.exit('netbond page: the port is taken')\n{GOOD}"
    async with running(tmp_path, code) as (page, look, config):
        await until(lambda: len(starts(tmp_path)) >= 2, "it is tried again")
        await until(lambda: look.times, "it is told")
        [problem] = await page.apply(Facts(), Desired(), config)
        assert problem.code == "page"
        assert (
            problem.text == "the web page does not run: ended with status 1: netbond page: the port is taken"
        )
        flag.touch()
        told = look.times
        await until(lambda: look.times > told, "it is told")
        assert await page.apply(Facts(), Desired(), config) == ()


async def test_connections(tmp_path: Path) -> None:
    code = """
ours, theirs = socket.socketpair()
socket.send_fds(channel, [b"c"], [theirs.fileno()])
theirs.close()
ours.send(b"hello\\n")
with open(sys.argv[0]) as file, socket.socket() as tcp:  # what no page sends
    socket.send_fds(channel, [b"c"], [file.fileno()])
    socket.send_fds(channel, [b"c"], [tcp.fileno()])
channel.send(b"r")
channel.recv(1)
"""
    async with running(tmp_path, code) as (page, _, _):
        served: list[socket.socket] = []
        page.serve = served.append
        await until(lambda: served, "a connection")
        await asyncio.sleep(0.2)
        [connection] = served
        with connection:
            assert connection.recv(10) == b"hello\n"


async def test_one_that_floods_its_channel_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path, "while True: channel.send(b'x')") as (page, look, config):
        await until(lambda: look.times, "it is told")
        [problem] = await page.apply(Facts(), Desired(), config)
        assert problem.text == "the web page does not run: it floods its channel"


async def test_one_that_does_not_end_by_itself(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nchannel.send(b'r')\ntime.sleep(100)"
    began = time.monotonic()
    async with running(tmp_path, code):
        await until(lambda: starts(tmp_path), "it starts")
        await asyncio.sleep(0.2)
    assert time.monotonic() - began < 50
