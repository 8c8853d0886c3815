"""Sockets of this machine, over loopback; ending them is tested in tests/netns, as that needs root."""

from __future__ import annotations

import ipaddress
import os
import socket

from netbond.kernel import sockets

HERE = ipaddress.ip_address("127.0.0.1")


def of(port: int) -> list[tuple[int, bool, int]]:
    return [
        (each.protocol, each.own, each.uid)
        for each in sockets.connected()
        if (each.family, each.source, each.destination, each.port) == (4, HERE, HERE, port)
    ]


def test_connected_sockets_are_listed_but_not_accepted_ones() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert of(port) == []
        with socket.create_connection(("127.0.0.1", port)) as one:
            accepted, _ = server.accept()
            with accepted:
                assert of(port) == [(socket.IPPROTO_TCP, True, os.getuid())]
                assert of(one.getsockname()[1]) == []  # from outside


def test_udp_sockets_count_once_they_are_connected() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as one:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        one.sendto(b"", ("127.0.0.1", port))
        assert of(port) == []
        one.connect(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)
        found = [each for each in sockets.connected() if each.port == port]
        assert [(each.protocol, each.dscp) for each in found] == [(socket.IPPROTO_UDP, 46)]


def test_ipv4_in_an_ipv6_socket_is_ipv4() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.socket(socket.AF_INET6) as one:
            one.connect(("::ffff:127.0.0.1", port))
            assert of(port) == [(socket.IPPROTO_TCP, True, os.getuid())]


def test_to_end_nothing_ends_nothing() -> None:
    assert sockets.destroy([]) == 0
