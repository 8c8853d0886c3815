"""Group ids that carry their own proof."""

from __future__ import annotations

from typing import Any

import pytest

from netbond.srtla import wire
from netbond.srtla.registration import psk
from netbond.srtla.registration.keyring import Key, Keyring
from netbond.srtla.registration.ticket import KEY_LENGTH, Tickets, origin

SECRET = bytes(range(KEY_LENGTH))
KEY = b"0123456789abcdef"
HALF = b"h" * wire.HALF_ID
HERE = ("192.0.2.1", 5000)
LIFETIME_S = 5.0


def tickets(secret: bytes = SECRET, key: bytes | None = None) -> Tickets:
    return Tickets(secret, LIFETIME_S, Keyring([] if key is None else [Key(b"another key of it"), Key(key)]))


def test_an_id_is_good_for_one_to_two_lifetimes() -> None:
    issued = tickets().issue(HALF, HERE, 102.0)
    assert len(issued) == wire.ID_LENGTH
    assert issued[: wire.HALF_ID] == HALF
    assert tickets().issue(HALF, HERE, 104.9) == issued, "a repeated REG1 gets the same id"
    good = tickets().check(issued, 102.0)
    assert good == tickets().of(issued)
    assert tickets().check(issued, 109.9) == good
    assert tickets().check(issued, 110.0) is None
    assert tickets().check(issued, 99.0) is None, "from the future"


@pytest.mark.parametrize("position", [0, wire.HALF_ID, wire.HALF_ID + 20, wire.HALF_ID + 96, -1])
def test_an_id_that_was_changed_is_not_good(position: int) -> None:
    forged = bytearray(tickets().issue(HALF, HERE, 0.0))
    forged[position] ^= 1
    assert tickets().check(bytes(forged), 0.0) is None


def test_another_receivers_id_is_not_good() -> None:
    issued = tickets(bytes(KEY_LENGTH)).issue(HALF, HERE, 0.0)
    assert tickets().check(issued, 0.0) is None
    assert not tickets().is_from(issued, HERE)


def test_whose_it_is() -> None:
    issued = tickets().issue(HALF, HERE, 0.0)
    assert tickets().is_from(issued, HERE)
    assert not tickets().is_from(issued, ("192.0.2.1", 5001))
    near, far = (tickets().of(tickets().issue(HALF, (host, 1), 0.0)) for host in ("192.0.2.9", "192.0.3.1"))
    ticket = tickets().of(issued)
    assert (ticket.source == near.source, ticket.prefix == near.prefix) == (False, True)
    assert (ticket.source == far.source, ticket.prefix == far.prefix) == (False, False)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (HERE, ("192.0.2.2", 5000)),
        (HERE, ("192.0.2.1", 5001)),
        (("fe80::1", 5000, 0, 2), ("fe80::1", 5000, 0, 3)),  # of another interface
        (("fe80::1", 5000, 0, 2), ("fe80::2", 5000, 0, 2)),
    ],
)
def test_an_id_is_of_one_address_only(here: tuple[Any, ...], there: tuple[Any, ...]) -> None:
    issued = tickets().issue(HALF, here, 0.0)
    assert tickets().is_from(issued, here)
    assert not tickets().is_from(issued, there)
    assert issued != tickets().issue(HALF, there, 0.0)
    if len(here) == 4:
        assert tickets().is_from(issued, (*here[:2], 7, here[3])), "the flow label is no part of it"


def test_an_id_with_a_key_and_one_without_have_nothing_in_common_behind_the_address() -> None:
    keyed, open_id = (tickets(key=KEY).issue(HALF, HERE, 0.0, key=key) for key in (Key(KEY), None))
    assert keyed[: wire.HALF_ID + 36] == open_id[: wire.HALF_ID + 36]
    assert keyed[wire.HALF_ID + 36 : -32] != open_id[wire.HALF_ID + 36 : -32]
    crossed = keyed[:-32] + open_id[-32:], open_id[:-32] + keyed[-32:]
    assert [tickets(key=KEY).check(each, 0.0) for each in crossed] == [None, None]


def test_the_slot_of_time_comes_first_and_wraps() -> None:
    issued = tickets().issue(HALF, HERE, LIFETIME_S * 0x01020304)
    assert issued[wire.HALF_ID :][:4].hex() == "01020304"
    last = tickets().issue(HALF, HERE, LIFETIME_S * 0xFFFFFFFF)
    assert tickets().check(last, LIFETIME_S * (1 << 32)) is not None
    assert tickets().is_before(last, tickets().issue(HALF, HERE, LIFETIME_S * (1 << 32)))


def test_who_has_the_key_must_show_it_again_to_join() -> None:
    keyed = tickets(key=KEY).issue(HALF, HERE, 0.0, key=Key(KEY))
    assert psk.is_answered(KEY, keyed)
    assert tickets(key=KEY).check(keyed, 0.0) is None, "the answer itself joins nothing"
    sender = psk.first_id(KEY, bytes(wire.ID_LENGTH))
    answer = tickets(key=KEY).issue(sender[: wire.HALF_ID], HERE, 0.0, key=Key(KEY))
    assert tickets(key=KEY).check(psk.joining_id(KEY, answer), 0.0) == tickets(key=KEY).of(answer)
    open_id = tickets(key=KEY).issue(HALF, HERE, 0.0)
    assert tickets(key=KEY).check(open_id, 0.0) is not None
    assert not psk.is_answered(KEY, open_id)


@pytest.mark.parametrize(
    ("host", "source", "prefix"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
    ],
)
def test_whom_quotas_count(host: str, source: str, prefix: str) -> None:
    origin.cache_clear()
    assert origin(host) == (source, prefix)


@pytest.mark.parametrize("key", [None, KEY])
def test_which_of_two_was_issued_first(key: bytes | None) -> None:
    def issued(now: float, address: tuple[str, int] = HERE) -> bytes:
        if key is None:
            return tickets().issue(HALF, address, now)
        half = psk.first_id(key, bytes(wire.ID_LENGTH))[: wire.HALF_ID]
        return psk.joining_id(key, tickets(key=key).issue(half, address, now, key=Key(key)))

    early, late, other = issued(100.0), issued(105.0), issued(105.0, ("192.0.2.1", 5001))
    assert tickets(key=key).is_before(early, late)
    assert not tickets(key=key).is_before(late, early)
    assert not tickets(key=key).is_before(late, late)
    assert not tickets(bytes(KEY_LENGTH), key=key).is_before(early, late), "it is another process's"
    assert Tickets.are_of_one(early, late)
    assert not Tickets.are_of_one(late, other)
