"""The groups of a receiver and their links: what is known of each, and what a link may be sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from netbond.srtla import wire
from netbond.srtla.receiver.figures import Figures
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.registration.ticket import Ticket
from netbond.srtla.streamid import StreamIds

UDP_OVERHEAD: Final = 28  # bytes of IPv4 and UDP header: what a spoofed datagram costs its author besides
AMPLIFICATION: Final = 3  # bytes to an unproven peer per byte from it, as QUIC has it (RFC 9000, 8.1)
EARNED_IN_C: Final = 2  # of these for what fastpath.c answers, to packets that it has read; the rest is ours
CREDIT_MAX: Final = 65536  # bytes
# Bytes of a link's credit that the SRT server's packets leave: the SRTLA ACK of the packets that wait for it.
RESERVE: Final = 4 + 4 * wire.ACK_EVERY + UDP_OVERHEAD
FRESH_S: Final = 0.5  # a link heard within this is preferred for what comes from the SRT server
LOOKS_FOR_LOSS: Final = 10  # of one second each, over which loss is a share
ACK_COPIES: Final = 2  # links that get an SRT ACK, in turn: one may be dying, and each copy costs both ends


def _recent() -> deque[tuple[int, int]]:
    return deque(maxlen=LOOKS_FOR_LOSS)


@dataclass(slots=True, eq=False)
class Group:
    """One SRT connection and its links."""

    number: int  # of its socket towards the SRT server
    id: bytes
    created: float
    ticket: Ticket
    keyed: bool = False  # its sender has shown that it knows a key
    key_name: str = ""  # of that key
    links: dict[PeerAddress, Peer] = field(default_factory=dict)
    empty_since: float = 0.0  # monotonic s, if it has no links
    last: Peer | None = None  # the link heard most recently with an SRT packet
    caller: int = 0  # the SRT socket id of the caller that began last
    server: int = 0  # the SRT server's socket id of the connection; 0: there is none, or it is not known
    flowed: float = 0.0  # when a packet of that connection came last
    turn: int = 0  # which of the links is the first that may get the next SRT ACK
    out: list[bytes] = field(default_factory=list)  # for the SRT server
    conclusion: bytes = b""  # of an SRT caller, that waits for the cookie of its SRT server
    packets: int = 0
    bytes: int = 0
    counted: int = 0  # bytes at the last look
    counted_packets: int = 0  # packets then
    recent: deque[tuple[int, int]] = field(default_factory=_recent)  # received and lost, from look to look
    carried: int = 0  # bytes at the last cleanup
    activity: float = 0.0  # bytes from cleanup to cleanup, smoothed
    latency_s: float = 0.0  # SRT's, as the server's handshake told it; 0: not known
    stream_ids: StreamIds = field(default_factory=StreamIds)
    source: str = ""  # where it was registered from: names it as long as there is no better name
    stream: str = ""  # its name for everybody
    figures: Figures = field(default_factory=Figures)


@dataclass(slots=True, eq=False)
class Peer:
    """A link of a group as the receiver sees it."""

    address: PeerAddress
    group: Group
    joined: float
    last_heard: float
    proven: bool = False  # it registered the group: its address is not forged
    credit: int = 0  # bytes that may be sent to it without proof
    keepalive: wire.Keepalive | None = None  # the sender's last one, with its figures of the link
    lost: int = -1  # packets that the sender missed, at the last look; -1: it has not told yet
    unacknowledged: list[int] = field(default_factory=list)
    batch: list[bytes] = field(default_factory=list)  # SRT packets not accounted for yet
    packets: int = 0
    bytes: int = 0
    counted: int = 0


def earn(peer: Peer, credit: int) -> None:
    """Let a link get so many bytes more, CREDIT_MAX in all at most."""
    peer.credit = min(peer.credit + credit, CREDIT_MAX)


def may(peer: Peer, size: int) -> bool:
    """Whether a link may get so many bytes of the SRT server's."""
    return peer.proven or peer.credit >= size + RESERVE


def in_turn(group: Group, able: list[Peer], now: float) -> list[Peer]:
    """The links of `able` that get an SRT ACK: the next that were heard lately, else those heard last."""
    links = list(group.links.values())
    chosen: list[Peer] = []
    for step in range(len(links)):
        position = (group.turn + step) % len(links)
        peer = links[position]
        if now - peer.last_heard <= FRESH_S and peer in able:
            chosen.append(peer)
            if len(chosen) == ACK_COPIES:
                group.turn = position + 1
                return chosen
    quiet = [peer for peer in able if peer not in chosen]
    quiet.sort(key=lambda peer: -peer.last_heard)
    return chosen + quiet[: ACK_COPIES - len(chosen)]
