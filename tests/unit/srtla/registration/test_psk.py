"""The pre-shared key: who gets in with it, who does not without, and what a recording of it is worth."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from netbond.cli import main
from netbond.errors import UsageError
from netbond.srtla import wire
from netbond.srtla.receiver.events import KeyRefused
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.receiver import Receiver
from netbond.srtla.registration import psk
from netbond.srtla.registration.keyring import Key
from netbond.srtla.senderevents import Refused, Unproven
from tests.srtla_util import FakeLink, Network

KEY = b"0123456789abcdef"
OTHER = b"fedcba9876543210"


def network(keys: tuple[bytes | None, bytes | None], require: tuple[bool, bool] = (False, False)) -> Network:
    made = Network([FakeLink(0.01), FakeLink(0.02)], keys=keys, require=require)
    made.run(3.0)
    return made


@pytest.mark.parametrize("require", [(False, False), (True, False), (False, True), (True, True)])
def test_both_know_it(require: tuple[bool, bool]) -> None:
    bond = network((KEY, KEY), require)
    assert bond.sender.usable_links == 2
    (group,) = bond.receiver.stats(bond.now)
    assert group["keyed"] is True
    assert not any(isinstance(event, Refused | Unproven) for event in bond.sender_events)
    bond.stream(7, 100)
    bond.run(1.0)
    assert sorted(bond.arrived) == list(range(7, 107))
    assert bond.receiver.refused == dict.fromkeys(bond.receiver.refused, 0)


def test_a_receiver_without_a_key_notices_nothing() -> None:
    bond = network((KEY, None))
    assert bond.sender.usable_links == 2
    assert [event for event in bond.sender_events if isinstance(event, Unproven)] == [Unproven(used=True)]
    assert bond.receiver.stats(bond.now)[0]["keyed"] is False


def test_a_sender_can_insist_on_it() -> None:
    bond = network((KEY, None), (True, False))
    assert bond.sender.usable_links == 0
    assert bond.sender.group is None
    assert Unproven(used=False) in bond.sender_events
    assert bond.receiver.groups() == []


def test_a_sender_without_a_key_is_served_unless_the_receiver_insists() -> None:
    bond = network((None, KEY))
    assert bond.sender.usable_links == 2
    assert bond.receiver.stats(bond.now)[0]["keyed"] is False
    bond = network((None, KEY), (False, True))
    assert bond.sender.usable_links == 0
    refused = [event for event in bond.sender_events if isinstance(event, Refused)]
    assert refused[0].why == "refused by the receiver: it wants a key"
    assert [event.claimed for event in bond.receiver_events if isinstance(event, KeyRefused)] == [False]


@pytest.mark.parametrize("require", [False, True])
def test_a_wrong_key_is_refused_and_both_ends_say_so(require: bool) -> None:
    bond = network((OTHER, KEY), (False, require))
    assert bond.sender.usable_links == 0
    refused = [event for event in bond.sender_events if isinstance(event, Refused)]
    assert refused[0].why == "refused by the receiver: it has another key"
    assert bond.sender.stats(bond.now)["links"][0]["reason"] == refused[0].why
    assert [event.claimed for event in bond.receiver_events if isinstance(event, KeyRefused)] == [True]
    assert bond.receiver.refused["key"] > 1
    bond.run(60)
    told = sum(isinstance(event, KeyRefused) for event in bond.receiver_events)
    assert 2 <= told <= 7, "now and then, not for each"


# --- what others can do with what they saw -----------------------------------------------------------------

A: PeerAddress = ("192.0.2.1", 1001)
THIEF: PeerAddress = ("198.51.100.1", 1)


def receiver(seed: int, *, require: bool = True) -> Receiver:
    return Receiver(random.Random(seed).randbytes, 50.0, keys=[Key(KEY)], require_key=require)


def ask(receiver: Receiver, address: PeerAddress, kind: int, group: bytes, now: float = 50.0) -> bytes:
    receiver.datagram_from_peer(address, wire.build_registration(kind, group), now)
    ((to, answer),) = receiver.datagrams_to_peers()
    assert to == address
    assert len(answer) <= wire.REG_LENGTH
    return answer


def first() -> bytes:
    return psk.first_id(KEY, random.Random(5).randbytes(256))


@pytest.mark.parametrize("require", [False, True])
def test_a_recorded_registration_makes_no_group(require: bool) -> None:
    keyed = receiver(1, require=require)
    answer = wire.parse_registration(ask(keyed, THIEF, wire.REG1, first()))
    assert answer is not None
    assert psk.is_answered(KEY, answer)
    assert ask(keyed, THIEF, wire.REG2, answer) == wire.REG_NGP_PACKET  # the thief cannot make the third tag
    forged = answer[: psk.NONCE] + bytes(psk.TAG) + answer[wire.HALF_ID :]
    assert ask(keyed, THIEF, wire.REG2, forged) == wire.REG_NGP_PACKET
    joined = psk.joining_id(KEY, answer)
    assert ask(keyed, THIEF, wire.REG2, joined) == wire.REG3_PACKET  # who knows the key can


def test_a_recorded_join_is_worth_nothing_elsewhere_or_later() -> None:
    answer = wire.parse_registration(ask(receiver(1), A, wire.REG1, first()))
    assert answer is not None
    joined = psk.joining_id(KEY, answer)
    assert ask(receiver(2), THIEF, wire.REG2, joined) == wire.REG_NGP_PACKET
    late = receiver(1)
    assert ask(late, THIEF, wire.REG2, joined, 50.0 + 11) == wire.REG_NGP_PACKET


def test_no_tag_passes_for_another() -> None:
    keyed = receiver(1)
    answer = wire.parse_registration(ask(keyed, A, wire.REG1, first()))
    assert answer is not None
    assert not psk.is_answered(KEY, first()), "a REG1 sent back to its sender"
    assert psk.issued_id(KEY, first()) is None
    assert psk.issued_id(KEY, answer) is None, "an answer sent back to the receiver"
    assert wire.packet_type(ask(keyed, A, wire.REG1, answer)) == wire.REG_ERR
    joined = psk.joining_id(KEY, answer)
    assert psk.issued_id(KEY, joined) == answer
    assert not psk.is_keyed_half(KEY, joined[: wire.HALF_ID])


def answered(key: bytes) -> tuple[bytes, bytes, bytes]:
    """The ids of REG1, of its answer, and to join with."""
    first = psk.first_id(key, bytes(range(256)))
    signed = first[: wire.HALF_ID] + bytes(96)
    issued = signed + psk.receiver_tag(key, signed)
    return first, issued, psk.joining_id(key, issued)


def test_the_tags_are_those_of_all_versions() -> None:
    """Both ends may be of unlike versions: keyed BLAKE2b, as docs/srtla.md says, with these purposes."""
    first, issued, joining = answered(KEY)
    assert first[:96] == bytes(range(96))
    assert first[96:128].hex() == "0c8bf88805e31b466175a9830cb232c48903794b510d369528d12270708994ff"
    assert first[128:] == b"netbond key  1\0\0" + bytes(range(144, 256))
    assert issued[:128] == first[:128]
    assert issued[-32:].hex() == "fa764ded2aa7e6f1586e776ecb480b7aeb9946a4740e9e442640cd754ee4275b"
    assert joining[:96] + joining[128:] == issued[:96] + issued[128:]
    assert joining[96:128].hex() == "ad8e4d8db1e120d339bebc8588c12e2199684276f215749773120a58a0e1f8d5"
    assert psk.issued_id(KEY, joining) == issued


@pytest.mark.parametrize("position", [0, 50, 95, 96, 127, 128, 223, 224, 255])
def test_each_byte_of_what_a_tag_covers_counts(position: int) -> None:
    first, issued, joining = answered(KEY)

    def changed(data: bytes) -> bytes:
        return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

    if position < wire.HALF_ID:
        assert psk.is_keyed_half(KEY, first[: wire.HALF_ID])
        assert not psk.is_keyed_half(KEY, changed(first)[: wire.HALF_ID])
    assert psk.is_answered(KEY, issued)
    assert not psk.is_answered(KEY, changed(issued))
    assert psk.issued_id(KEY, changed(joining)) is None
    assert not psk.is_keyed_half(KEY, first)


def test_an_answer_that_is_not_to_this_registration_is_not_believed() -> None:
    bond = network((KEY, KEY), (True, True))
    before = bond.sender.group
    answer = wire.parse_registration(ask(receiver(3), A, wire.REG1, first()))
    assert answer is not None
    bond.sender.datagram_from_receiver(1, wire.build_registration(wire.REG2, answer), bond.now)
    assert bond.sender.group == before


# --- the file ----------------------------------------------------------------------------------------------


def key_file(tmp_path: Path, content: bytes = KEY + b"\n", mode: int = 0o600) -> Path:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_file_is_read_without_the_white_space_around_it(tmp_path: Path) -> None:
    assert psk.read(key_file(tmp_path)) == KEY
    assert psk.read(key_file(tmp_path, mode=0o640)) == KEY


@pytest.mark.parametrize(
    ("mode", "words"),
    [(0o644, "others can read"), (0o602, "others can read or write"), (0o620, "others can read or write")],
)
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        psk.read(key_file(tmp_path, mode=mode))
    assert "chmod 600" in str(refused.value.hint)


def test_what_is_no_good_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="No such file"):
        psk.read(tmp_path / "none")
    link = tmp_path / "link"
    link.symlink_to(key_file(tmp_path))
    with pytest.raises(UsageError, match="is a symbolic link"):
        psk.read(link)
    with pytest.raises(UsageError, match="is not a regular file"):
        psk.read(tmp_path)
    with pytest.raises(UsageError, match="15 bytes are too few"):
        psk.read(key_file(tmp_path, KEY[1:] + b"\n"))
    with pytest.raises(UsageError, match="is larger than 4096 bytes"):
        psk.read(key_file(tmp_path, bytes(4097)))
    if os.geteuid() == 0:
        path = key_file(tmp_path)
        os.chown(path, 65534, 65534)
        with pytest.raises(UsageError, match="belongs to somebody else"):
            psk.read(path)


@pytest.mark.parametrize(
    "command", [["send", "6000", "127.0.0.1", "5000", "ips"], ["recv", "--srtla-port=1"]]
)
def test_insisting_on_a_key_takes_one(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--srt-port=2"] if command[0] == "recv" else []
    before = signal.getsignal(signal.SIGHUP)
    try:
        assert main([*command, *more, "--require-key"]) == 64
    finally:
        signal.signal(signal.SIGHUP, before)  # the command ignores it, and so would children of other tests
    assert "--require-key needs a key" in capsys.readouterr().err
