"""The contract between the sender and its modes (which link carries the next packet), and the classic rule.

A `Carrier` takes the SRT caller's packets over the links (`classic.py`, `bonding.py`). It keeps its own state
of a link in `LinkState.model`, `window`, `in_flight` and `lost`; the rest in there belongs to the sender. It
has no clock: `now` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from netbond.srtla import wire
from netbond.srtla.advice import Certainty
from netbond.srtla.passing import Passing

WINDOW_UNIT: Final = 1000  # a window of 1000 means one packet in flight
WINDOW_MIN: Final = 1 * WINDOW_UNIT
WINDOW_START: Final = 20 * WINDOW_UNIT
WINDOW_MAX: Final = 60 * WINDOW_UNIT
WINDOW_UP: Final = 29  # for an acknowledged packet on a link that is in use
WINDOW_DOWN: Final = 100  # for a lost packet


@dataclass(slots=True, eq=False)
class LinkState:
    """What a scheduler sees of a link."""

    number: int
    window: int = WINDOW_START  # in thousandths of a packet; the scheduler's
    in_flight: int = 0  # data packets sent, not yet acknowledged, not known to be lost
    in_flight_bytes: int = 0
    usable: bool = False  # the receiver has accepted the link and it is not timed out
    priority: int = 0  # links of a higher one carry first, the others what these have no room for
    enabled: bool = True  # False: never given packets
    metered: bool = False  # what it carries costs money: nothing is sent only to measure it
    stalled: bool = False  # nothing heard for far longer than a round trip, though packets were sent
    rtt: float | None = None  # s, smoothed, from keepalives
    lost: int = 0  # data packets known to be lost on it; the carrier's
    data_packets: int = 0  # sent on it so far
    largest: int = wire.MTU  # bytes: larger packets do not arrive over it, as far as is known
    passing: Passing = field(default_factory=Passing)  # carriers tell it what leaves, and what has arrived
    model: Any = None  # whatever a scheduler wants to remember of this link

    @property
    def carries(self) -> bool:
        """Whether packets may be sent on it."""
        return self.usable and self.enabled


# Plain classes: Python makes an object of a frozen dataclass ten times as slowly, also in compiled modules.


class Capacity:
    """What a link can carry, as its mode has it."""

    __slots__ = ("age_s", "bits_per_second", "certainty", "queued_s")

    def __init__(
        self, bits_per_second: float, certainty: Certainty, age_s: float | None, queued_s: float
    ) -> None:
        self.bits_per_second = bits_per_second  # of SRT payload
        self.certainty: Certainty = certainty
        self.age_s = age_s  # since the link was last full; None: never
        self.queued_s = queued_s  # that packets wait in the link, beyond its shortest round trip


class Bond:
    """What all links can carry, as their mode has it."""

    __slots__ = ("advised", "capacity", "latency_s", "queued_s")

    def __init__(self, advised: float, capacity: float, queued_s: float, latency_s: float) -> None:
        self.advised = advised  # bit/s of SRT payload that may be offered now
        self.capacity = capacity  # bit/s of SRT payload
        self.queued_s = queued_s  # that the links take for all that waits
        self.latency_s = latency_s  # SRT's, as it is known or supposed


class Outlet:
    """By which a carrier sends."""

    def emit_data(self, link: LinkState, data: bytes, now: float) -> None:
        """A data packet leaves on a link now."""
        raise NotImplementedError

    def emit(self, link: LinkState, data: bytes) -> None:
        """Another SRT packet leaves on a link."""
        raise NotImplementedError

    def ask(self, link: LinkState, now: float) -> None:
        """Send a keepalive on a link now."""
        raise NotImplementedError


class Carrier:
    """What takes the SRT caller's packets over the links: a mode of `netbond send`.

    It is told all that happens, and sends by the outlet that `connect` gives it. (Classes, not protocols and
    functions: compiled, each of these calls costs a tenth.)
    """

    _outlet: Outlet

    def connect(self, outlet: Outlet) -> None:
        """How to send; called once, first."""
        self._outlet = outlet

    def set_links(self, links: Sequence[LinkState]) -> None:
        """The links there are, usable or not, in the order of the user's list."""
        raise NotImplementedError

    def link_up(self, link: LinkState, now: float) -> None:
        """The link begins anew (registered, or registered again)."""
        raise NotImplementedError

    def link_down(self, link: LinkState, now: float) -> None:
        """The link is not usable any more; what it carried is to go another way."""
        raise NotImplementedError

    def link_stalled(self, link: LinkState, now: float) -> None:
        """Nothing was heard on the link for far too long. It is heard again when `stalled` is off."""
        raise NotImplementedError

    def link_limited(self, link: LinkState, now: float) -> None:
        """`link.largest` is another now: larger packets are to go another way."""

    def control(self, data: bytes, now: float) -> None:
        """An SRT control packet from the caller."""
        raise NotImplementedError

    def data(self, sequence: int, data: bytes, now: float, *, again: bool) -> None:
        """An SRT data packet from the caller. `again`: the caller has sent it before."""
        raise NotImplementedError

    def keyframe(self, seconds: float, now: float) -> None:
        """The encoder says that what comes within so many s is of a keyframe."""

    def srtla_ack(self, link: LinkState, sequences: Sequence[int], now: float) -> None:
        """The receiver names data packets that arrived on `link`, in the order of arrival."""
        raise NotImplementedError

    def srt_ack(self, link: LinkState, sequence: int, now: float) -> None:
        """The SRT server has, or has given up, everything before `sequence`; `link` told so first."""
        raise NotImplementedError

    def srt_nak(self, ranges: Sequence[tuple[int, int]], now: float) -> bool:
        """The SRT server lacks these (first, last). Whether the caller is to hear of it."""
        raise NotImplementedError

    def handshake(self, data: bytes) -> None:
        """A handshake packet from the SRT server."""
        raise NotImplementedError

    def learnt_latency(self) -> float | None:
        """SRT's latency in s as a handshake told it, or a predecessor's; None: not known, or not needed."""
        raise NotImplementedError

    def keeps_all(self) -> bool:
        """Whether no packet may be given up, as a handshake told it: the server waits for each for ever."""
        return False

    def resume_keeping_all(self) -> None:
        """A predecessor had learnt that no packet may be given up."""

    def resume_latency(self, latency: float) -> None:
        """What a predecessor had learnt from a handshake that we have not seen."""
        raise NotImplementedError

    def echo(self, link: LinkState, sample: float, before: int, now: float) -> None:
        """A keepalive came back after `sample` s; `before`: `data_packets` when it left."""
        raise NotImplementedError

    def not_sent(self, link: LinkState, datagrams: Sequence[bytes], now: float) -> None:
        """The kernel did not take these for now."""
        raise NotImplementedError

    def flush(self) -> None:
        """All that has come in at this moment is told: send what is to be sent."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        raise NotImplementedError

    def patience(self) -> float:
        """s that packets and acknowledgements may wait for each other, so that few wake-ups serve them; 0.0:
        as short as can be."""
        return 0.0

    def capacity(self, link: LinkState, now: float) -> Capacity | None:
        """What the link can carry; None: this mode does not know."""
        return None

    def advised(self, now: float) -> Bond | None:
        """What the bond carries; None: there is no stream, or this mode does not know."""
        return None

    def stats(self) -> dict[str, int]:
        """Counters: `resent`, `dropped` and whatever else the mode has to tell."""
        raise NotImplementedError


class ClassicScheduler:
    """What all SRTLA senders have done since the first: the link with the most free window per packet.

    The window grows by 29 with each acknowledgement on a link in use and by 1 with each acknowledgement on
    any link, and shrinks by 100 with each loss. A stalled link, or one that swallows packets of this size, is
    chosen only when all are or do. Of links of unlike priority the highest that is not full is chosen.
    """

    def choose(self, links: Sequence[LinkState], size: int, now: float) -> LinkState | None:
        best: LinkState | None = None
        best_passes, best_rank = False, -1
        stalled: LinkState | None = None
        for link in links:  # the first of equals wins, so the same history gives the same choice
            if not link.usable or not link.enabled:
                continue
            if link.stalled:
                stalled = stalled or link
                continue
            score = link.window // (link.in_flight + 1)
            passes = size <= link.largest
            rank = score  # of full links the least so; then priority, then score, as digits of one number
            if score >= WINDOW_UNIT:
                rank += (1 + link.priority) * (WINDOW_MAX + 1)
            if rank > best_rank if passes == best_passes else passes:
                best, best_passes, best_rank = link, passes, rank
        return best if best_passes else stalled or best

    def acknowledged(self, link: LinkState | None, links: Sequence[LinkState]) -> None:
        """An SRTLA ACK named a packet that `link` carried; None: an SRT ACK had settled it before."""
        if link is not None and link.in_flight * WINDOW_UNIT > link.window:
            link.window = min(link.window + WINDOW_UP, WINDOW_MAX)
        for each in links:
            if each.usable and each.window < WINDOW_MAX:
                each.window += 1

    def lost(self, link: LinkState) -> None:
        link.window = max(link.window - WINDOW_DOWN, WINDOW_MIN)

    def reset(self, link: LinkState, now: float) -> None:
        link.window = WINDOW_START
