"""The kernel's program that gives each datagram to its process."""

from __future__ import annotations

import random
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.values import HostPort
from netbond.srtla.process.linksocket import open_listener
from netbond.srtla.receiver import steering

SALT = steering.Salt.of(bytes(range(8)))


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
