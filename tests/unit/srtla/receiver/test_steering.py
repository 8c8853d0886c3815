"""Which of a receiver's processes gets a datagram: the kernel's program, the directory, the passages."""

from __future__ import annotations

import json
import os
import random
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.linksocket import open_listener
from netbond.srtla.process.receiving import RecvOptions
from netbond.srtla.receiver import passage, steering
from netbond.srtla.receiver.front import CONFIRM_WITHIN_S, Directory, FrontEngine, Worker

SALT = steering.Salt.of(bytes(range(8)))


# --- the program -------------------------------------------------------------------------------------------


def listeners(host: str, count: int) -> list[socket.socket]:
    first = open_listener(HostPort(host, 0), "tests", shared=True)
    port = first.getsockname()[1]
    return [first, *(open_listener(HostPort(host, port), "tests", shared=True) for _ in range(count - 1))]


@pytest.mark.parametrize(
    ("host", "addresses"),
    [("127.0.0.1", ["127.0.0.1", "127.0.0.9"]), ("::1", ["::1"]), ("", ["127.0.0.3", "::1"])],
)
def test_the_kernel_gives_each_link_to_its_socket(host: str, addresses: list[str]) -> None:
    sockets = listeners(host, 4)
    port = sockets[0].getsockname()[1]
    clients = []
    wanted: dict[int, int] = {}
    peers: dict[int, int] = {}
    for number in range(200):
        address = addresses[number % len(addresses)]
        v6 = ":" in address
        client = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        client.bind((address, 0))
        client.connect(("::1" if v6 else "127.0.0.1", port))
        clients.append(client)
        wanted[number] = number % 4
        seen = client.getsockname()
        if sockets[0].family == socket.AF_INET6 and not v6:
            seen = ("::ffff:" + seen[0], seen[1], 0, 0)
        if number % 4:
            peers[steering.hashed(seen, SALT)] = number % 4
    assert steering.attach(sockets[0], peers, SALT) == len(peers)
    for number, client in enumerate(clients):
        client.send(bytes([number]))
    got = {}
    for position, listener in enumerate(sockets):
        listener.settimeout(0.2)
        try:
            while True:
                got[listener.recv(10)[0]] = position
        except TimeoutError:
            pass
    assert got == wanted
    for each in (*clients, *sockets):
        each.close()


def test_there_is_room_for_some_hundred_links_and_more_do_no_harm() -> None:
    sockets = listeners("127.0.0.1", 2)
    rng = random.Random(1)
    many = {rng.getrandbits(32): 1 for _ in range(5000)}
    assert 300 < steering.attach(sockets[0], many, SALT) < 5000
    assert steering.attach(sockets[0], {}, SALT) == 0
    for each in sockets:
        each.close()


def test_without_sockets_that_share_a_port_there_is_nothing_to_steer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as alone, pytest.raises(OSError, match="Errno"):
        steering.attach(alone, {1: 1}, SALT)


@settings(max_examples=30)
@given(st.dictionaries(st.integers(0, 2**32 - 1), st.integers(1, 64), max_size=300), st.data())
def test_the_tree_finds_what_is_in_it_and_nothing_else(peers: dict[int, int], data: st.DataObject) -> None:
    tree = steering._tree(sorted(peers.items()))

    def found(value: int) -> int:
        at = 0
        while True:
            code, yes, no, constant = tree[at]
            assert max(yes, no) < 256
            at += 1
            if code == 0x06:
                return constant
            at += (
                constant
                if code == 0x05
                else (yes if (value == constant if code == 0x15 else value >= constant) else no)
            )

    for value, number in peers.items():
        assert found(value) == number
    for value in data.draw(st.lists(st.integers(0, 2**32 - 1), max_size=20)):
        assert found(value) == peers.get(value, 0)


# --- the directory -----------------------------------------------------------------------------------------

A, B, C = ("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.1", 3)


def workers(count: int) -> list[Worker]:
    made = []
    for number in range(1, count + 1):
        ours, theirs = socket.socketpair()
        theirs.close()
        made.append(Worker(number, Channel(ours.detach()), ours))
    return made


def group(name: bytes, *links: Any) -> dict[str, Any]:
    return {"id": name.hex(), "srt_port": 5, "links": [list(link) for link in links]}


def test_a_group_goes_to_the_worker_with_fewest_and_its_links_follow() -> None:
    one, two = workers(2)
    directory = Directory([one, two])
    assert directory.idlest() is one
    directory.give(one, b"a", A, 5.0)
    assert directory.idlest() is two, "what was just given away counts"
    assert directory.of_group(b"a", 5.0) is one
    assert directory.of_link(A, 5.0) is one
    assert directory.links() == {A: one}
    one.took([group(b"a", A, B)])
    directory.confirmed(5.1)
    assert directory.of_link(B, 500.0) is one
    assert directory.of_group(b"a", 500.0) is one
    one.took([])
    assert directory.of_link(A, 500.0) is None
    for each in (one, two):
        each.channel.close()


def test_what_a_worker_did_not_take_is_forgotten() -> None:
    one, two = workers(2)
    directory = Directory([one, two])
    directory.give(two, b"a", A, 5.0)
    assert directory.of_group(b"a", 5.0 + CONFIRM_WITHIN_S) is None
    assert directory.of_link(A, 5.0 + CONFIRM_WITHIN_S) is None
    directory.confirmed(5.0 + CONFIRM_WITHIN_S)
    assert directory.links() == {}
    assert directory.idlest() is one
    for each in (one, two):
        each.channel.close()


def test_of_equals_the_one_with_less_to_do() -> None:
    one, two = workers(2)
    one.took([group(b"a", A)])
    two.took([group(b"b", B)])
    one.stats = {"groups": [{"bitrate_bps": 8_000_000}]}
    two.stats = {"groups": [{"bitrate_bps": 2_000_000}]}
    assert Directory([one, two]).idlest() is two
    for each in (one, two):
        each.channel.close()


def test_groups_of_a_predecessor_are_known_before_their_workers_say_so() -> None:
    made = workers(2)
    resume = {
        "groups": [group(b"a" * 256, A), group(b"b" * 256, B, C), 5, {"id": "x"}, {"id": "00", "links": 5}]
    }
    with open_listener(HostPort("127.0.0.1", 0), "tests") as listener:
        options = RecvOptions(ReceiverConfig(HostPort("127.0.0.1", 1), HostPort("127.0.0.1", 2), workers=2))
        front = FrontEngine(options, None, resume, listener=listener, secret=bytes(32), workers=made)
    assert front._directory.of_group(b"a" * 256, 5.0) is made[0]
    assert front._directory.of_group(b"b" * 256, 5.0) is made[1]
    assert front._directory.links() == {A: made[0], B: made[1], C: made[1]}
    assert front.resume_data() == {"groups": resume["groups"][:2]}
    for each in made:
        each.channel.close()


# --- the passages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (("192.0.2.1", 5), None),
        (("fe80::1%eth0", 5, 0, 3), None),
        (("::ffff:192.0.2.1", 5, 0, 0), (41, 50, bytes(20))),
    ],
)
def test_a_datagram_passes_with_all_that_belongs_to_it(address: Any, local: Any) -> None:
    here, there = passage.pair()
    data = os.urandom(1500)
    assert passage.send(here, address, local, data)
    assert passage.send(here, address, local, b"")
    assert passage.receive(there) == [(address, local, data), (address, local, b"")]
    assert passage.receive(there) == []
    for _ in range(100_000):
        if not passage.send(here, address, local, data):
            break
    else:
        pytest.fail("it takes no end of datagrams")
    here.close()
    while passage.receive(there):
        pass
    there.close()


@given(st.binary(max_size=200))
def test_no_message_breaks_a_passage(data: bytes) -> None:
    passage.parse(data)


@pytest.mark.parametrize(
    "value",
    [None, [], ["x", 5], ["192.0.2.1", 70000], ["192.0.2.1", -1], ["192.0.2.1", True], [5, 5], ["::1", 1, 2]],
)
def test_what_is_no_address(value: Any) -> None:
    assert passage.peer(value) is None
    head = json.dumps([value, 0, 0, ""]).encode()
    assert passage.parse(len(head).to_bytes(2, "big") + head) is None
