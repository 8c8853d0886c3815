"""The modes of `netbond send`: how the SRT caller's packets get over the links."""

from __future__ import annotations

from netbond.srtla.adaptive.bonding import Bonding
from netbond.srtla.classic.classic import Classic
from netbond.srtla.schedule import Carrier

MODES = ("adaptive", "classic")
DEFAULT_MODE = "adaptive"


def make_carrier(mode: str, latency: float | None = None, learnt: float | None = None) -> Carrier:
    """A carrier for one of MODES. `latency`: SRT's, in s, if it is not to be learnt from the handshake.
    `learnt`: what a predecessor has learnt so, until there is another handshake."""
    carrier = Classic() if mode == "classic" else Bonding(latency)
    if learnt is not None:
        carrier.resume_latency(learnt)
    return carrier
