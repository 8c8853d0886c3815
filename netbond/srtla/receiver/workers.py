"""Starts the processes of a receiver that has several, restarts those that die, and ends them together.

The parent does nothing else. It keeps every socket open: a worker that is restarted finds its sockets, with
what has come meanwhile, and gets its streams from the front (front.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import time
from types import FrameType

from netbond.config.values import HostPort
from netbond.errors import NetbondError, UnavailableError
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.engine import report_fatal, serve
from netbond.srtla.process.linksocket import open_listener
from netbond.srtla.process.protocol import FROM_FRONT, FROM_WORKER, Hello, ResumeData
from netbond.srtla.process.receiving import SENDERS, RecvEngine, RecvOptions, WorkerPlace
from netbond.srtla.receiver import passage, steering
from netbond.srtla.receiver.front import FrontEngine, Worker
from netbond.srtla.registration.ticket import KEY_LENGTH

RESTART_PAUSE_S = 0.2  # before a worker is started again
GRACE_S = 2.0  # for workers to end
PORT_FREE_WITHIN_S = 1.0  # a port that the workers of the engine before may still have

_ENDING = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h

log = logging.getLogger(__name__)


def run(options: RecvOptions, channel: Channel | None, resume: ResumeData) -> int:
    """Receive with `workers` processes beside the front, until report_fatal to stop; the exit status.

    Returns in every one of the processes.
    """
    try:
        listeners = _listeners(options.config.listen, options.config.workers + 1)
    except NetbondError as error:
        if channel is None:
            raise
        raise report_fatal(channel, error) from None
    return _Parent(options, listeners).run(channel, resume)


def _listeners(where: HostPort, count: int) -> list[socket.socket]:
    """Sockets that share a port with each other and with nobody else."""
    deadline = time.monotonic() + PORT_FREE_WITHIN_S
    while True:
        try:
            open_listener(where, SENDERS).close()  # else a strange netbond's would be shared
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)
        else:
            first = open_listener(where, SENDERS, shared=True)
            with contextlib.suppress(OSError):  # the front will say so
                # Whatever comes before there are links is the front's: nobody is to be answered twice.
                steering.attach(first, {}, steering.Salt(1, 1))
            return [first, *(open_listener(where, SENDERS, shared=True) for _ in range(count - 1))]


class _Parent:
    def __init__(self, options: RecvOptions, listeners: list[socket.socket]) -> None:
        self._options = options
        self._listeners = listeners
        self._secret = os.urandom(KEY_LENGTH)
        self._channels = [socket.socketpair() for _ in listeners[1:]]  # ends: of the front, of the worker
        self._passages = [passage.pair() for _ in listeners[1:]]
        self._me = os.getpid()
        self._front = 0
        self._workers: dict[int, int] = {}  # by process
        self._ending = False

    def run(self, channel: Channel | None, resume: ResumeData) -> int:
        # Told to end before it knows them, it could not tell its children; and process 0 is the whole group.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        for number in _ENDING:
            signal.signal(number, self._signalled)
        self._front = self._fork()
        if self._front == 0:
            return self._be_front(channel, resume)
        if channel is not None:
            channel.close()
        for index in range(len(self._channels)):
            child = self._fork()
            if child == 0:
                return self._be_worker(index)
            self._workers[child] = index
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        return self._watch()

    def _watch(self) -> int:
        while True:
            child, status = os.waitpid(-1, 0)
            if child == self._front:
                told_to = self._ending
                self._end_workers()
                code = os.waitstatus_to_exitcode(status)
                if told_to and code in (-signal.SIGTERM, -signal.SIGINT):
                    return 0  # it was still starting, and had no handler yet
                return code if code >= 0 else 128 - code
            index = self._workers.pop(child)
            if self._ending:
                continue
            log.warning("worker %d died; starting it again", index + 1)
            time.sleep(RESTART_PAUSE_S)
            child = self._fork()
            if child == 0:
                return self._be_worker(index)
            self._workers[child] = index

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._ending = True
        for child in (self._front, *self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    def _end_workers(self) -> None:
        self._ending = True
        deadline = time.monotonic() + GRACE_S
        number = signal.SIGTERM
        while self._workers:
            for child in self._workers:
                os.kill(child, number)  # not reaped yet: it is still ours
            while self._workers and time.monotonic() < deadline:
                child, _ = os.waitpid(-1, os.WNOHANG)
                if child:
                    self._workers.pop(child, None)
                else:
                    time.sleep(0.01)
            number = signal.SIGKILL
            deadline += GRACE_S

    # --- in a child -----------------------------------------------------------------------------------------

    def _fork(self) -> int:
        child = os.fork()
        if child == 0:
            for number in _ENDING:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != self._me:
                os._exit(1)  # it died before it could matter
        return child

    def _be_front(self, channel: Channel | None, resume: ResumeData) -> int:
        workers = [
            Worker(index + 1, Channel(ends[0].detach(), FROM_WORKER), passages[0])
            for index, (ends, passages) in enumerate(zip(self._channels, self._passages, strict=True))
        ]
        for listener in self._listeners[1:]:
            listener.close()
        for ends, passages in zip(self._channels, self._passages, strict=True):
            ends[1].close()
            passages[1].close()
        engine = FrontEngine(
            self._options,
            channel,
            resume,
            listener=self._listeners[0],
            secret=self._secret,
            workers=workers,
        )
        return serve(engine)

    def _be_worker(self, index: int) -> int:
        channel = Channel(self._channels[index][1].detach(), FROM_FRONT)
        place = WorkerPlace(self._listeners[index + 1], self._passages[index][1], self._secret)
        for number, listener in enumerate(self._listeners):
            if number != index + 1:
                listener.close()
        for number, (ends, passages) in enumerate(zip(self._channels, self._passages, strict=True)):
            ends[0].close()
            passages[0].close()
            if number != index:
                ends[1].close()
                passages[1].close()
        channel.end_line()  # a predecessor may have left one half-written
        channel.send(Hello(os.getpid()))
        # The answer comes behind what the front has said to a predecessor.
        return serve(RecvEngine(self._options, channel, channel.receive_resume(lines=1000), place))
