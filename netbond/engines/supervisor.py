"""Runs the SRTLA engines as child processes: starts them, sends them links, restarts them when they die.

A child that breaks the rules of the channel is ended and replaced, like one that died. What is decided
without a process is in netbond.engines.child.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import netbond
from netbond.config.schema import EncoderConfig, SenderConfig
from netbond.engines.child import (
    Backoff,
    EngineConfig,
    LogLines,
    describe_exit,
    engine_arguments,
    interpreter,
    of_channel,
    read_advice,
    read_statistics,
    restart_helps,
)
from netbond.engines.encoder_file import EncoderFile
from netbond.model import EngineState
from netbond.srtla.advice import Advice
from netbond.srtla.process.protocol import (
    FROM_ENGINE,
    MAX_LINE_BYTES,
    RESUME_BYTES_PER_S,
    AdviceMessage,
    ChannelError,
    EncoderThere,
    Fatal,
    Links,
    Message,
    Ready,
    Resume,
    Resumed,
    ResumeData,
    Stats,
    VideoRate,
    encode,
    parse,
)
from netbond.srtla.statistics import EngineStatistics
from netbond.system import files, hang, journal, out_of_memory
from netbond.system.state_file import StateFile, StateFileError, open_folder, reason
from netbond.system.text import printable

logger = logging.getLogger(__name__)

READY_WITHIN_S = 10.0  # until status says that an engine is not ready
SILENT_AFTER_S = 5.0  # without statistics, which come each second, until status says so
GRACE_S = 3.0  # between SIGTERM and SIGKILL
DRAIN_S = 0.5  # for the last messages and log lines of a child that has exited
MAX_UNREAD_BYTES = 256 * 1024  # that a child may leave unread in its channel, besides what it resumes
FORGET_AFTER_DEATHS = 3  # in a row, before ready: perhaps the resume data kills them
SAVE_AGAIN_S = 1.0  # from a resume that could not be kept to the next try


# --- what a successor needs, kept over restarts of the agent -----------------------------------------------


class ResumeStore:
    """The last `resume` of each engine, in DIRECTORY/NAME.json, readable by its owner only.

    The file also says what the engine was told to do: what belonged to one receiver is not shown to another.
    Not being able to keep it costs the stream an interruption after a restart of the agent, no more, so that
    is a warning.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._warned = False

    def load(self, engine: EngineConfig) -> ResumeData:
        """The resume data of this engine, or {}."""
        try:
            with self._open() as directory:
                kept = _resume_file(engine, directory).read()
        except FileNotFoundError:
            return {}
        except (OSError, StateFileError) as error:
            self._warn(error)
            return {}
        if kept.get("engine") != engine_arguments(engine):
            return {}
        resume = kept.get("resume")
        return resume if isinstance(resume, dict) else {}

    def save(self, engine: EngineConfig, resume: ResumeData) -> int | None:
        """Keep the resume data for the next engine; how many bytes that took, None if it failed."""
        try:
            with self._open() as directory:
                content = {"engine": engine_arguments(engine), "resume": resume}
                return _resume_file(engine, directory).write(content)
        except OSError as error:
            self._warn(error)
            return None

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """The directory, made if it is missing, and nobody else's."""
        files.make_directory(self.directory, 0o700)
        directory = open_folder(self.directory)
        try:
            os.fchmod(directory, 0o700)
            yield directory
        finally:
            os.close(directory)

    def _warn(self, error: OSError | StateFileError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s: %s; streams will be interrupted when the agent is restarted",
                self.directory,
                reason(error),
            )


def _resume_file(engine: EngineConfig, directory: int) -> StateFile:
    name = re.sub(r"[^A-Za-z0-9.:-]", "_", engine.name) + ".json"
    return StateFile(name, "resume", 2 * MAX_LINE_BYTES, folder=directory)


# --- one engine --------------------------------------------------------------------------------------------


class _Engine:
    """One configured engine: its present child, and what is known of it."""

    def __init__(self, config: EngineConfig, supervisor: Supervisor) -> None:
        self.config = config
        self.role = "sender" if isinstance(config, SenderConfig) else "receiver"
        self.restarts = 0
        self.hung = 0
        self._restarted: float | None = None  # when it was last started again
        self.state = "starting"
        self.reason = ""
        self.last_exit = ""
        self.stats: EngineStatistics | None = None
        self.latest_advice: Advice | None = None  # of this child, a sender; None: it has given none
        self.task: asyncio.Task[None] | None = None
        self._supervisor = supervisor
        self._resume: ResumeData = {}
        self._resumed = False  # whether this child has taken it
        self._unsaved = False  # whether the store lacks it
        self._save_at = float("-inf")  # not before
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._since = time.monotonic()  # when the child started, or last gave statistics
        self._ready = False
        self._fatal = ""
        self._fault = ""  # why we end the child
        self._hang = hang.HangDetector()
        self._killed_before = 0  # processes that the kernel had killed for lack of memory when it was started
        self._encoder = EncoderFile(_encoder_of(config))
        self._early_deaths = 0  # children in a row that died before they were ready
        self._log = LogLines()
        self._last_line = ""

    def snapshot(self, now: float) -> EngineState:
        reason, quiet = self.reason, now - self._since
        if self.state == "starting" and quiet > READY_WITHIN_S:
            reason = f"not ready after {quiet:.0f} s"
        elif self.state == "running" and quiet > SILENT_AFTER_S:
            reason = f"no statistics for {quiet:.0f} s"
        return EngineState(
            name=self.config.name,
            role=self.role,
            state=self.state,
            pid=self._process.pid if self._process else None,
            restarts=self.restarts,
            hung=self.hung,
            reason=reason,
            last_exit=self.last_exit,
            stats=self.stats,
            restarted_s=None if self._restarted is None else round(now - self._restarted, 1),
        )

    def tell(self, message: Resume | Links | EncoderThere) -> None:
        """Send a message to the child, if there is one; a child that does not read is ended."""
        if self._writer is None or self._writer.is_closing():
            return
        self._writer.write(encode(message))
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES + MAX_LINE_BYTES:
            self._kill_for("does not read its channel")

    def _kill_for(self, fault: str) -> None:
        self._fault = self._fault or fault
        if self._process is not None:
            _kill(self._process)

    def _set_state(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._supervisor.changed()

    async def run(self) -> None:
        """Keep a child alive until cancelled."""
        self._resume = self._supervisor.store.load(self.config)
        self._encoder.look(time.monotonic())
        try:
            await self._keep_alive()
        finally:
            self._encoder.end(time.monotonic())
            self._save_at = float("-inf")
            self._save_resume(time.monotonic())

    async def _keep_alive(self) -> None:
        while True:
            began = time.monotonic()
            status = await self._live()
            lived = time.monotonic() - began
            restartable = not self._fatal and (status is None or restart_helps(status))
            why = self._fault or self._fatal
            if not why and status is not None:
                short = out_of_memory.kills() > self._killed_before
                why = describe_exit(status, self._last_line, out_of_memory=short)
            self.last_exit = why
            pause = self._backoff.died(lived, ready=self._ready, restart_helps=restartable)
            self._count_early_death(no_fault_of_its_own=status is None or not restartable)
            logger.warning("%s: %s; starting it again in %.1f s", self.config.name, why, pause)
            self._set_state("backing off" if restartable else "failed", why)
            await asyncio.sleep(pause)
            self.restarts += 1
            self._restarted = time.monotonic()

    def ended(self, task: asyncio.Task[None]) -> None:
        """run() is over: it was cancelled, or there is a mistake in it."""
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("%s is no longer supervised", self.config.name, exc_info=error)
            self._set_state("failed", "internal error; see the agent's log")

    def _count_early_death(self, *, no_fault_of_its_own: bool) -> None:
        """Start without the resume data after several children in a row that died of it: before they were
        ready. Those that did not get to it count neither way: their files are being replaced, perhaps.
        """
        if self._resumed:
            self._early_deaths = 0 if self._ready or no_fault_of_its_own else self._early_deaths + 1
        if self._early_deaths >= FORGET_AFTER_DEATHS and self._resume:
            logger.warning("%s: starting it without what it knew of its stream", self.config.name)
            self._resume = {}

    async def _live(self) -> int | None:
        """One child from start to end: its exit status, or None if it could not be started."""
        self._ready, self._resumed, self._fatal, self._fault, self._last_line = False, False, "", "", ""
        self._since, self._killed_before = time.monotonic(), out_of_memory.kills()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._fault = f"cannot be started: {files.why(error)}"
            return None
        with theirs:
            reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE_BYTES)
            try:
                try:
                    self._process = self._spawn(theirs.fileno())
                except OSError as error:
                    self._fault = f"cannot be started: {files.why(error)}"
                    return None
                theirs.close()  # else the end of file would never come
                # The failure before is shown until this one is ready: it would be gone in a blink.
                self._set_state("starting", self.reason)
                return await self._attend(self._process, reader)
            finally:
                self._writer.close()
                self._writer, self._process, self.stats = None, None, None
                self.latest_advice = None

    def _spawn(self, channel: int) -> subprocess.Popen[bytes]:
        verb, *rest = engine_arguments(self.config)
        command = [*self._supervisor.program, verb]
        command += ["--control-fd", str(channel), "--user", self._supervisor.user, *rest]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(channel,),
            cwd="/",
            env=self._supervisor.environment,
            # Ctrl-C in a terminal is for the agent, which then ends the engines in good order. Should the
            # agent be killed, they end because the channel does.
            start_new_session=True,
        )

    async def _attend(self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader) -> int:
        """Listen to the child until it ends, or until it must be ended; it is gone when this returns."""
        self.tell(self._what_to_resume())
        self.tell_links()
        self._ask_for_advice()
        gone = asyncio.create_task(_exit_of(process))
        watch = asyncio.create_task(self._watch(process))
        talk = asyncio.create_task(self._talk(reader))
        log = asyncio.create_task(self._pump(process))
        try:
            await asyncio.wait({gone, talk}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                # It has sent Fatal or closed the channel, so it should exit soon; or it broke the rules.
                await asyncio.wait({gone}, timeout=0 if self._fault else GRACE_S)
                if not gone.done():
                    self._fault = self._fault or self._fatal or "closed its channel and went on"
        finally:
            # The log is read meanwhile: a child may write a last line when it is told to end.
            try:
                status = await _end(process, at_once=bool(self._fault))
                await asyncio.wait({talk, log}, timeout=DRAIN_S)
            finally:
                for task in (gone, talk, log, watch):
                    task.cancel()
                results = await asyncio.gather(gone, talk, log, watch, return_exceptions=True)
                if process.stdout is not None:
                    process.stdout.close()
        for result in results:
            if isinstance(result, OSError):  # we are short of something, descriptors for example
                self._fault = self._fault or f"cannot be attended to: {files.why(result)}"
            elif isinstance(result, Exception):
                raise result
        return status

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End the child if it hangs, once it is ready: how long a start takes depends on the machine."""
        self._hang = hang.HangDetector()
        while True:
            await asyncio.sleep(hang.LOOK_INTERVAL_S)
            if self._ready and self._hang.look(time.monotonic(), self._seen(process.pid)):
                break
        self.hung += 1
        self._kill_for(f"hung: no statistics for {time.monotonic() - self._since:.1f} s")

    def _seen(self, pid: int) -> dict[int, hang.Sight]:
        return hang.look_at(pid, workers=self.role == "receiver")

    def tell_links(self) -> None:
        """Senders: the links as they are now, if the agent has set them."""
        if self.role == "sender" and self._supervisor.links is not None:
            self.tell(self._supervisor.links)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file of its encoder."""
        return self._encoder.problems

    def reconfigure(self, config: EngineConfig) -> None:
        """Take over what may change while the child runs: all about the encoder."""
        if config == self.config:
            return
        self.config = config
        self._encoder.reconfigure(_encoder_of(config), time.monotonic())
        self._ask_for_advice()

    def _ask_for_advice(self) -> None:
        encoder = _encoder_of(self.config)
        if encoder is not None:
            self.tell(EncoderThere(encoder.bitrate_overhead))

    def _what_to_resume(self) -> Resume:
        resume = Resume(self._resume)
        try:
            encode(resume)
        except ChannelError:  # it came in one line, but numbers and text may be longer when written again
            return Resume({})
        return resume

    async def _talk(self, reader: asyncio.StreamReader) -> None:
        """Read the child's messages until the end of file, Fatal, or a violation, which becomes its fault."""
        limit = of_channel()
        try:
            while not self._fatal:
                line = await reader.readuntil(b"\n")
                if not limit.take(len(line), time.monotonic()):
                    raise ChannelError("floods its channel")
                for message in parse(line, FROM_ENGINE):
                    self._hear(message)
        except ChannelError as error:
            self._fault = str(error)
        except asyncio.LimitOverrunError:
            self._fault = f"sent a line of more than {MAX_LINE_BYTES} bytes"
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    def _hear(self, message: Message) -> None:
        now = time.monotonic()
        self._hang.heard()
        self._save_resume(now)
        if isinstance(message, Resume) and message.data != self._resume:
            self._resume, self._unsaved = message.data, True
            self._save_resume(now)
        elif isinstance(message, Resumed):
            self._resumed = True
        elif isinstance(message, Stats):
            self.stats, self._since = read_statistics(self.role, message.data), now
            self._encoder.look(now)
        elif isinstance(message, VideoRate):
            self._encoder.advise(message.bits_per_second, now)
        elif isinstance(message, AdviceMessage) and self.role == "sender":
            advice = read_advice(message.data)
            if advice is not None:
                self.latest_advice = advice
                self._supervisor.tell_advice(self.config.name, advice)
        elif isinstance(message, Ready) and not self._ready:
            self._ready, self._since = True, now
            logger.info("%s: ready (pid %d)", self.config.name, self._process.pid if self._process else 0)
            self._set_state("running")
        elif isinstance(message, Fatal):
            self._fatal = printable(message.reason) or "gave up without a word"
            self._set_state("failed", self._fatal)

    def _save_resume(self, now: float) -> None:
        """Keep it if it has changed, not more often than the store may be written."""
        if self._unsaved and now >= self._save_at:
            written = self._supervisor.store.save(self.config, self._resume)
            self._unsaved = written is None
            self._save_at = now + (SAVE_AGAIN_S if written is None else written / RESUME_BYTES_PER_S)

    async def _pump(self, process: subprocess.Popen[bytes]) -> None:
        """The child's stderr into our log."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        try:
            while True:
                data = await reader.read(65536)
                for line in self._log.feed(data, time.monotonic()):
                    level, self._last_line = journal.split(line)
                    logger.log(min(level, logging.ERROR), "%s: %s", self.config.name, self._last_line)
                if not data:
                    return
        finally:
            transport.close()


def _encoder_of(config: EngineConfig) -> EncoderConfig | None:
    return config.encoder if isinstance(config, SenderConfig) else None


def _without_encoder(config: EngineConfig) -> EngineConfig:
    """What a child is started with: its encoder may change while it runs."""
    return replace(config, encoder=None) if isinstance(config, SenderConfig) else config


async def _exit_of(process: subprocess.Popen[bytes]) -> None:
    """Wait for a child to exit; it is not reaped.

    By pidfd: asyncio's own watcher of Python 3.11 needs a thread for each child.
    """
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return  # reaped already
    exited = asyncio.Event()
    try:
        loop.add_reader(descriptor, exited.set)
        await exited.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _end(process: subprocess.Popen[bytes], at_once: bool) -> int:
    """End a child that still runs, by SIGTERM first unless `at_once`, and reap it; the exit status."""
    try:
        if not at_once and _runs(process):
            process.terminate()
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(GRACE_S):  # wait_for() of Python 3.11 may swallow a cancellation
                    await _exit_of(process)
    finally:
        _kill(process)
        process.wait()  # nothing survives SIGKILL for long
    return process.wait()


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child still runs; unlike its poll(), this does not reap it."""
    if process.returncode is not None:
        return False
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a child that has not been reaped, and to its own children: an engine's workers.

    A worker that hangs would not end by itself when its parent is gone, and would keep the port.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it has a session, and so a group, of its own


# --- all of them -------------------------------------------------------------------------------------------


# Called with the name of a sender, and each advice that it gives.
AdviceListener = Callable[[str, Advice], object]


def _nothing() -> None:
    pass


class Supervisor:
    """Keeps the configured engines running, from `start()` until `stop()`.

    `changed` is called whenever states() would tell something new, statistics excepted. `program` and
    `environment` start an engine (default: this very netbond); tests put a child of their own there.
    """

    def __init__(
        self,
        engines: Sequence[EngineConfig],
        *,
        state_dir: Path,
        user: str,
        changed: Callable[[], object] = _nothing,
        program: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        own_program, own_environment = interpreter(Path(netbond.__file__).parent, sys.path, os.environ)
        self.program = list(program) if program is not None else own_program
        self.environment = dict(environment) if environment is not None else own_environment
        self.user = user
        self.changed = changed
        self.advice_listeners: list[AdviceListener] = []
        self.store = ResumeStore(state_dir / "engines")
        self.links: Links | None = None
        self._engines = [_Engine(engine, self) for engine in engines]

    async def start(self) -> None:
        """Start all engines. Whatever goes wrong with one is seen in its state, and tried again."""
        for engine in self._engines:
            self._run(engine)

    async def stop(self) -> None:
        """End all engines at once: SIGTERM, and SIGKILL for those that are still there after 3 s."""
        tasks = [engine.task for engine in self._engines if engine.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def reconfigure(self, engines: Sequence[EngineConfig]) -> None:
        """Run these from now on: what is the same goes on untouched, others end before new ones start.

        One that is changed may need the port of the one before.
        """
        wanted = {_without_encoder(config) for config in engines}
        running = {_without_encoder(engine.config): engine for engine in self._engines}
        kept = {config: engine for config, engine in running.items() if config in wanted}
        removed = [engine for config, engine in running.items() if config not in kept]
        self._engines = [kept.get(_without_encoder(config)) or _Engine(config, self) for config in engines]
        tasks = [engine.task for engine in removed if engine.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for engine, config in zip(self._engines, engines, strict=True):
            if engine.task is None:
                self._run(engine)
            else:
                engine.reconfigure(config)
        self.changed()

    def _run(self, engine: _Engine) -> None:
        engine.task = asyncio.create_task(engine.run())
        engine.task.add_done_callback(engine.ended)

    def set_links(self, links: Links) -> None:
        """The links that senders use from now on."""
        if links == self.links:
            return
        self.links = links
        for engine in self._engines:
            engine.tell_links()

    def tell_advice(self, sender: str, advice: Advice) -> None:
        """Call the listeners."""
        for listener in self.advice_listeners:
            listener(sender, advice)

    def problems(self) -> list[str]:
        """What is wrong beside the engines themselves, one line each."""
        return [problem for engine in self._engines for problem in engine.problems]

    def states(self) -> tuple[EngineState, ...]:
        """The state of each engine, in the order of the configuration."""
        now = time.monotonic()
        return tuple(engine.snapshot(now) for engine in self._engines)
