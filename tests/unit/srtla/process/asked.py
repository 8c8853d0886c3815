"""A socket on all addresses that was asked at one of them, for tests of the answer's own address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from netbond.srtla.process import batch


@contextmanager
def asked(family: socket.AddressFamily) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The socket, which a datagram for 127.0.0.9 waits at, and the socket at 127.0.0.1 that sent it."""
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("", 0))
        sock.setblocking(False)
        batch.enable_pktinfo(sock)
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(2)
        peer.sendto(b"?", ("127.0.0.9", sock.getsockname()[1]))
        yield sock, peer
