"""The sending engine's packet path, at each wake-up: from its sockets to the state machine and back.

Apart from `sending.py` because it runs some hundred times a second, and is therefore compiled as a class of
its own. It knows descriptors, not sockets: the engine opens and closes them, and handles their errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from netbond.srtla.keyframes import ANNOUNCEMENT_LENGTH
from netbond.srtla.process.loop import PacketHandler
from netbond.srtla.process.wakeup import LISTENER, PAUSE_S, Report
from netbond.srtla.sender import Sender
from netbond.srtla.senderevents import Event
from netbond.srtla.wire import MTU

MAX_ROUNDS: Final = 8  # a failing link hands its packets to another, which may fail, too

# descriptors by link, (link, datagram) pairs -> (link, errno, what did not go out) of those that failed
Send = Callable[[dict[int, int], list[tuple[int, bytes]]], list[tuple[int, int, list[bytes]]]]
# descriptor, address, ancillary message, datagrams
SendTo = Callable[[int, bytes, bytes, list[bytes]], int]


class Carriage(PacketHandler):
    """Carries packets between the sockets of one sender and its state machine."""

    def __init__(
        self,
        sender: Sender,
        send: Send,
        look_after: Callable[[list[Report], float], None],
        answer: Callable[[list[bytes]], None],
        send_to: SendTo | None = None,
    ) -> None:
        """`look_after` gets strangers' datagrams and sockets' errors, and then does what `flush` leaves;
        `answer` sends datagrams to the SRT caller, `send_to` does it faster while `caller` is known."""
        super().__init__()
        self.sender = sender
        self.send = send
        self.look_after = look_after
        self.answer = answer
        self.send_to = send_to
        self.descriptors: dict[int, int] = {}  # of the links, by their number
        self.numbers: dict[int, int] = {}  # the reverse
        self.caller = b""  # the SRT caller as the kernel writes it; b"": not known
        self.listener = -1  # the descriptor of the caller's socket
        self.caller_name = self.caller_control = b""  # what sendmsg(2) takes to answer the caller
        self.caller_heard = 0.0
        self.unsettled = True  # an answer may be for another than the caller, so the engine sends it
        self.due = math.inf  # when the state machine last wanted to be called
        self.events: list[Event] = []  # for the engine, which takes them
        self.failures: list[tuple[int, int, list[bytes]]] = []  # link, errno, what did not go out

    def open(self, number: int, descriptor: int) -> None:
        """The link has a socket."""
        self.descriptors[number] = descriptor
        self.numbers[descriptor] = number

    def close(self, number: int) -> None:
        """It has none any more."""
        descriptor = self.descriptors.pop(number, -1)
        self.numbers.pop(descriptor, None)

    def take_reports(self, reports: list[Report], stream: list[bytes], now: float) -> None:
        # What the receiver says goes first: packets are then dealt by what is known now. So does an
        # announcement, which is about the packets that follow it.
        left = self.take(reports, now) if reports else reports
        if stream:
            self.caller_heard = now
            sender = self.sender
            for data in stream:
                sender.datagram_from_caller(data, now)
        if left:
            self.look_after(left, now)
        if now >= self.due:  # what both have to send leaves together
            self.sender.handle_timer(now)
        self.carry(now)

    def on_alarm(self, now: float) -> None:
        self.sender.handle_timer(now)
        self.carry(now)

    def next_alarm(self) -> float:
        due = self.sender.next_timer()
        self.due = math.inf if due is None else due
        return self.due

    def carry(self, now: float) -> None:
        """Send what the state machine has, until it has nothing more."""
        sender = self.sender
        for _ in range(MAX_ROUNDS):
            if not self.flush(now):
                break
            self.look_after([], now)
        answers = sender.datagrams_to_caller()
        if answers:
            if self.caller and self.send_to is not None and not self.unsettled:
                self.send_to(self.listener, self.caller_name, self.caller_control, answers)
            else:
                self.answer(answers)
        self.patience = max(PAUSE_S, sender.patience())

    def take(self, reports: list[Report], now: float) -> list[Report]:
        """Tell the state machine what was read; returns the rest: strangers' datagrams and errors."""
        sender, numbers = self.sender, self.numbers
        left: list[Report] = []
        for report in reports:
            descriptor, record, data, error = report
            if descriptor == LISTENER:
                if record != self.caller:
                    if len(data) == ANNOUNCEMENT_LENGTH:  # before the packets that it is about
                        self.look_after([report], now)
                    else:
                        left.append(report)
                elif len(data) <= MTU:
                    self.caller_heard = now
                    sender.datagram_from_caller(data, now)
            elif error:
                left.append(report)
            else:
                number = numbers.get(descriptor, 0)
                if number:
                    sender.datagram_from_receiver(number, data, now)
        return left

    def flush(self, now: float) -> bool:
        """Send what the state machine has for the links. True: there are `events` or `failures` now; look
        after them and call again."""
        sender = self.sender
        if sender.has_events():
            self.events = sender.events()
            return True
        out = sender.datagrams_to_links()
        if not out:
            return False
        self.failures = self.send(self.descriptors, out)
        return bool(self.failures) or sender.has_events()
