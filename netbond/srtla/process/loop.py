"""The engines' event loop: asyncio for what is rare, and packets without it.

asyncio spends more on a wake-up than a packet may cost. Sockets that carry packets are therefore given to
`add_packets`: their callbacks run inside the selector's `select`, and asyncio itself wakes up only for the
rest (signals, the channel, timers, names). The state machine's timer, the `alarm`, is in there, too.

While packets flow, wake-ups are coalesced (wakeup.py): the loop wakes up once in PAUSE_S and reads what has
come. Most of what a packet costs at ordinary rates is the wake-up. Where packets may wait longer
(`patience`), the loop waits until ENOUGH_PACKETS are there. A packet that comes alone is not kept waiting:
the pause depends on how many packets are expected within it.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
import time
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Final, TypeVarTuple, Unpack

from netbond.srtla.process.batch import PER_WAKE_UP
from netbond.srtla.process.wakeup import CALM_S, ENOUGH_PACKETS, PAUSE_S, WORTH_PACKETS, Report

if TYPE_CHECKING:
    from netbond.srtla.native._extension import FastPath

ALONE_S: Final = 4 * PAUSE_S  # after which a packet came alone, whatever the pace was before
SMOOTHING: Final = 1 / 16  # weight of the newest wake-up in the expected pace, ...
MANY: Final = 1.5 * ENOUGH_PACKETS  # ... or 1, if it finds so many packets, and twice as many as expected
READY_MAX: Final = 64  # sockets per look; the others come with the next

_Ts = TypeVarTuple("_Ts")
PacketCallback = Callable[[float], int]  # given the time, reads what is there: how many packets


class PacketHandler:
    """Handles packets and the alarm in the place of callbacks; compiled, a call costs little."""

    def __init__(self) -> None:
        self.patience = PAUSE_S  # s that packets may wait until more come

    def take_reports(self, reports: list[Report], stream: list[bytes], now: float) -> None:
        """Handle what the compiled data path has read; `stream`: of the writer that it expects."""
        raise NotImplementedError

    def on_alarm(self, now: float) -> None:
        """The alarm goes off."""
        raise NotImplementedError

    def next_alarm(self) -> float:
        """When it shall go off next (monotonic s); math.inf: not at all. Asked after each of these."""
        raise NotImplementedError


class PacketServer:
    """Serves the packets' sockets and the alarm, without asyncio."""

    def __init__(self, asyncio_descriptor: int) -> None:
        self.callbacks: dict[int, PacketCallback] = {}
        self.alarm = math.inf  # monotonic s
        self.on_alarm: Callable[[float], None] | None = None
        self.interrupted = False  # a callback has given asyncio something to do
        self.fast: FastPath | None = None
        self.on_reports: Callable[[list[Report], float], None] | None = None
        self.handler: PacketHandler | None = None
        self.patience = PAUSE_S  # s that packets may wait until more come; a handler has its own
        self.packets = select.epoll()
        self.packets.register(asyncio_descriptor, select.EPOLLIN)
        self._gap = ALONE_S  # s that is expected between packets, from the means of ...
        self._span = ALONE_S  # ... s between looks that found packets, ...
        self._count = 1.0  # ... and of packets that they found
        self._looked = 0.0
        self._paced = 0.0  # when packets came last that set the pace
        self._more = False

    def serve(self, now: float, deadline: float) -> None:
        """Until `deadline` (monotonic s), or until asyncio has something to do."""
        self.interrupted = self._more = False
        while True:
            if self.alarm <= now:
                self.alarm = math.inf
                if self.handler is not None:
                    self.handler.on_alarm(now)
                    self.alarm = self.handler.next_alarm()
                elif self.on_alarm is not None:
                    self.on_alarm(now)
            if self.interrupted or now >= deadline:
                return
            until = min(deadline, self.alarm)
            now = self._look(until) if self.fast is None else self._look_fast(self.fast, until)

    def _look_fast(self, fast: FastPath, until: float) -> float:
        handler = self.handler
        others, reports, stream = fast.run(until, self.patience if handler is None else handler.patience)
        now = time.monotonic()
        if handler is not None:
            if reports or stream:
                handler.take_reports(reports, stream, now)
                self.alarm = handler.next_alarm()
        elif reports and self.on_reports is not None:
            self.on_reports(reports, now)
        for descriptor in others:
            callback = self.callbacks.get(descriptor)
            if callback is not None:
                callback(now)
            else:
                self.interrupted = True
        return now

    def _look(self, until: float) -> float:
        poll = self.packets.poll
        ready: list[tuple[int, int]] = []
        now = time.monotonic()
        patience = self.patience if self.handler is None else self.handler.patience
        if self._more:
            ready = poll(0, READY_MAX)
        elif self._gap * WORTH_PACKETS < patience:
            # Packets flow: one wake-up by the clock, in the place of one by a packet and others by those
            # that follow it. Alarms can wait as long.
            pause = max(min(patience, max(CALM_S, self._gap * ENOUGH_PACKETS)), PAUSE_S)
            pause = min(pause, self._gap * PER_WAKE_UP)  # what comes meanwhile can be read at once
            time.sleep(max(self._looked + pause - now, 0.0))
            ready = poll(0, READY_MAX)
        if not ready:
            wait = until - time.monotonic()
            ready = poll(None if wait == math.inf else max(wait, 0.0), READY_MAX)
        now = time.monotonic()
        count = 0
        self._more = False
        for descriptor, _ in ready:
            callback = self.callbacks.get(descriptor)
            if callback is not None:
                # Its own time: what it reads may answer what the callback before has just sent.
                read = callback(time.monotonic())
                count += read
                self._more = self._more or read >= PER_WAKE_UP
            else:
                self.interrupted = True
        if ready:
            self._looked = now
        if count:
            span = min(now - self._paced, ALONE_S)
            # A stream that begins, or becomes a faster one, is not kept waiting by what was before.
            faster = count >= MANY and span < self._gap / 2 * count
            weight = 1.0 if faster else SMOOTHING
            self._span += (span - self._span) * weight
            self._count += (count - self._count) * weight
            self._gap = self._span / self._count  # the mean of gaps would make much of a look amidst a burst
            self._paced = now
        return now


class _Selector(selectors.EpollSelector):
    """asyncio's own selector, inside an epoll that also has the packets' sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.server = PacketServer(self.fileno())

    def close(self) -> None:
        self.server.packets.close()
        super().close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        now = time.monotonic()
        self.server.serve(now, math.inf if timeout is None else now + max(timeout, 0.0))
        return super().select(0)


class PacketLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that also serves the sockets that carry packets."""

    def __init__(self) -> None:
        selector = _Selector()
        self._packets = selector.server
        super().__init__(selector)

    def add_packets(self, descriptor: int, callback: PacketCallback) -> None:
        """Call `callback(now)` when the socket, a non-blocking one, is readable. The callback need not read
        all: it is called again. What it returns, the number of packets, sets the pace; those of answers do
        not count."""
        self._packets.callbacks[descriptor] = callback
        self._packets.packets.register(descriptor, select.EPOLLIN)

    def remove_packets(self, descriptor: int) -> None:
        """Before the socket is closed."""
        if self._packets.callbacks.pop(descriptor, None) is not None:
            self._packets.packets.unregister(descriptor)

    @property
    def packets_descriptor(self) -> int:
        """Of the epoll that has the packets' sockets."""
        return self._packets.packets.fileno()

    def end_packets(self) -> None:
        """Serve no packet and no alarm any more. asyncio lets the loop run on for a moment at its end."""
        for descriptor in list(self._packets.callbacks):
            self.remove_packets(descriptor)
        self.use(None)
        self._packets.alarm = math.inf

    def use(
        self,
        fast: FastPath | None,
        on_reports: Callable[[list[Report], float], None] | None = None,
        handler: PacketHandler | None = None,
    ) -> None:
        """Let a compiled data path, if there is one, serve the packets' sockets; `on_reports` or the
        handler gets what it leaves to us. The handler has the alarm, too."""
        self._packets.fast = fast
        self._packets.on_reports = on_reports
        self._packets.handler = handler

    def set_patience(self, patience_s: float) -> None:
        """Let packets wait so long until more come, PAUSE_S at least; a handler sets its own."""
        self._packets.patience = max(PAUSE_S, patience_s)

    def set_alarm(self, at: float | None, callback: Callable[[float], None]) -> None:
        """Call `callback(now)` once at `at` (as time.monotonic has it), in the place of an earlier alarm; it
        may set the next. None: not at all."""
        self._packets.alarm = math.inf if at is None else at
        self._packets.on_alarm = callback

    # asyncio, about to sleep in `select`, must hear of what a packet's callback schedules.

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._packets.interrupted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._packets.interrupted = True
        return super().call_at(when, callback, *args, context=context)
