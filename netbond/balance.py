"""The ECMP default: which uplinks share the traffic that is bound to none, and by which weights. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from netbond.config import RoutingConfig
from netbond.model import Route, Uplink
from netbond.tables import DEFAULT, nexthop


def reduced(weights: Sequence[int]) -> list[int]:
    """The weights in the smallest whole numbers of the same ratio: [2, 4, 6] -> [1, 2, 3]."""
    divisor = math.gcd(*weights) if weights else 1
    return [weight // divisor for weight in weights]


def ecmp(uplinks: Iterable[Uplink], routing: RoutingConfig) -> list[Route]:
    """The default route over all usable uplinks; no route if none is usable.

    One leg that the kernel refuses would make it refuse the whole route (ENETUNREACH), so a leg must be up.
    """
    usable = [uplink for uplink in uplinks if uplink.usable]
    if not usable:
        return []
    weights = reduced([uplink.weight for uplink in usable])
    if len(usable) == 1:
        weights = [1]
    legs = tuple(nexthop(uplink, weight) for uplink, weight in zip(usable, weights, strict=True))
    return [
        Route(
            routing.ecmp_table,
            DEFAULT[usable[0].address.version],
            nexthops=legs,
            # The kernel gives a single leg without gateway link scope; a multipath route has global scope.
            scope="link" if len(legs) == 1 and legs[0].gateway is None else "global",
            protocol=routing.protocol,
        )
    ]
