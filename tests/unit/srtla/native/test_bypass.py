"""Which links the compiled data path is told to serve."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest

from netbond.srtla.native import fastpath
from netbond.srtla.native.bypass import Bypass
from netbond.srtla.receiver.receiver import Receiver

A, B, C = (("192.0.2.1", port) for port in (1, 2, 3))


class Path:
    """Stands in for FastPath: keeps what it is told."""

    def __init__(self, listener: int, epoll: int, flush_after_s: float) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.carried: list[tuple[int, int, int, float]] = []
        self.tallies: dict[int, bytearray] = {}
        self.room = 9
        self.next_link = 70

    def heard(self) -> list[tuple[int, int, int, float]]:
        return self.carried

    def add_group(self, descriptor: int) -> int:
        self.calls.append(("add_group", descriptor))
        self.room -= 1
        return 5 if self.room >= 0 else -1

    def tally(self, group: int, memory: bytearray) -> None:
        self.tallies[group] = memory

    def drop_group(self, number: int) -> None:
        self.calls.append(("drop_group", number))

    def add_link(
        self, group: int, record: bytes, name_length: int, control: bytes, credit: int, now: float
    ) -> int:
        self.calls.append(("add_link", group, record))
        self.next_link += 1
        return self.next_link

    def drop_link(self, number: int) -> None:
        self.calls.append(("drop_link", number))


class Rig:
    """A receiver with two groups (links A and B, and C), a socket for each, and a Bypass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fastpath, "open_path", Path)
        self.receiver = Receiver(random.Random(1).randbytes, 0.0)
        self.receiver.restore([(bytes(256), [A, B]), (b"x" * 256, [C])], 0.0)
        self.sockets = {number: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for number in (1, 2)}
        self.bypass = Bypass(3, 4, self.receiver)
        self.path: Path = self.bypass.fast  # type: ignore[assignment]  # stands in

    def take(self, address: tuple[Any, ...], record: bytes) -> list[tuple[Any, ...]]:
        """What the data path is told when a packet with this record comes to Python."""
        self.path.calls.clear()
        self.bypass.take(address, record, None, self.sockets, 1.0)
        return self.path.calls[:]

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Rig(monkeypatch)
    yield made
    made.close()


def test_a_link_is_handed_over_once_with_its_group_and_half_of_its_credit(rig: Rig) -> None:
    before = rig.receiver.credit_of(A)
    assert rig.take(A, b"--a") == [("add_group", rig.sockets[1].fileno()), ("add_link", 5, b"--a")]
    assert rig.receiver.credit_of(A) == before - before // 2
    assert rig.take(A, b"--a") == []
    assert rig.receiver.credit_of(A) == before - before // 2
    assert rig.take(B, b"--b") == [("add_link", 5, b"--b")]
    assert rig.take(("192.0.2.9", 9), b"--z") == [], "nobody's link"


def test_a_link_that_writes_to_another_address_of_ours_has_another_record(rig: Rig) -> None:
    rig.take(A, b"--a")
    assert rig.take(A, b"--a2") == [("drop_link", 71), ("add_link", 5, b"--a2")]


def test_a_group_without_a_socket_or_room_stays_with_python(rig: Rig) -> None:
    sock = rig.sockets.pop(2)
    assert rig.take(C, b"--c") == []
    rig.sockets[2] = sock
    rig.path.room = 0
    assert rig.take(C, b"--c") == [("add_group", sock.fileno())]
    assert rig.take(C, b"--c") == [], "it is not asked again for this group"
    rig.bypass.group_gone(2)
    assert rig.path.calls == []


def test_what_was_forwarded_counts_for_its_link(rig: Rig) -> None:
    rig.take(A, b"--a")
    rig.path.carried = [(71, 4, 5000, 2.0), (99, 1, 1, 2.0)]
    rig.bypass.settle()
    first, _ = rig.receiver.stats(3.0)
    assert (first["packets"], first["bytes"]) == (4, 5000)


def test_links_and_groups_go(rig: Rig) -> None:
    rig.take(A, b"--a")
    rig.take(B, b"--b")
    rig.path.calls.clear()
    rig.bypass.link_gone(A)
    rig.bypass.link_gone(A)
    rig.bypass.group_gone(1)
    assert rig.path.calls == [("drop_link", 71), ("drop_link", 72), ("drop_group", 5)]
    assert rig.take(A, b"--a")[0][0] == "add_group"


def test_a_group_is_handed_over_with_the_notes_about_its_packets(rig: Rig) -> None:
    rig.take(A, b"a" * 16)
    assert rig.path.tallies[5] is rig.receiver.tally_of(1)
