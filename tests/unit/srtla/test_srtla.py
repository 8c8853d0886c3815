"""The compiled parts do what Python does, and are left aside when they are not what the source says."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netbond
from netbond import srtla
from netbond.srtla import wire
from netbond.srtla.classic.classic import Classic
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.native import fastpath, native
from netbond.srtla.process import batch
from netbond.srtla.process.carriage import Carriage
from netbond.srtla.process.wakeup import LISTENER, Report
from netbond.srtla.sender import LinkAdded, Sender
from tests.srtla_util import data_packet

PACKAGE = Path(netbond.__file__).parent
NEEDS_EXTENSION = pytest.mark.skipif(native.extension is None, reason="the extension is not built here")
WHERE = (
    "import netbond.srtla.wire as w, netbond.srtla.native.native as n; print(w.__file__); print(n.library)"
)


def modules_of(folder: Path, **environment: str) -> list[str]:
    """Where `wire` comes from, and the C library, for a Python that starts in `folder`."""
    run = subprocess.run(
        [sys.executable, "-c", WHERE],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


def test_modules_whose_source_has_changed_are_not_taken_as_compiled(tmp_path: Path) -> None:
    if not (PACKAGE / "srtla" / "_compiled").is_dir():
        pytest.skip("nothing is compiled here")
    shutil.copytree(PACKAGE, tmp_path / "netbond", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "netbond" / "srtla"
    compiled = str(folder / "_compiled")
    # Whether it was built before the last change is not the question here.
    (folder / "_compiled" / srtla.DIGEST).write_text(srtla.digest(str(folder)))
    assert modules_of(tmp_path, NETBOND_PURE="")[0].startswith(compiled)
    pure = modules_of(tmp_path, NETBOND_PURE="1")
    assert pure == [str(tmp_path / "netbond" / "srtla" / "wire.py"), "None"]
    with (tmp_path / "netbond" / "srtla" / "sender.py").open("a") as file:
        file.write("# changed\n")
    assert modules_of(tmp_path, NETBOND_PURE="")[0] == str(tmp_path / "netbond" / "srtla" / "wire.py")


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


# --- carriage -----------------------------------------------------------------------------------------------


class Sockets:
    """What Carriage sends to, with errors to order."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.error = 0
        self.odd: list[Report] = []
        self.looked = 0
        self.answers: list[bytes] = []

    def send(self, descriptor: int, datagrams: list[bytes]) -> tuple[int, int]:
        taken = datagrams[:1] if self.error else datagrams
        self.sent += [(descriptor, data) for data in taken]
        return len(taken), self.error

    def look_after(self, reports: list[Report], now: float) -> None:
        self.odd += reports
        self.looked += 1


def up(sockets: Sockets) -> tuple[Carriage, Sender]:
    """A sender with one link, number 1, that is up, on descriptor 7."""
    sender = Sender(random.Random(1).randbytes, Classic(), 0.0, group=bytes(256))
    carriage = Carriage(sender, sockets.send, sockets.look_after, sockets.answers.extend)
    sender.set_links([LinkSpec("usb0", "10.0.0.10")], 0.0)
    assert carriage.flush(0.0)
    assert [type(event) for event in carriage.events] == [LinkAdded]
    carriage.open(1, 7)
    sender.link_opened(1, 0.0)
    assert carriage.take([(7, b"", wire.REG3_PACKET, 0)], 0.1) == []
    while carriage.flush(0.1):
        carriage.events.clear()
    sockets.sent.clear()
    return carriage, sender


def test_datagrams_go_from_the_caller_to_a_link_and_back() -> None:
    sockets = Sockets()
    carriage, sender = up(sockets)
    carriage.caller = b"caller"
    packets = [data_packet(number) for number in range(3)]
    assert carriage.take([(LISTENER, b"caller", data, 0) for data in packets], 1.0) == []
    assert carriage.caller_heard == 1.0
    assert not carriage.flush(1.0)
    assert sockets.sent == [(7, data) for data in packets]
    answer = b"\x80\x01" + bytes(14)
    assert carriage.take([(7, b"", answer, 0), (99, b"", answer, 0)], 1.1) == []
    assert sender.datagrams_to_caller() == [answer]


def test_one_call_takes_in_sends_and_answers() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    carriage.caller = b"caller"
    packets = [data_packet(number) for number in range(3)]
    answer = b"\x80\x01" + bytes(14)
    reports = [(LISTENER, b"caller", data, 0) for data in packets] + [(7, b"", answer, 0)]
    carriage.take_reports(reports, 1.0)
    assert sockets.sent == [(7, data) for data in packets]
    assert (sockets.answers, sockets.odd, sockets.looked) == ([answer], [], 0)
    sockets.sent.clear()
    carriage.on_alarm(2.0)  # a keepalive, and whether the link has fallen silent
    assert {wire.packet_type(data) for _, data in sockets.sent} == {wire.KEEPALIVE}
    assert 2.0 < carriage.next_alarm() <= 2.1


def test_a_caller_that_the_kernel_knows_is_answered_directly() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    answered: list[tuple[int, bytes, bytes, list[bytes]]] = []

    def send_to(*what: Any) -> int:
        answered.append(what)
        return 0

    answer = b"\x80\x01" + bytes(14)
    carriage.send_to = send_to
    carriage.take_reports([(7, b"", answer, 0)], 1.0)
    assert sockets.answers == [answer]
    carriage.listener, carriage.caller = 5, b"caller"
    carriage.caller_name, carriage.caller_control = b"name", b"control"
    carriage.take_reports([(7, b"", answer, 0)], 1.1)
    assert answered == [(5, b"name", b"control", [answer])]
    assert sockets.answers == [answer]


def test_what_is_not_plain_is_looked_after_before_anything_leaves() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    odd: list[Report] = [(LISTENER, b"stranger", data_packet(1), 0), (7, b"", b"", 111)]
    carriage.take_reports(odd, 1.0)
    assert sockets.odd == odd
    sockets.error = 105
    carriage.caller = b"caller"
    sockets.looked = 0
    carriage.take_reports([(LISTENER, b"caller", data_packet(n), 0) for n in range(2)], 1.0)
    assert sockets.looked >= 1
    assert carriage.failures == [(1, 105, [data_packet(1)])]


def test_strangers_errors_and_long_datagrams_are_not_taken() -> None:
    carriage, sender = up(Sockets())
    carriage.caller = b"caller"
    odd = [(LISTENER, b"stranger", data_packet(1), 0), (7, b"", b"", 111)]
    assert carriage.take([*odd, (LISTENER, b"caller", bytes(wire.MTU + 1), 0)], time.monotonic()) == odd
    assert sender.packets == 0


def test_what_a_socket_does_not_take_is_handed_back() -> None:
    sockets = Sockets()
    carriage, _ = up(sockets)
    carriage.caller = b"caller"
    packets = [data_packet(number) for number in range(3)]
    sockets.error = 105
    carriage.take([(LISTENER, b"caller", data, 0) for data in packets], 1.0)
    assert carriage.flush(1.0)
    assert carriage.failures == [(1, 105, packets[1:])]
    carriage.close(1)
    assert carriage.take([(7, b"", b"\x80\x01" + bytes(14), 0)], 1.0) == []
