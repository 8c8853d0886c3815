"""The statistics of the sender and receiver engines, as types from which docs/send.md and recv.md are made.

Types only, so that the agent can read what an engine says without loading the engine. Keys are the names of
the fields, in their order (netbond.system.typed_json). Rates are those of the last second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from netbond.srtla.advice import Certainty
from netbond.system.typed_json import doc

Flavour = Literal["compiled", "pure"]
_STREAM_ID = "the SRT stream id that its caller asked for; for root only, as it is often a secret"
_FLAVOUR = "`compiled`, or `pure`: Python runs all of it, at two to four times the CPU time"


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """One link of a sender."""

    label: str = field(metadata=doc("as given"))
    address: str = field(metadata=doc("as given"))
    device: str = field(metadata=doc('as given; `""` is any'))
    priority: int = field(metadata=doc("as given"))
    enabled: bool = field(metadata=doc("as given; a link that is not enabled is kept up and carries nothing"))
    state: str = field(metadata=doc("`up`, `registering`, `down` (timed out), `error` (no socket)"))
    reason: str = field(
        metadata=doc('why it is not up, or stalled, or idle, or carries small packets only; `""`')
    )
    window: int = field(metadata=doc("thousandths of a packet that may be in flight"))
    in_flight: int = field(metadata=doc("packets that are in flight"))
    rtt_ms: int | None = field(metadata=doc("smoothed round trip time; null: not known yet"))
    silent_ms: int | None = field(
        metadata=doc(
            "since the last sign of life; up to a second on a good link, which is asked once a second;"
            " null: none yet"
        )
    )
    packets: int = field(metadata=doc("sent, control packets included"))
    bytes: int = field(metadata=doc("sent, control packets included"))
    lost: int = field(metadata=doc("data packets reported lost, and full-size keepalives not answered"))
    loss_pct: float = field(metadata=doc("0 to 100, of these packets, over the last 10 s"))
    bitrate_bps: int = field(metadata=doc("sent, bit/s"))
    metered: bool = field(
        default=False, metadata=doc("what it carries costs money, so nothing is sent only to measure it")
    )
    capacity_bits_per_second: int | None = field(
        default=None, metadata=doc("SRT payload that it can carry now; null: not known, or classic")
    )
    capacity_is: Certainty = field(
        default="unknown",
        metadata=doc(
            "`measured` (it was full within the last 2 s), `at_least` (it carried that, and was not full),"
            " `remembered` (it was full earlier), `unknown`"
        ),
    )
    capacity_age_ms: int | None = field(
        default=None, metadata=doc("since it was last full; null: never, or classic")
    )
    queued_ms: int | None = field(
        default=None,
        metadata=doc("time that packets wait in it, beyond its shortest round trip; null: classic"),
    )
    receiver_address: str | None = field(
        default=None,
        metadata=doc("the receiver's address that it uses, of its own family; null: none is known"),
    )


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """What a sender tells each second."""

    role: Literal["sender"] = field(metadata=doc('`"sender"`'))
    listen: str = field(metadata=doc("where the SRT caller connects"))
    receiver: str = field(metadata=doc("as configured; of several the one in use"))
    receiver_address: str | None = field(
        metadata=doc("the address in use, of the first link that has one; null: none is known yet")
    )
    caller: str | None = field(metadata=doc("`ip:port` of the SRT caller; null: none has connected yet"))
    state: str = field(metadata=doc("`resolving`, `registering`, `connected`, `no links`"))
    group: str | None = field(metadata=doc("first 8 hex digits of the group's id; null: none yet"))
    packets: int = field(metadata=doc("from the SRT caller"))
    bytes: int = field(metadata=doc("from the SRT caller"))
    retransmitted: int = field(metadata=doc("of these packets, sent again by the SRT caller (R flag)"))
    resent: int = field(
        metadata=doc(
            "packets sent again by netbond: their link lost them, died or stalled; keyframes' copies"
        )
    )
    dropped: int = field(metadata=doc("packets without a usable link, or too late"))
    late: int | None = field(
        default=None,
        metadata=doc(
            "of these, given up because no link could bring them in time (adaptive only)", omit=True
        ),
    )
    spared: int | None = field(
        default=None,
        metadata=doc(
            "repeats of the SRT caller that were not sent, as the packet was on its way (adaptive only)",
            omit=True,
        ),
    )
    probed: int | None = field(
        default=None,
        metadata=doc(
            "copies sent only to measure a link, at most 2 % of the bytes (adaptive only)",
            omit=True,
        ),
    )
    keyframes: int | None = field(
        default=None,
        metadata=doc("of the caller's packets, those that carry keyframes (adaptive only)", omit=True),
    )
    held: int | None = field(
        default=None, metadata=doc("packets that wait for a link at present (adaptive only)", omit=True)
    )
    evicted: int | None = field(
        default=None,
        metadata=doc(
            "packets forgotten before the server had them, for want of memory (adaptive only)", omit=True
        ),
    )
    links: tuple[LinkStatistics, ...] = field(default=(), metadata=doc("in the order of the list"))
    latency_ms: int | None = field(
        default=None, metadata=doc("SRT's latency, as a handshake told it; null: not known, or classic")
    )
    capacity_bits_per_second: int | None = field(
        default=None,
        metadata=doc("SRT payload that the links that are up can carry now, together; null: not known"),
    )
    advised_bits_per_second: int | None = field(
        default=None,
        metadata=doc(
            "SRT payload that may be offered now so that at most 0.1 % is lost (docs/advice.md);"
            " null: not known, or classic"
        ),
    )
    queued_ms: int | None = field(
        default=None, metadata=doc("time that the links take for all that waits; null: not known, or classic")
    )
    caller_silent_ms: int | None = field(
        default=None, metadata=doc("since the SRT caller was last heard; null: there is none")
    )
    caller_closed: bool = field(
        default=False, metadata=doc("whether the SRT connection has been closed, by either end")
    )
    callers_refused: int = field(
        default=0, metadata=doc("handshakes of other SRT callers that were refused while one was connected")
    )
    problems: tuple[str, ...] = field(
        default=(),
        metadata=doc(
            "what is wrong now and no link's own trouble, one line each: another SRT caller is refused, the"
            " receiver or its SRT server does not answer"
        ),
    )
    stream: str = field(
        default="",
        metadata=doc('the name of the stream, made of its id ([streams.md](streams.md)); `""`: it has none'),
    )
    stream_id: str = field(default="", metadata=doc(_STREAM_ID, omit=True))
    flavour: Flavour | None = field(default=None, metadata=doc(_FLAVOUR, omit=True))


@dataclass(frozen=True, slots=True)
class SenderView:
    """A link as its sender sees it, told in extended keepalives."""

    link: int = field(metadata=doc("its number"))
    rtt_ms: int = field(metadata=doc("round trip time"))
    window: int = field(metadata=doc("packets that may be in flight"))
    in_flight: int = field(metadata=doc("packets that are"))
    naks: int = field(metadata=doc("packets reported lost"))
    bitrate_bps: int = field(metadata=doc("sent, bit/s"))


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """One link of a group, as the receiver sees it."""

    peer: str = field(metadata=doc("`ip:port`"))
    packets: int = field(metadata=doc("SRT packets received"))
    bytes: int = field(metadata=doc("of these packets"))
    bitrate_bps: int = field(metadata=doc("received, bit/s"))
    idle_s: float = field(metadata=doc("seconds since it was last heard"))
    age_s: int = field(default=0, metadata=doc("seconds since it joined"))
    sender: SenderView | None = field(
        default=None,
        metadata=doc(
            "as the sender sees the link; absent if it does not tell (extended keepalives)", omit=True
        ),
    )


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """One group of links: an SRT stream."""

    id: str = field(metadata=doc("first 8 hex digits"))
    keyed: bool = field(metadata=doc("whether its sender has shown that it knows the key"))
    age_s: int = field(metadata=doc("seconds since its first link joined"))
    packets: int = field(metadata=doc("SRT packets received"))
    bytes: int = field(metadata=doc("of these packets"))
    bitrate_bps: int = field(metadata=doc("received, bit/s"))
    links: tuple[PeerStatistics, ...] = field(metadata=doc("the links that have joined"))
    srt_port: int = field(metadata=doc("the local port towards the SRT server; 0: not opened yet"))
    loss_pct: float | None = field(
        default=None,
        metadata=doc(
            "0 to 100, packets that its links lost over the last 10 s, as the sender tells; most of these"
            " came again; null: it does not tell"
        ),
    )
    stream: str = field(default="", metadata=doc("the name of the stream ([streams.md](streams.md))"))
    server: str = field(default="", metadata=doc('the SRT server that gets it; `""`: not known yet'))
    stream_id: str = field(default="", metadata=doc(_STREAM_ID, omit=True))
    live: bool = field(
        default=False,
        metadata=doc(
            "whether packets of the stream came within the last 2 s, and the SRT server acknowledges them"
        ),
    )
    uptime_s: int | None = field(
        default=None,
        metadata=doc("since the SRT server accepted the caller; null: it has not, or has closed it again"),
    )
    latency_ms: int | None = field(
        default=None, metadata=doc("SRT's latency, as the server's handshake told it; null: not known")
    )
    payload_packets: int = field(
        default=0, metadata=doc("data packets of this SRT connection, each counted once")
    )
    payload_bytes: int = field(default=0, metadata=doc("of these packets, without SRT's headers"))
    payload_bps: int = field(default=0, metadata=doc("the stream's own rate: of this payload, bit/s"))
    rtt_ms: float | None = field(
        default=None,
        metadata=doc("round trip time to the SRT caller, as the SRT server tells it; null: not known"),
    )
    lost_packets: int = field(
        default=0, metadata=doc("packets that the SRT server missed and asked for again, each counted once")
    )
    dropped_packets: int = field(
        default=0,
        metadata=doc(
            "packets that the SRT server gave up: it passed them in its ACKs, and they had not arrived here"
        ),
    )
    receive_buffer_ms: int | None = field(
        default=None,
        metadata=doc("what waits in the SRT server's buffer, at the present rate; null: not known"),
    )
    srt_capacity_bps: int | None = field(
        default=None,
        metadata=doc(
            "what the SRT server takes for the capacity, bit/s; it knows nothing of several links; null:"
            " not known"
        ),
    )


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """One process of a receiver with several."""

    groups: int = field(metadata=doc("how many it has"))
    links: int = field(metadata=doc("how many it has"))
    bitrate_bps: int = field(metadata=doc("received, bit/s"))


@dataclass(frozen=True, slots=True)
class ReceiverStatistics:
    """What a receiver tells each second."""

    role: Literal["receiver"] = field(metadata=doc('`"receiver"`'))
    listen: str = field(metadata=doc("where senders connect"))
    srt: str = field(metadata=doc("the SRT server"))
    groups: tuple[GroupStatistics, ...] = field(metadata=doc("one per SRT stream"))
    groups_left_out: int = field(
        metadata=doc(
            "groups that the message had no room for: the busiest come first, all 200 fit with four"
            " links each"
        )
    )
    problems: tuple[str, ...] = field(
        default=(),
        metadata=doc("what is wrong now, one line each: nothing listens at an SRT server", omit=True),
    )
    workers: tuple[WorkerStatistics, ...] = field(
        default=(), metadata=doc("with `--workers` above 1 only, one for each", omit=True)
    )
    refused: Mapping[str, int] = field(
        default_factory=dict,
        metadata=doc(
            "counters: `table_full`, `quota`, `key` and `link_conflict` (REG_ERR sent), `unknown_peer`"
            " (packets from strangers), `plain_srt` (handshakes of SRT callers without SRTLA), `unproven`"
            " (held back: no link may get it), `srt_unreachable` (packets that the SRT server refused by"
            " ICMP), `send_failed` (packets the kernel did not take)"
        ),
    )
    flavour: Flavour | None = field(default=None, metadata=doc(_FLAVOUR, omit=True))


EngineStatistics = SenderStatistics | ReceiverStatistics


def for_everybody(stats: EngineStatistics) -> EngineStatistics:
    """The statistics without the ids of streams, which are often secrets."""
    if isinstance(stats, SenderStatistics):
        return replace(stats, stream_id="")
    return replace(stats, groups=tuple(replace(group, stream_id="") for group in stats.groups))
