"""A receiver with several keys."""

from __future__ import annotations

import random

from netbond.srtla import wire
from netbond.srtla.receiver.events import KeyRefused
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.registration import psk
from netbond.srtla.registration.keyring import Key, Keyring
from netbond.srtla.streamid import display_name

ALICE, BOB = Key(b"0123456789abcdef", "alice"), Key(b"fedcba9876543210", "bob")
NAMELESS = Key(b"aaaaaaaabbbbbbbb")
RING = Keyring([ALICE, BOB, NAMELESS])
A = ("192.0.2.1", 1001)


def test_the_key_that_a_sender_knows() -> None:
    for key in (ALICE, BOB, NAMELESS):
        asked = psk.first_id(key.secret, random.Random(1).randbytes(wire.ID_LENGTH))
        assert RING.of_half(asked[: wire.HALF_ID]) == key
        answer = asked[: wire.HALF_ID] + bytes(wire.HALF_ID)
        assert RING.of_member(psk.joining_id(key.secret, answer)) == (key, answer)
        assert RING.of_member(answer) is None
        assert Keyring([each for each in (ALICE, BOB) if each != key]).of_half(asked[: wire.HALF_ID]) is None
    assert RING.of_half(bytes(wire.HALF_ID)) is None


def test_without_keys() -> None:
    assert RING
    assert not Keyring()
    assert Keyring().of_half(bytes(wire.HALF_ID)) is None
    assert Keyring().of_member(bytes(wire.ID_LENGTH)) is None


def joined(receiver: Receiver, secret: bytes | None) -> bytes | None:
    """The id of the group that a sender with this key has made; None: it was refused."""
    own = random.Random(2).randbytes(wire.ID_LENGTH)
    asked = own if secret is None else psk.first_id(secret, own)
    receiver.datagram_from_peer(A, wire.build_registration(wire.REG1, asked), 50.0)
    ((_, data),) = receiver.datagrams_to_peers()
    group = wire.parse_registration(data)
    if group is None:
        return None
    if secret is not None:
        assert psk.is_answered(secret, group)
        group = psk.joining_id(secret, group)
    receiver.datagram_from_peer(A, wire.build_registration(wire.REG2, group), 50.0)
    assert [data for _, data in receiver.datagrams_to_peers()] == [wire.REG3_PACKET]
    return group


def test_a_stream_has_the_name_of_its_key() -> None:
    for key, name in ((ALICE, "alice"), (BOB, "bob"), (NAMELESS, "192.0.2.1")):
        receiver = Receiver(random.Random(3).randbytes, 50.0, keys=[ALICE, BOB, NAMELESS], require_key=True)
        group = joined(receiver, key.secret)
        assert group is not None
        assert [(g["stream"], g["keyed"]) for g in receiver.stats(51.0)] == [(name, True)]
        successor = Receiver(random.Random(4).randbytes, 50.0, keys=[ALICE, BOB, NAMELESS])
        (number,) = successor.restore([(group, [A])], 50.0)
        successor.restore_stream_id(number, "live/feed1")
        named = [g["stream"] for g in successor.stats(51.0)]
        assert named == [name] if key.name else named[0].startswith("live/~")


def test_another_key_is_none_of_several() -> None:
    receiver = Receiver(random.Random(3).randbytes, 50.0, keys=[ALICE, BOB])
    assert joined(receiver, NAMELESS.secret) is None
    assert receiver.events() == [KeyRefused(A, claimed=True)]
    assert joined(receiver, None) is not None, "no key at all is allowed"
    assert [g["keyed"] for g in receiver.stats(51.0)] == [False]


def test_no_stream_id_is_taken_for_the_name_of_a_key() -> None:
    receiver = Receiver(random.Random(3).randbytes, 50.0, keys=[ALICE], show_stream_ids=True)
    assert joined(receiver, None) is not None
    for stream_id, name in (("bob", "bob"), ("alice", display_name("alice"))):
        receiver.restore_stream_id(1, stream_id)
        assert [group["stream"] for group in receiver.stats(51.0)] == [name]
