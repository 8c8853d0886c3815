"""Which policy and which uplink a connection belongs to, and which connections are cut."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.model import Address, IPNetwork
from netbond.policies.connections import Connection, Owners, count, fits, plain, returned, to_cut
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from tests.unit.router_uplinks import USB0, WWAN0

TCP, UDP = 6, 17
MARKS = {(4, 0x64000000): "usb0", (4, 0xC9000000): "wwan0"}
LAN = Address("eth1", ipaddress.ip_interface("192.168.5.1/24"))
ADDRESSES = (LAN, *USB0.addresses, *WWAN0.addresses)


def ip(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(text)


def net(text: str) -> IPNetwork:
    return ipaddress.ip_network(text)


def policy(name: str, match: PolicyMatch, best: int = 1, tier: int = 0, failback: str = "cut") -> PolicyInUse:
    way = PolicyWay(4, match, best, tier or best, ())
    return PolicyInUse(name, 1, 7801, (("usb0",), ("wwan0",)), (way,), failback=failback)


WEB = policy("web", PolicyMatch(protocols=(TCP,), ports=((80, 80), (443, 443))))
GUESTS = policy("guests", PolicyMatch(interfaces=("eth1",)))
REST = policy("rest", PolicyMatch())
FORWARDED = Connection(4, TCP, ip("192.168.5.7"), ip("203.0.113.1"), 443, mark=0xC9000000)
OWN = Connection(4, UDP, ip("10.0.0.10"), ip("203.0.113.1"), 9, own=True, uid=1000)


def owners(*policies: PolicyInUse) -> Owners:
    return Owners(policies, [USB0, WWAN0], ADDRESSES, MARKS)


# --- whose it is -------------------------------------------------------------------------------------------


def test_the_mark_or_the_address_tells_the_uplink() -> None:
    found = owners(REST)
    assert found.uplink(FORWARDED) == "wwan0"
    assert found.uplink(replace(FORWARDED, mark=0x65000000)) == ""
    assert found.uplink(OWN) == "usb0"
    assert found.uplink(replace(OWN, source=ip("192.168.5.1"))) == ""


@pytest.mark.parametrize("destination", ["10.0.1.10", "192.168.5.9"])
def test_what_was_begun_from_outside_is_of_no_policy(destination: str) -> None:
    """A port forward's is sent to the uplink's address; without translation, to a client."""
    assert owners(REST).uplink(replace(FORWARDED, destination=ip(destination))) == ""


def test_the_first_policy_that_fits() -> None:
    found = owners(WEB, GUESTS, REST)
    assert found.policy(FORWARDED) is WEB
    assert found.policy(replace(FORWARDED, port=22)) is GUESTS
    assert found.policy(replace(FORWARDED, port=22, source=ip("192.168.9.9"))) is REST
    assert found.policy(OWN) is REST
    assert owners(WEB, GUESTS).policy(OWN) is None
    assert found.policy(replace(OWN, family=6)) is None


@pytest.mark.parametrize(
    ("match", "own", "forwarded"),
    [
        (PolicyMatch(), True, True),
        (PolicyMatch(destinations=(net("203.0.113.0/24"), net("::/0"))), True, True),
        (PolicyMatch(destinations=(net("198.51.100.0/24"),)), False, False),
        (PolicyMatch(sources=(net("192.168.5.7/32"),)), False, True),
        (PolicyMatch(interfaces=("lo",)), True, False),
        (PolicyMatch(interfaces=("lo",), uids=((1000, 1002),)), True, False),
        (PolicyMatch(uids=((0, 0),)), False, False),
        (PolicyMatch(protocols=(UDP,), ports=((9, 9),)), True, False),
        (PolicyMatch(marks=((0x10, 0xF0),)), True, False),  # of forwarded packets nothing is known
        (PolicyMatch(dscps=(46,)), True, False),
    ],
)
def test_what_a_policy_asks_for(match: PolicyMatch, own: bool, forwarded: bool) -> None:
    assert fits(match, replace(OWN, mark=0x310, dscp=46), "lo") is own
    assert fits(match, FORWARDED, "eth1") is forwarded


def test_counts() -> None:
    others = [replace(OWN, destination=ip("203.0.113.2")), replace(FORWARDED, mark=0)]
    assert count([FORWARDED, OWN, *others], owners(WEB, REST)) == {("web", "wwan0"): 1, ("rest", "usb0"): 2}


# --- when a better tier is back ----------------------------------------------------------------------------


def test_when_a_better_tier_is_back() -> None:
    on_second, none, drained = (
        policy("p", PolicyMatch(), 2),
        policy("p", PolicyMatch(), 0),
        policy("p", PolicyMatch(), 1, failback="drain"),
    )
    first = policy("p", PolicyMatch(), 1)
    assert returned([on_second], [first]) == {("p", 4)}
    for before, now in (
        (first, on_second),
        (first, first),
        (none, first),
        (on_second, none),
        (on_second, drained),
    ):
        assert returned([before], [now]) == set()
    assert returned([], [first]) == set()  # a start


def test_what_is_cut() -> None:
    on_first = replace(FORWARDED, mark=0x64000000)
    assert to_cut([FORWARDED, on_first, OWN], owners(REST), {("rest", 4)}) == [FORWARDED]
    assert to_cut([FORWARDED], owners(WEB, REST), {("rest", 4)}) == []  # another policy's
    assert to_cut([FORWARDED], owners(REST), {("rest", 6)}) == []
    # The better one overflows, so that the worse one is in use, too.
    assert to_cut([FORWARDED], owners(policy("rest", PolicyMatch(), 1, 2)), {("rest", 4)}) == []


def test_addresses() -> None:
    assert plain(b"\n\0\0\1") == ip("10.0.0.1")
    assert plain(ipaddress.ip_address("::ffff:10.0.0.1").packed) == ip("10.0.0.1")
    assert plain(ipaddress.ip_address("2001:db8::1").packed) == ipaddress.ip_address("2001:db8::1")
