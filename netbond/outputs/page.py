"""Runs the web page as a process without root, and does for it the little that it may ask. Output."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

import netbond
from netbond.config.schema import Config, PageConfig
from netbond.contracts import Look, Output
from netbond.desired import Desired
from netbond.engines.child import Backoff, LogLines, RateLimit, describe_exit, interpreter
from netbond.model import Facts, Interface
from netbond.problems import Problem
from netbond.programs.doctor import Doctor
from netbond.programs.running import exit_of
from netbond.system import files, journal

logger = logging.getLogger(__name__)

GRACE_S: Final = 2.0  # between SIGTERM and SIGKILL
HINT: Final = "journalctl -u netbond has its last words"

Serve = Callable[[socket.socket], object]  # answers on a connection, which is its own from then on


class Page(Output):
    """Keeps `netbond page` running where [page] is enabled."""

    name = "page"

    def __init__(self, config_file: Path | None, program: Sequence[str] | None = None) -> None:
        """`config_file`: for doctor. `program` starts a netbond command (default: this very netbond)."""
        own, self._environment = interpreter(Path(netbond.__file__).parent, sys.path, os.environ)
        self._program = list(program) if program is not None else own
        file = [] if config_file is None else ["--config", str(config_file.absolute())]
        self.doctor = Doctor([*self._program, "doctor", "--json", *file], self._environment)
        self.serve: Serve = socket.socket.close  # until the agent says who answers
        self._look: Look = lambda: None
        self._wanted: tuple[object, ...] | None = None  # what it runs by
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Call `look` when the page does not run, or runs again."""
        self._look = look

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[Problem]:
        """Run it as configured. It is started again when a file with a secret has changed."""
        page = config.page
        wanted = (page, config.agent.control_socket, *_versions(page)) if page.enabled else None
        if wanted != self._wanted:
            self._wanted = wanted
            # It takes a moment to end; routing must not wait for that.
            self._task = asyncio.create_task(self._exchange(self._task, config))
        if not self._problem or wanted is None:
            return ()
        return [Problem("page", f"the web page does not run: {self._problem}", "page", HINT)]

    async def stop(self) -> None:
        """End the page, and a run of doctor."""
        await _cancelled(self._task)
        await self.doctor.stop()

    async def _exchange(self, before: asyncio.Task[None] | None, config: Config) -> None:
        await _cancelled(before)
        self._set_problem("")
        if config.page.enabled:
            await self._keep_alive(arguments(config.page, config.agent.control_socket))

    async def _keep_alive(self, words: Sequence[str]) -> None:
        backoff = Backoff()
        while True:
            began = time.monotonic()
            child = _Child(self.serve, self._ready)
            try:
                why = await child.live([*self._program, *words], self._environment)
            except OSError as error:  # we are short of something, descriptors for example
                why = files.why(error)
            pause = backoff.died(time.monotonic() - began, ready=child.ready, restart_helps=True)
            logger.warning("the web page: %s; starting it again in %.1f s", why, pause)
            self._set_problem(why)
            await asyncio.sleep(pause)

    def _ready(self) -> None:
        logger.info("the web page is ready")
        self._set_problem("")

    def _set_problem(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._look()


def arguments(page: PageConfig, control_socket: Path) -> list[str]:
    """Return what the page is told to do, as arguments of `netbond`: each key that is not at its default."""
    found = ["page", "--socket", str(control_socket), "--user", page.user]
    for key in fields(page):
        value = getattr(page, key.name)
        if value != key.default and key.name not in ("enabled", "user"):
            for each in value if isinstance(value, tuple) else (value,):
                option = f"--{key.name.replace('_', '-')}"
                found += [option] if each is True else [option, str(each)]
    return found


def _versions(page: PageConfig) -> list[object]:
    """What shows that a file was replaced: a certificate that was renewed, another token."""
    found: list[object] = []
    for path in (page.token_file, page.certificate, page.certificate_key):
        with contextlib.suppress(OSError):
            status = None if path is None else path.stat()
            found.append(None if status is None else (status.st_ino, status.st_mtime_ns, status.st_size))
    return found


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Child:
    """One process of the page, from its start to its end."""

    def __init__(self, serve: Serve, on_ready: Callable[[], object]) -> None:
        self.ready = False
        self._serve = serve
        self._on_ready = on_ready
        self._limit = RateLimit(lines=20)
        self._fault = ""  # why we end it
        self._last_line = ""

    async def live(self, command: Sequence[str], environment: Mapping[str, str]) -> str:
        """Start it, hear it until it ends, and return why it ended; OSError if it cannot be started."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = _spawn(command, environment, theirs.fileno())
            ours.setblocking(False)
            silent = asyncio.Event()
            loop.add_reader(ours, self._hear, ours, silent.set)
            gone, over = asyncio.create_task(exit_of(process)), asyncio.create_task(silent.wait())
            log = asyncio.create_task(self._log(process))
            try:
                await asyncio.wait({gone, over}, return_when=asyncio.FIRST_COMPLETED)
                if not self._fault:
                    await asyncio.wait({gone}, timeout=GRACE_S)  # it has closed the channel
            finally:
                loop.remove_reader(ours)
                status = await _end(process, at_once=bool(self._fault) or gone.done())
                await asyncio.wait({log}, timeout=GRACE_S)
                for task in (gone, over, log):
                    task.cancel()
                await asyncio.gather(gone, over, log, return_exceptions=True)
                if process.stdout is not None:
                    process.stdout.close()
        return self._fault or describe_exit(status, self._last_line)

    def _hear(self, channel: socket.socket, end: Callable[[], object]) -> None:
        """Take what the page says: that it is ready, or an end of a connection (netbond.page.channel)."""
        try:
            said, descriptors, _, _ = socket.recv_fds(channel, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            said, descriptors = b"", []
        for descriptor in descriptors:
            self._take(descriptor)
        if not self._limit.take(len(said), time.monotonic()):
            self._fault = "it floods its channel"
        if said == b"r" and not self.ready:
            self.ready = True
            self._on_ready()
        if not said or self._fault:
            asyncio.get_running_loop().remove_reader(channel)
            end()

    def _take(self, descriptor: int) -> None:
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            return
        if (connection.family, connection.type) == (socket.AF_UNIX, socket.SOCK_STREAM):
            self._serve(connection)
        else:
            connection.close()

    async def _log(self, process: subprocess.Popen[bytes]) -> None:
        """Write what it says into our log."""
        reader, lines = asyncio.StreamReader(), LogLines()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        try:
            while True:
                data = await reader.read(65536)
                for line in lines.feed(data, time.monotonic()):
                    level, self._last_line = journal.split(line)
                    logger.log(min(level, logging.ERROR), "the web page: %s", self._last_line)
                if not data:
                    return
        finally:
            transport.close()


def _spawn(command: Sequence[str], environment: Mapping[str, str], channel: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, "--control-fd", str(channel)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(channel,),
        cwd="/",
        env=dict(environment),
        start_new_session=True,
    )


async def _end(process: subprocess.Popen[bytes], *, at_once: bool) -> int:
    """End it if it still runs, by SIGTERM first unless `at_once`, and reap it; the exit status."""
    try:
        if not at_once:
            process.terminate()
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(GRACE_S):
                    await exit_of(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.wait()
