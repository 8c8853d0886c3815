"""The extension in C sends and answers as Python does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.srtla.native import fastpath, native
from netbond.srtla.process import batch

NEEDS_EXTENSION = pytest.mark.skipif(native.extension is None, reason="the extension is not built here")


@NEEDS_EXTENSION
def test_the_extension_sends_what_python_sends() -> None:
    lengths = st.lists(st.sampled_from([1332, 1332, 1332, 700, 16, 0, 1, 1500]), max_size=200)

    @settings(max_examples=60, deadline=None)
    @given(lengths)
    def check(wanted: list[int]) -> None:
        datagrams = [bytes([number & 255]) * length for number, length in enumerate(wanted)]
        with ExitStack() as stack:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            peer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            peer.connect(sock.getsockname())
            seen = []
            ways: list[Callable[[], object]] = [
                lambda: native.extension.send(peer.fileno(), datagrams) if native.extension else None,
                lambda: batch.send_by_python(peer, datagrams),
            ]
            for way, said in zip(ways, [0, None], strict=True):
                assert way() == (len(datagrams), said)
                inbox = batch.Inbox()
                got: list[bytes] = []
                while (read := inbox.read(sock))[0]:
                    got += read[0]
                seen.append(got)
            assert seen == [datagrams, datagrams]

    check()


@NEEDS_EXTENSION
def test_the_extension_names_what_went_wrong() -> None:
    assert native.extension is not None
    send: Callable[..., tuple[int, int]] = native.extension.send
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        assert send(sock.fileno(), [b"1" * 100, b"2" * 100, b"3" * 70000, b"4"]) == (2, 90)  # EMSGSIZE
        assert send(sock.fileno(), []) == (0, 0)
        wrong: tuple[object, ...]
        for wrong in ((sock.fileno(),), (sock.fileno(), b"x"), (sock.fileno(), ["x"]), ("x", [])):
            with pytest.raises(TypeError):
                send(*wrong)
        gone = os.dup(sock.fileno())
        os.close(gone)
        assert send(gone, [b"x"]) == (0, 9)  # EBADF
    wrong_call: tuple[object, ...]
    for wrong_call in ((), (1, b"", b"", b""), (1, "", b"", []), ("1", b"", b"", [])):
        with pytest.raises(TypeError):
            native.extension.send_to(*wrong_call)
    for wrong_path in ((0, 1.0), (0, 1.0, 2.0), ("x", 1.0)):
        with pytest.raises((TypeError, ValueError)):
            native.extension.serve(*wrong_path)


@NEEDS_EXTENSION
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_extension_answers_from_the_address_that_was_asked(family: socket.AddressFamily) -> None:
    assert native.extension is not None
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
        inbox = batch.Inbox()
        ((address, _),) = inbox.read_from(sock)
        record = inbox._record_of[address]
        name, control = fastpath.name_and_control(record, inbox.local[address])
        assert native.extension.send_to(sock.fileno(), name, control, [b"1", b"2"]) == 0
        assert [peer.recvfrom(9) for _ in range(2)] == [
            (data, ("127.0.0.9", sock.getsockname()[1])) for data in (b"1", b"2")
        ]
        assert native.extension.send_to(sock.fileno(), b"nonsense", b"", [b"1"]) == 1
