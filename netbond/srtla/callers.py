"""Decides who the SRT caller of a sender is, and to whom an answer goes. Pure.

A caller takes the place when its SRT handshake is complete: when the server's answer to its conclusion
passes. Only who can read the server's first answer knows the cookie that the conclusion needs, so one packet
in another's name takes nothing. Until then a candidate's handshakes go through, and each answer goes to the
candidate whose socket id it bears (draft-sharabayko-srt, 3.2.1).

A caller that sends is not replaced: others' handshakes are refused. One that sent a stream and has been
silent for STREAM_SILENCE_S may be replaced: its encoder has probably been started anew. One that has only
keepalives to send, each second, may be silent for longer; one whose connection is closed is not waited for.

Where nobody has the place, packets without a handshake go through, too: netbond was started anew in
mid-stream and does not know its caller. A handshake of anybody else takes this away.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from netbond.srtla import wire

Address = tuple[Any, ...]  # as recvfrom gives it

STREAM_SILENCE_S: Final = 0.3  # of a caller that sent a stream; SRT sends a packet each 10 ms then
SILENCE_S: Final = 1.5  # of others; SRT has a keepalive a second
STREAM_PACKETS: Final = 20  # in a second: more than keepalives and acknowledgements of a still stream
CANDIDATE_S: Final = 5.0  # for which a handshake may take; SRT's callers give up after 3
MAX_CANDIDATES: Final = 8  # the newest; each sends its handshake again four times a second
REFUSAL_S: Final = 10.0  # for which a refusal is shown; and it is logged once in this time


@dataclass(frozen=True, slots=True)
class _Candidate:
    address: Address
    since: float


class Callers:
    """The SRT caller, and those that would like to be."""

    def __init__(self, address: Address | None = None) -> None:
        """`address`: the caller of the engine before, which is connected."""
        self.address = address
        self.refused = 0  # handshakes
        self._connected = address is not None
        self._candidates: OrderedDict[int, _Candidate] = OrderedDict()  # by SRT socket id
        self._packets = 0  # of the caller, at the last look
        self._streaming = [False, False]  # in the last two seconds
        self._refusal: tuple[Address, float] | None = None  # the last
        self._said_at = float("-inf")

    @property
    def unsettled(self) -> bool:
        """Whether answers have to be looked at, by `answered`."""
        return bool(self._candidates) or not self._connected

    def second(self, packets: int, now: float) -> None:
        """A second has passed; `packets`: how many have come from the caller so far."""
        self._streaming = [self._streaming[1], packets - self._packets >= STREAM_PACKETS]
        self._packets = packets
        for socket_id, candidate in list(self._candidates.items()):
            if now - candidate.since >= CANDIDATE_S:
                del self._candidates[socket_id]

    def admits(
        self, address: Address, data: bytes, heard: float, now: float, *, closed: bool = False
    ) -> bool:
        """Whether a datagram goes through that does not come from the caller.

        `heard`: when the caller was heard last; `closed`: it has closed its connection."""
        if not wire.is_handshake(data):
            if self.address is not None or len(data) < wire.SRT_HEADER:
                return False
            self.address, self._connected = address, False
            return True
        if self.address is not None and self._connected and not closed:
            silence = STREAM_SILENCE_S if any(self._streaming) else SILENCE_S
            if now - heard < silence:
                self.refused += 1
                self._refusal = (address, now)
                return False
        socket_id = wire.handshake_socket(data)
        self._candidates.pop(socket_id, None)
        self._candidates[socket_id] = _Candidate(address, now)
        if len(self._candidates) > MAX_CANDIDATES:
            self._candidates.popitem(last=False)
        return True

    def answered(self, data: bytes) -> Address | None:
        """To whom this datagram of the server's goes; None: to nobody. `address` may be another then."""
        handshake = wire.is_handshake(data)
        candidate = self._candidates.get(wire.destination_of(data))
        if candidate is None and self.address is None and handshake and self._candidates:
            candidate = next(reversed(self._candidates.values()))  # a server that names no socket
        if candidate is None:
            if self.address is not None and not handshake:
                self._connected = True  # a server that sends it packets knows it
            return self.address
        if wire.is_conclusion(data):
            self.address, self._connected = candidate.address, True
            self._streaming = [False, False]
            self._candidates.clear()
        return candidate.address

    def refusal(self, now: float) -> Address | None:
        """Who was refused within REFUSAL_S; None: nobody."""
        return self._refusal[0] if self._refusal is not None and now - self._refusal[1] < REFUSAL_S else None

    def refusal_to_log(self, now: float) -> Address | None:
        """Who was refused at this moment, for the log; None: nobody, or one was named a moment ago."""
        if self._refusal is None or self._refusal[1] < now or now - self._said_at < REFUSAL_S:
            return None
        self._said_at = now
        return self._refusal[0]
