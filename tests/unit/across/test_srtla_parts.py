"""The small parts around the state machines: list files, channel, batches, what a predecessor left."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.config.values import HostPort
from netbond.engines import child
from netbond.errors import NotPermittedError, UnavailableError, UsageError
from netbond.srtla.link import LinkSpec
from netbond.srtla.process import batch, linklist, privileges, receiving, sending
from netbond.srtla.process.channel import LINE_MAX, Channel, Message
from netbond.srtla.process.engine import Engine
from netbond.srtla.process.linksocket import Endpoint
from netbond.srtla.process.loop import PacketLoop
from netbond.srtla.process.resolve import Resolver

LIST = """
# modems
10.0.0.10
10.0.1.10%usb1   # bound to the device

2001:db8::5%wlan0
10.0.0
10.0.0.10%
%usb0
10.0.2.10%a-name-that-is-too-long
0.0.0.0
10.0.3.10 usb3
"""


def test_a_list_file() -> None:
    links, complaints = linklist.parse(LIST, "/tmp/ips")
    assert links == [
        LinkSpec("10.0.0.10", "10.0.0.10"),
        LinkSpec("10.0.1.10%usb1", "10.0.1.10", "usb1"),
        LinkSpec("2001:db8::5%wlan0", "2001:db8::5", "wlan0"),
    ]
    assert [line.split(" is not ")[0] for line in complaints] == [
        "/tmp/ips:7: '10.0.0'",
        "/tmp/ips:8: '10.0.0.10%'",
        "/tmp/ips:9: '%usb0'",
        "/tmp/ips:10: '10.0.2.10%a-name-that-is-too-long'",
        "/tmp/ips:11: '0.0.0.0'",
        "/tmp/ips:12: '10.0.3.10 usb3'",
    ]


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    links, complaints = linklist.read(tmp_path / "none")
    assert links is None
    assert complaints == [f"{tmp_path}/none: No such file or directory"]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_list_breaks_the_reader(data: bytes) -> None:
    linklist.parse(data.decode("utf-8", "replace"), "f")


KEYS = ["group", "groups", "links", "id", "srt_port", "address", "device", "port", "caller", "latency"]
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["10.0.0.1", "::1", "00" * 256, "1.2.3.4:5", "usb0"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_nothing_a_predecessor_left_breaks_its_successor(value: Any) -> None:
    resume = value if isinstance(value, dict) else {"groups": value, "links": value, "group": value}
    sending._resumed_group(resume)
    sending._resumed_ports(resume)
    sending._resumed_caller(resume)
    sending._resumed_latency(resume)
    receiving._resumed_groups(resume, dual=True)
    receiving._resumed_groups(resume, dual=False)
    linklist.from_message(value)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_known_before_the_first_packet_is_read(host: str, family: int) -> None:
    """Packets that came before would be lost; a name has to be waited for."""

    found: list[list[Endpoint]] = []
    Resolver(HostPort(host, 5), found.append).start()
    await asyncio.sleep(0)
    assert found == [[(family, host, 5)]]


def test_what_a_sender_left() -> None:
    resume: Message = {
        "group": "ab" * 256,
        "links": [
            {"address": "10.0.0.10", "device": "usb0", "port": 40000},
            {"address": "10.0.0.10", "device": "usb1", "port": 70000},
        ],
        "caller": "127.0.0.1:5",
        "latency": 2.5,
    }
    assert sending._resumed_group(resume) == b"\xab" * 256
    assert sending._resumed_ports(resume) == {("10.0.0.10", "usb0"): 40000}
    assert sending._resumed_caller(resume) == ("127.0.0.1", 5)
    assert sending._resumed_latency(resume) == 2.5


@pytest.mark.parametrize("latency", [None, True, "2", 0, -1, 66, float("nan"), [1.0]])
def test_a_latency_that_no_handshake_can_tell_is_not_resumed(latency: Any) -> None:
    assert sending._resumed_latency({"latency": latency}) is None


@pytest.mark.parametrize(
    ("dual", "link", "address"),
    [
        (True, ["::ffff:192.0.2.1", 5, 0, 0], ("::ffff:192.0.2.1", 5, 0, 0)),
        (True, ["192.0.2.1", 5], ("::ffff:192.0.2.1", 5, 0, 0)),
        (True, ["2001:db8::1", 5, 0, 0], ("2001:db8::1", 5, 0, 0)),
        (False, ["192.0.2.1", 5], ("192.0.2.1", 5)),
        (False, ["::ffff:192.0.2.1", 5, 0, 0], ("192.0.2.1", 5)),
        (False, ["2001:db8::1", 5, 0, 0], None),
        (True, ["192.0.2.1", 0], None),
        (True, ["192.0.2.1"], None),
        (True, ["localhost", 5], None),
    ],
)
def test_peers_that_a_receiver_left(dual: bool, link: list[Any], address: Any) -> None:
    assert receiving._resumed_peer(link, dual=dual) == address


# --- channel ------------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """The engine's channel and the agent's end."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours.detach())
    yield channel, theirs
    channel._socket.close()
    theirs.close()


async def test_the_first_line_may_bring_more_with_it(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    agent.sendall(b'{"resume":{"group":null}}\n{"links":[1]}\nnot json\n[]\n{"links":[2]}\n')
    assert channel.receive_first() == {"resume": {"group": None}}
    got: list[Message] = []

    ended = asyncio.Event()
    channel.start(got.append, ended.set)
    await asyncio.sleep(0)
    agent.sendall(b'{"links":')
    agent.sendall(b"[3]}\n")
    agent.shutdown(socket.SHUT_WR)
    await ended.wait()
    assert got == [{"links": [1]}, {"links": [2]}, {"links": [3]}]


def test_an_agent_that_says_nothing_and_goes(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    agent.close()
    assert channel.receive_first() == {}


async def test_for_an_agent_that_does_not_read_only_the_newest_waits(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, agent = ends

    channel.start(lambda message: None, lambda: None)
    for number in range(5000):
        channel.show("stats", {"number": number, "fill": "x" * 1000})
        channel.show("resume", {"number": number})
    channel.send({"ready": True})
    assert len(channel._out) < 4096
    received = b""
    agent.setblocking(False)
    while b'{"resume":{"number":4999}}' not in received or b'{"stats":{"number":4999' not in received:
        try:
            received += agent.recv(65536)
        except BlockingIOError:
            await asyncio.sleep(0.001)
    lines = [json.loads(line) for line in received.splitlines()]
    assert {"ready": True} in lines
    assert len(lines) < 5000


def test_a_line_that_the_agent_would_not_take_is_not_sent(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    channel.show("stats", {"fill": "x" * LINE_MAX})
    channel.send({"ready": True})
    assert agent.recv(65536) == b'{"ready":true}\n'


async def test_resumes_are_told_at_most_ten_times_a_second(ends: tuple[Channel, socket.socket]) -> None:
    channel, agent = ends
    told: list[float] = []

    class Changing(Engine):
        def resume_data(self) -> Message:
            told.append(self.loop.time())
            return {"changed": len(told)}

    engine = Changing(channel, {})
    engine.loop = cast("PacketLoop", asyncio.get_running_loop())
    end = engine.loop.time() + 0.35
    while engine.loop.time() < end:
        engine.publish_resume()
        await asyncio.sleep(0.003)
    assert 2 <= len(told) <= 4
    assert all(after - before >= 0.099 for before, after in itertools.pairwise(told))
    assert len(agent.recv(65536).splitlines()) == len(told)


def test_a_control_fd_that_is_none() -> None:
    with Path(os.devnull).open() as file, pytest.raises(UsageError, match="is not a socket"):
        Channel(file.fileno())


# --- sockets ------------------------------------------------------------------------------------------------


def test_a_refusal_from_before_costs_no_datagram() -> None:
    """The ICMP answer to one datagram makes the next send fail; that one goes out all the same."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        peer.close()
        sock.send(b"refused")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", port))
            again.settimeout(2)
            assert batch.send(sock, [b"1", b"2"]) == (2, None)
            assert [again.recv(9), again.recv(9)] == [b"1", b"2"]


def test_a_datagram_too_long_for_any_packet_is_left_out() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sender.connect(sock.getsockname())
        for size in (1500, 1501, 3000, 0, 5):
            sender.send(bytes(size))
        datagrams, error = batch.Inbox().read(sock)
        assert [len(data) for data in datagrams] == [1500, 0, 5]
        assert error is None


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_answer_leaves_from_the_address_that_was_asked(family: socket.AddressFamily) -> None:
    """127.0.0.1 asks 127.0.0.9; the kernel on its own would answer from 127.0.0.1."""
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("", 0))
        sock.setblocking(False)
        batch.tell_local(sock)
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(2)
        peer.sendto(b"?", ("127.0.0.9", sock.getsockname()[1]))
        inbox = batch.Inbox()
        ((address, data),) = inbox.read_from(sock)
        assert data == b"?"
        assert batch.send_to(sock, [(address, b"!")], inbox.local) == 0
        assert peer.recvfrom(9)[1][0] == "127.0.0.9"


# --- privileges ---------------------------------------------------------------------------------------------


def test_dropping_to_nobody_at_all() -> None:
    with pytest.raises(UnavailableError, match="there is no user 'no-such-user' to run as"):
        privileges.drop("no-such-user")


def test_dropping_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(NotPermittedError, match="cannot become user 'root' without root"):
        privileges.drop("root")


def test_a_message_of_very_many_groups_keeps_to_its_line() -> None:
    groups = [{"id": "00" * 256, "links": [["::ffff:192.0.2.1", 40000, 0, 0]] * 32} for _ in range(2000)]
    fit = receiving.that_fit(groups)
    assert 200 < len(fit) < 2000
    assert len(json.dumps({"resume": {"groups": fit}})) < child.MAX_LINE
