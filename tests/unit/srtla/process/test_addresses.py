"""Which address of a receiver is used: one for each family, the next when it fails."""

from __future__ import annotations

import socket

from netbond.srtla.process.addresses import Addresses
from netbond.srtla.process.linksocket import Endpoint


def v4(last: int) -> Endpoint:
    return (socket.AF_INET, f"192.0.2.{last}", 5000)


def v6(last: int) -> Endpoint:
    return (socket.AF_INET6, f"2001:db8::{last}", 5000)


def test_the_first_of_each_family_is_used() -> None:
    addresses = Addresses()
    assert not addresses
    assert addresses.of(4) is None
    assert addresses.found([v6(1), v4(1), v6(2), v4(2)]) == [4, 6]
    assert (addresses.of(4), addresses.of(6)) == (v4(1), v6(1))
    assert sorted(addresses.hosts()) == ["192.0.2.1", "2001:db8::1"]
    assert addresses.found([v6(2), v4(2)]) == [], "what works is used on"


def test_an_address_that_fails_is_replaced_by_the_next_of_its_family() -> None:
    addresses = Addresses()
    names = [v6(1), v4(1), v6(2), v4(2)]
    addresses.found(names)
    addresses.failed(4)
    assert addresses.found([v6(1)]) == [], "the name has none just now"
    assert addresses.found(names) == [4]
    assert (addresses.of(4), addresses.of(6)) == (v4(2), v6(1))
    assert addresses.found(names) == []
    addresses.failed(4)
    assert addresses.found(names) == [4]
    assert addresses.of(4) == v4(1)
    addresses.failed(6)
    assert addresses.found([v6(7), v6(8)]) == [6], "the name has others now"
    assert addresses.of(6) == v6(7)


def test_a_receiver_with_one_address_keeps_it() -> None:
    addresses = Addresses()
    addresses.found([v4(1)])
    addresses.failed(4)
    assert addresses.found([v4(1)]) == []
    assert addresses.found([v4(1), v4(2)]) == [], "that was one failure"


def test_what_the_engine_before_used_comes_first() -> None:
    addresses = Addresses(["192.0.2.2"])
    assert addresses.found([v4(1), v4(2), v6(1), v6(2)]) == [4, 6]
    assert (addresses.of(4), addresses.of(6)) == (v4(2), v6(1))
