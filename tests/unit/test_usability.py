"""Which uplinks new traffic may use, given what checks say; and never none while one has its link."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.engines.address_list import render
from netbond.health.judge import DEGRADED, DOWN, UNKNOWN, UP
from netbond.model import Facts, Health, IPAddress, Uplink, UplinkState
from netbond.usability import alive, apply_policy

Key = tuple[str, IPAddress]
NONE: frozenset[Key] = frozenset()


def uplink(device: str, address: str = "", state: str = "up") -> Uplink:
    """usb3 has 10.0.3.10/24, unless said otherwise."""
    interface = ipaddress.ip_interface(address or f"10.0.{device[-1]}.10/24")
    return Uplink(device, interface, None, "configuration", 100 + int(device[-1]), state=UplinkState(state))


def health(of: Uplink, state: str, reason: str = "") -> Health:
    return Health(of.device, of.family, state, reason, address=of.address.ip)


def key(of: Uplink) -> Key:
    return (of.device, of.address.ip)


def chosen(uplinks: list[Uplink], healths: list[Health], previous: frozenset[Key]) -> frozenset[Key]:
    """Which uplinks are usable, after those of `previous` were."""
    facts = Facts(health=tuple(healths), alive=previous)
    return alive(apply_policy(uplinks, facts, dead_leave_list=True))


U0, U1, U2 = uplink("usb0"), uplink("usb1"), uplink("usb2")
SIX = uplink("usb0", "2001:db8::10/64")
TWIN0, TWIN1 = uplink("usb0", "192.168.8.100/24"), uplink("usb1", "192.168.8.100/24")


def keys(*of: Uplink) -> frozenset[Key]:
    return frozenset(key(u) for u in of)


@pytest.mark.parametrize(
    ("uplinks", "down", "previous", "expected"),
    [
        ([U0, U1], [], NONE, keys(U0, U1)),
        ([U0, U1], [U0], keys(U0, U1), keys(U1)),
        # All down: the last state stays.
        ([U0, U1], [U0, U1], keys(U1), keys(U1)),
        ([U0, U1], [U0, U1], keys(U0, U1), keys(U0, U1)),
        # All down and no last state, at a start: all.
        ([U0, U1], [U0, U1], NONE, keys(U0, U1)),
        # All down, and the last one's link is gone: what there is.
        ([uplink("usb0", state="no carrier"), U1, U2], [U1, U2], keys(U0), keys(U1, U2)),
        # Back from the brink: only what is alive.
        ([U0, U1], [U0], keys(U0), keys(U1)),
        # One family dead, the other alive: each for itself.
        ([U0, SIX], [U0], keys(U0, SIX), keys(U0, SIX)),
        ([U0, U1, SIX], [U0], keys(U0, U1, SIX), keys(U1, SIX)),
        # Twins have one address and two healths.
        ([TWIN0, TWIN1], [TWIN0], keys(TWIN0, TWIN1), keys(TWIN1)),
        # What has no link is not used, whatever its health was.
        ([uplink("usb0", state="down"), U1], [], NONE, keys(U1)),
        ([uplink("usb0", state="down")], [], keys(U0), NONE),
        ([], [], keys(U0), NONE),
    ],
)
def test_usable(
    uplinks: list[Uplink], down: list[Uplink], previous: frozenset[Key], expected: frozenset[Key]
) -> None:
    healths = [health(u, DOWN if u in down else UP) for u in uplinks]
    assert chosen(uplinks, healths, previous) == expected


@pytest.mark.parametrize("state", [UP, DEGRADED, UNKNOWN])
def test_only_down_is_unusable(state: str) -> None:
    assert chosen([U0, U1], [health(U0, state), health(U1, UP)], NONE) == keys(U0, U1)


def test_an_uplink_without_health_counts() -> None:
    assert chosen([U0, U1], [health(U1, DOWN)], NONE) == keys(U0)


MANY = st.lists(
    st.tuples(st.sampled_from(["up", "down", "no carrier"]), st.sampled_from([UP, DEGRADED, DOWN, UNKNOWN])),
    min_size=1,
    max_size=8,
)


@given(st.lists(MANY, min_size=1, max_size=6), st.booleans())
def test_never_without_a_route(history: list[list[tuple[str, str]]], both: bool) -> None:
    previous: frozenset[Key] = frozenset()
    for moment in history:
        uplinks = [uplink(f"usb{i}", state=link) for i, (link, _) in enumerate(moment)]
        if both:
            uplinks += [uplink(f"usb{i}", f"2001:db8:{i}::1/64") for i in range(len(moment))]
        healths = [health(u, state) for u, (_, state) in zip(uplinks, moment * 2, strict=False)]
        previous = chosen(uplinks, healths, previous)
        linked = [u for u in uplinks if u.state == "up"]
        assert {k[1].version for k in previous} == {u.address.version for u in linked}
        assert previous <= keys(*linked)
        # Whoever is alive is used, and a dead one is not used beside one of its family that is alive.
        states = {key(u): h.state for u, h in zip(uplinks, healths, strict=True)}
        living = {key(u) for u in linked if states[key(u)] != DOWN}
        assert living <= previous
        assert not {k[1].version for k in previous - living} & {k[1].version for k in living}


def test_the_dead_are_marked_and_the_rest_left_alone() -> None:
    gone = uplink("usb2", state="down")
    facts = Facts(health=(health(U0, DOWN, "gateway: silence"), health(U1, UP)))
    dead, living, down = apply_policy([U0, U1, gone], facts, dead_leave_list=True)
    assert (dead.state, dead.reason) == (UplinkState.DEAD, "gateway: silence")
    assert (dead.usable, dead.in_list) == (False, False)
    assert (living, down) == (U1, gone)
    # Its table stays complete: of an interface that is down only `unreachable` would remain.


def test_those_that_are_used_because_all_are_dead_say_so() -> None:
    facts = Facts(health=(health(U0, DOWN, "a"), health(U1, DOWN, "b"), health(SIX, UP)), alive=keys(U0, SIX))
    assert [(u.state, u.reason) for u in apply_policy([U0, U1, SIX], facts, dead_leave_list=True)] == [
        ("up", "used because all are dead: a"),
        (UplinkState.DEAD, "b"),
        ("up", ""),
    ]


def test_the_list_with_and_without_the_dead() -> None:
    facts = Facts(health=(health(U0, DOWN),))
    uplinks = [U0, U1, uplink("usb2", state="down")]
    assert render(apply_policy(uplinks, facts, dead_leave_list=True)) == "10.0.1.10\n"
    assert render(apply_policy(uplinks, facts, dead_leave_list=False)) == "10.0.0.10\n10.0.1.10\n"
