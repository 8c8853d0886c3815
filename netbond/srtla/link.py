"""What a sender knows of one of its links, and the link's entry in the statistics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.schedule import LinkState

LOSS_WINDOW: Final = 10  # calls of Sender.stats, one a second, over which loss is counted
PORT_CLOSED_SHOWN_S: Final = 3.0  # a kernel sends such ICMP messages once a second or more rarely


@dataclass(slots=True, eq=False)
class Link(LinkState):
    """A link and all that is known of it. `state`: error (no socket), registering, up, down (timed out)."""

    spec: LinkSpec = field(default_factory=lambda: LinkSpec("", ""))
    state: str = "error"
    reason: str = "not opened yet"
    last_heard: float = 0.0  # when a sign of life came last; 0.0: never
    opened_at: float = 0.0  # when it last got a socket
    answered_at: float = 0.0  # when anything at all came last from the receiver; 0.0: never
    refused_at: float = 0.0  # when ICMP last said that nothing listens at the receiver's port
    unanswered_since: float | None = None  # when the first packet left after the last sign of life
    joined: bool = False  # has been up in the present group
    join_sent_at: float | None = None  # when REG2 with the present group's id last left
    asked_at: float = 0.0  # when REG2 last asked whether the receiver knows it, while it was up
    asking: bool = False  # no sign of life has come since
    denied: bool = False  # "no such group" has, if it is asking
    denied_at: float | None = None  # when "no such group" came, while it was not up, and nothing else since
    probing: bool = False  # a probe has left whose answer would begin a group
    registering: bool = False  # a request has left, and no refusal has come since
    retry_at: float = 0.0  # not to be registered before
    backoff_s: float = 0.0  # the present step after REG_ERR
    probed_at: float = 0.0  # when a keepalive last left
    # Keepalive timestamp in ms -> when it left, its size, and how many data packets had left before.
    pending_keepalives: dict[int, tuple[float, int, int]] = field(default_factory=dict)
    probes: int = 0  # keepalives padded to full size of which is known whether they arrived
    packets: int = 0
    bytes: int = 0
    bitrate: int = 0  # bit/s over the last second
    counted: tuple[int, int, int] = (0, 0, 0)  # data packets and probes, bytes, lost at the last look
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=LOSS_WINDOW))

    @property
    def open(self) -> bool:
        """Whether it has a socket."""
        return self.state != "error"

    def port_closed(self, now: float) -> bool:
        """Whether ICMP says that nothing listens at the receiver's port, and nothing else has come since."""
        since = max(self.opened_at, self.answered_at, now - PORT_CLOSED_SHOWN_S)
        return self.open and not self.usable and self.refused_at > since


def loss_pct(link: Link) -> float:
    """The share of packets that the link has lost lately, 0 to 100."""
    packets = lost = 0
    for entry in link.recent:
        packets += entry[0]
        lost += entry[1]
    return min(100.0, round(100 * lost / packets, 1)) if packets else 0.0


def rtt_ms(link: Link) -> int | None:
    """The link's round trip; None: not known yet."""
    return round(link.rtt * 1000) if link.rtt is not None else None


def link_stats(link: Link, now: float) -> dict[str, Any]:
    """The link's entry in the statistics (docs/send.md)."""
    reason = link.reason
    if link.port_closed(now):
        reason = "nothing listens at the receiver's port"
    elif link.stalled:
        reason = "stalled: packets without any answer"
    elif link.usable and link.passing.limit is not None:
        reason = f"packets of more than {link.largest} bytes do not arrive"
    if not link.enabled and not reason:
        reason = "idle: carries no stream"
    return {
        "label": link.spec.label,
        "address": link.spec.address,
        "device": link.spec.device,
        "priority": link.priority,
        "enabled": link.enabled,
        "state": link.state,
        "reason": reason,
        "window": link.window,
        "in_flight": link.in_flight,
        "rtt_ms": rtt_ms(link),
        "silent_ms": round(max(now - link.last_heard, 0.0) * 1000) if link.last_heard else None,
        "packets": link.packets,
        "bytes": link.bytes,
        "lost": link.lost,
        "loss_pct": loss_pct(link),
        "bitrate_bps": link.bitrate,
        "metered": link.metered,
    }
