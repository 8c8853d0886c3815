"""An engine as a process: loop, signals, timers and the channel with the agent, for both engines.

sending.py and receiving.py add the sockets and the state machines.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from pathlib import Path
from typing import cast

from netbond import __version__
from netbond.errors import EXIT_OK, NetbondError
from netbond.srtla import why_pure
from netbond.srtla.process import privileges, seccomp
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.loop import PacketLoop
from netbond.srtla.process.protocol import (
    RESUME_BYTES_PER_S,
    Fatal,
    Message,
    Ready,
    Resume,
    Resumed,
    ResumeData,
    Stats,
)
from netbond.srtla.process.resumefile import ResumeFile
from netbond.srtla.process.statsfile import StatsFile
from netbond.srtla.process.statspage import StatsPage
from netbond.srtla.statistics import EngineStatistics, for_everybody
from netbond.system import journal
from netbond.system.text import shown
from netbond.system.typed_json import to_json

MAINTENANCE_INTERVAL_S = 1.0  # between statistics, and between attempts at what has failed
RESUME_DELAY_S = 0.02  # changes within this time go into one message
RESUME_INTERVAL_S = 0.1  # at least, between two messages: the agent writes each to its disk
# Objects made and not freed before Python looks for cycles. Packets in flight are such objects, and no
# cycles; with Python's 700, looking took 6 % of the sender's own instructions.
GC_THRESHOLD = 50_000

log = logging.getLogger(__name__)


class Engine:
    """An engine's life: `open` its sockets, serve until a signal or the end of the channel, then stop."""

    def __init__(
        self,
        channel: Channel | None,
        resume: ResumeData,
        stats_file: Path | None = None,
        resume_file: ResumeFile | None = None,
    ) -> None:
        """`stats_file`: where to write the statistics each second; `resume_file`: without an agent, where to
        keep what to resume."""
        self.channel = channel
        self._resume_file = resume_file if channel is None else None
        self._stats_path = stats_file
        self._stats_file: StatsFile | None = None
        self.latest: EngineStatistics | None = None
        self.page: StatsPage | None = None  # that shows them
        self.resume = resume
        self._resume_given: ResumeData | None = None
        self._resume_due = False
        self._resume_at = float("-inf")  # when it was last report_fatal
        self._status = EXIT_OK
        self._agent_has_gone = False
        self.is_worker = False  # one of several processes, whose front speaks for all

    # --- what an engine brings --------------------------------------------------------------------------

    def open(self) -> None:
        """Open the sockets; NetbondError if that fails."""
        raise NotImplementedError

    def maintain(self, now: float) -> None:
        """Called each second."""

    async def drain(self) -> None:
        """Told to stop: send what has been accepted, within a moment. The loop still runs."""

    def close(self) -> None:
        """The last call: remove files that must not stay."""

    def message(self, message: Message) -> None:
        """A message from the agent."""

    def on_sighup(self) -> None:
        """SIGHUP."""

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """The time that `next_timer` gave has come."""
        raise NotImplementedError

    def resume_data(self) -> ResumeData:
        """What the next engine needs to take over the stream."""
        raise NotImplementedError

    def stats(self, now: float) -> EngineStatistics:
        """The statistics, since start and over the last second."""
        raise NotImplementedError

    # --- the process ------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve; the exit status."""
        self.loop = cast("PacketLoop", asyncio.get_running_loop())
        self._end = asyncio.Event()
        self.loop.add_signal_handler(signal.SIGTERM, self._stop, EXIT_OK)
        self.loop.add_signal_handler(signal.SIGINT, self._stop, 128 + signal.SIGINT)
        self.loop.add_signal_handler(signal.SIGHUP, self.on_sighup)
        if self._stats_path is not None:
            self._stats_file = StatsFile(self._stats_path)
        self.open()  # what fails there is one line; so the next comes after it
        if self.page is not None:
            await self.page.open()
        if not self.is_worker:
            _say_flavour()
        if self.channel is not None:
            self.channel.start(self.message, self._on_agent_gone)
            self.channel.send(Ready())
        self.publish_resume()
        self._second()
        self.arm()
        gc.collect()
        gc.freeze()  # what there is now stays: not to be looked through again and again
        gc.set_threshold(GC_THRESHOLD)
        await self._end.wait()
        if not self._agent_has_gone:  # else a successor may be waiting for our port
            await self.drain()
        if self._resume_file is not None:
            self._publish_resume()
        # What came while the loop ends would be written into files that close() has left as they shall stay.
        self._maintenance.cancel()
        self.loop.end_packets()
        self.close()
        if self.page is not None:
            self.page.close()
        if self._stats_file is not None:
            self._stats_file.close()
        return self._status

    def _stop(self, status: int) -> None:
        self._status = status
        self._end.set()

    def _on_agent_gone(self) -> None:
        log.info("the agent has gone: ending")
        self._agent_has_gone = True
        self._end.set()

    def arm(self) -> None:
        """Make sure that the timer goes off when the state machine wants it; call after each change."""
        self.loop.set_alarm(self.next_timer(), self._timed)

    def _timed(self, now: float) -> None:
        self.handle_timer(now)
        self.arm()

    def _second(self) -> None:
        now = time.monotonic()
        self._maintenance = self.loop.call_at(self.loop.time() + MAINTENANCE_INTERVAL_S, self._second)
        self.maintain(now)
        stats = self.latest = self.stats(now)  # also if nobody reads them: rates count from call to call
        if self.channel is not None:
            self.channel.show(Stats(to_json(stats)))
        if self._stats_file is not None:
            self._stats_file.write(to_json(for_everybody(stats)))
        self.publish_resume()
        self.arm()

    def publish_resume(self) -> None:
        """The resume data may have changed: send them to the agent, or keep them, after RESUME_DELAY_S."""
        if self._resume_due:
            return
        if self.channel is not None:
            size_bytes = self.channel.resume_bytes
        elif self._resume_file is not None:
            size_bytes = self._resume_file.size_bytes
        else:
            return
        self._resume_due = True
        now = self.loop.time()
        interval_s = max(RESUME_INTERVAL_S, size_bytes / RESUME_BYTES_PER_S)
        at = max(now + RESUME_DELAY_S, self._resume_at + interval_s)
        self.loop.call_at(at, self._publish_resume)

    def _publish_resume(self) -> None:
        self._resume_due = False
        self._resume_at = self.loop.time()
        data = self.resume_data()
        if data == self._resume_given:
            return
        self._resume_given = data
        if self.channel is not None:
            self.channel.show(Resume(data))
        elif self._resume_file is not None:
            self._resume_file.save(data)


class _Formatter(logging.Formatter):
    """A line, or several for a traceback, in which what is quoted is harmless."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def set_up_logging(level: str) -> None:
    """One line per event on standard error, with the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("netbond")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def prepare(user: str | None, control_fd: int | None) -> tuple[Channel | None, ResumeData]:
    """Give up privileges; the channel, and what to resume. All modules are imported by now."""
    if control_fd is None:
        _confine(user)
        return None, {}
    channel = Channel(control_fd)
    for handler in logging.getLogger("netbond").handlers:
        handler.setFormatter(journal.Formatter())  # the agent's log has the time
    try:
        _confine(user)
    except NetbondError as error:
        raise report_fatal(channel, error) from None
    resume = channel.receive_resume()
    channel.send(Resumed())
    return channel, resume


def _say_flavour() -> None:
    why = why_pure()
    if why:
        log.warning("netbond %s, pure: packets cost two to four times the CPU time: %s", __version__, why)
    else:
        log.info("netbond %s, compiled", __version__)


def _confine(user: str | None) -> None:
    """Keep only what an engine needs; NetbondError if it cannot become `user`."""
    if user is not None:
        privileges.drop(user)
    else:
        privileges.shed()
    why_not = seccomp.install()
    if why_not:
        log.info("running without a seccomp filter: %s", why_not)


def serve(engine: Engine) -> int:
    """Run the engine in a loop of its own; the exit status. What is fatal is report_fatal to the agent.

    NetbondError: there is no agent to tell."""
    try:
        with asyncio.Runner(loop_factory=PacketLoop) as runner:
            return runner.run(engine.run())
    except NetbondError as error:
        if engine.channel is None:
            raise
        raise report_fatal(engine.channel, error) from None


def report_fatal(channel: Channel, error: NetbondError) -> SystemExit:
    """Send it to the agent, which logs it: on standard error it would be in that log twice."""
    channel.send(Fatal(str(error)))
    return SystemExit(error.exit_status)
