"""What a sender tells an encoder: what its links carry now, and the rate at which payload may be offered.

Types only. Rates are bit/s of SRT payload, so without the headers of SRT, UDP and IP: what an encoder with
its container gives to SRT. The adaptive mode makes the estimates (netbond/srtla/adaptive/advising.py,
docs/advice.md); the sender gives them out as the event `Advised`, EVERY_S apart while a stream runs, and at
once when the advice falls by FALL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from netbond.system.typed_json import doc

EVERY_S: Final = 0.2
FALL: Final = 0.1  # of the advice that was given out last

Certainty = Literal["measured", "at_least", "remembered", "unknown"]


@dataclass(frozen=True, slots=True)
class LinkAdvice:
    """What one link carries now."""

    label: str = field(metadata=doc("as given"))
    state: str = field(metadata=doc("as in the statistics"))
    capacity_bits_per_second: int | None = field(
        metadata=doc("SRT payload that it can carry now; null: nothing is known")
    )
    capacity_is: Certainty = field(
        metadata=doc(
            "`measured` (it was full within the last 2 s), `at_least` (it carried that, and was not full),"
            " `remembered` (it was full earlier), `unknown`"
        )
    )
    capacity_age_ms: int | None = field(metadata=doc("since it was last full; null: never"))
    queued_ms: int = field(metadata=doc("time that packets wait in the link, beyond its shortest round trip"))
    rtt_ms: int | None = field(metadata=doc("smoothed round trip time; null: not known yet"))
    loss_pct: float = field(metadata=doc("0 to 100, as in the statistics"))
    bitrate_bps: int = field(metadata=doc("sent over the last second, bit/s, headers of SRT included"))


@dataclass(frozen=True, slots=True)
class Advice:
    """What the bond carries now."""

    advised_bits_per_second: int = field(
        metadata=doc(
            "SRT payload that may be offered now, so that at most 0.1 % of it is lost at the stream's latency"
        )
    )
    capacity_bits_per_second: int = field(
        metadata=doc(
            "SRT payload that the links that are up can carry now, together, as far as they have shown it;"
            " the advice may be larger: only links that are full show what they carry"
        )
    )
    queued_ms: int = field(metadata=doc("time that the links take for all that waits"))
    latency_ms: int = field(metadata=doc("SRT's, or 1000 until a handshake has told it"))
    loss_pct: float = field(metadata=doc("0 to 100, of the stream: given up or lost for good, last 10 s"))
    rtt_ms: int | None = field(metadata=doc("the shortest of the links that are up; null: not known yet"))
    links: tuple[LinkAdvice, ...] = field(default=(), metadata=doc("in the order of the list"))
