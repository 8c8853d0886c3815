"""Chooses the gateway of an uplink that has several: IPv6 routers, DHCP's option 3, defaults in main. Pure.

The first one counts, in the order of preference and metric, as long as it works. When its checks say that it
is down, the next one takes its place. It is checked on, and takes over again once it is up: the checks hold
it down until it has answered for `hold_down` seconds (netbond.health.judge), so that a router that starts has
time to, and one that comes and goes stays away.

Which gateway is in use the kernel remembers, in the uplink's own table. So an agent that is restarted goes on
with it, and does not try a dead one first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from netbond.model import MAIN_TABLE, GatewayChoice, Health, IPAddress, Route

MOST_GATEWAYS = 8  # of one uplink: each of them is asked all the time

DOWN, UNKNOWN = "down", "unknown"
PROVEN = frozenset({"up", "degraded"})


def in_use(routes: Iterable[Route], protocol: int) -> Mapping[tuple[int, int], IPAddress | None]:
    """Return the gateway of netbond's own default in each table, by table and family (4, 6)."""
    return {
        (route.table, route.family): route.nexthops[0].gateway
        for route in routes
        if route.protocol == protocol
        and not route.destination.prefixlen
        and route.table != MAIN_TABLE
        and len(route.nexthops) == 1
        and not route.nexthop_id
    }


def judged(
    choices: Iterable[GatewayChoice], device: str, address: IPAddress, healths: Iterable[Health]
) -> tuple[GatewayChoice, ...]:
    """Return the choices with what the checks say of them, for this address on this device."""
    mine = [each for each in healths if each.device == device and each.address in (None, address)]
    found = []
    for choice in choices:
        said = [each for each in mine if each.gateway in (None, choice.gateway)]
        health = next((each for each in said if each.state == DOWN), next(iter(said), None))
        if health is None:
            found.append(choice)
        else:
            found.append(replace(choice, state=health.state, reason=health.reason, answers=health.answers))
    return tuple(found)


def choose(
    choices: Sequence[GatewayChoice], used: Iterable[IPAddress | None], *, checked: bool
) -> GatewayChoice:
    """Return the gateway to use. `used` has the one in use; `checked`: there are checks at all.

    The one in use gives way to a better one that is proved to work, and to any other when it is down; at a
    start, when nothing is known of it yet, as soon as it is silent once and another one is proved to work. If
    all are down, one that at least answers itself is used: what is behind it may be back before others are.
    """
    if not checked:
        return choices[0]
    used = tuple(used)
    current = next((choice for choice in choices if choice.gateway in used), None)
    alive = [choice for choice in choices if choice.state != DOWN]
    if not alive:
        answering = [choice for choice in choices if choice.answers]
        if current is not None and (current.answers or not answering):
            return current
        return (answering or choices)[0]
    proven = [choice for choice in alive if choice.state in PROVEN]
    if current is None:
        current = alive[0]
    if current.state == DOWN:
        return (proven or alive)[0]
    if current.state == UNKNOWN and not current.answers and proven:
        return proven[0]
    ahead = choices[: choices.index(current)]
    return next((choice for choice in proven if choice in ahead), current)


def why(choices: Sequence[GatewayChoice], gateway: IPAddress | None) -> str:
    """Return why not the first gateway is in use; "" if it is, or if there is only one."""
    number = next((n for n, choice in enumerate(choices) if choice.gateway == gateway), 0)
    if not number:
        return ""
    return f"gateway {number + 1} of {len(choices)}: {choices[0].gateway} {_trouble(choices[0])}"


def _trouble(choice: GatewayChoice) -> str:
    """What is wrong with a gateway, in words that stay the same while it lasts."""
    if not choice.answers:
        return "does not answer"
    if choice.reason.startswith("answers again"):
        return "answers again, and has to go on for a while"
    return "leads nowhere" if choice.state == DOWN else "is not proved to work yet"
