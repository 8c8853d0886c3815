"""Makes the carrier of each mode of `netbond send`: what takes the SRT caller's packets over the links."""

from __future__ import annotations

from netbond.srtla.adaptive.bonding import Bonding
from netbond.srtla.classic.classic import Classic
from netbond.srtla.schedule import Carrier


def make_carrier(
    mode: str, latency_s: float | None = None, learnt_s: float | None = None, *, keeps_all: bool = False
) -> Carrier:
    """A carrier for one of netbond.config.schema.MODES.

    `latency_s`: SRT's latency, None to learn it from the handshake. `learnt_s` (its latency) and `keeps_all`
    (no packet may be given up): what the engine before has learnt, used until there is another handshake.
    """
    carrier = Classic() if mode == "classic" else Bonding(latency_s)
    if learnt_s is not None:
        carrier.resume_latency(learnt_s)
    if keeps_all:
        carrier.resume_keeping_all()
    return carrier
