"""Each probe against the real thing: gateways, DNS and web servers that are there, lie, or are gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from netbond.config.schema import CheckConfig
from netbond.health import arp_nd
from netbond.health.judge import Answer, Outcome
from netbond.health.probes import ProbedUplink, probe, questions
from netbond.lab.netns import call_in, write_sysctls
from tests import ready
from tests.netns.box import sh, wait_for
from tests.netns.health_net import HOST, HOST6, OTHER, Modem, Net

pytestmark = pytest.mark.root

QUICK = 0.4  # seconds, for what will not answer


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


@pytest.fixture
def modem(net: Net) -> Modem:
    return net.modem()


def check(kind: str, *targets: str, timeout: float = 5.0, **other: object) -> CheckConfig:
    return replace(CheckConfig(kind, kind, targets, timeout=timeout), **other)  # type: ignore[arg-type]


def ask(net: Net, of: CheckConfig, probed: ProbedUplink) -> Answer:
    """The answer of the check's only target."""
    (target,) = questions(of, probed)

    async def once() -> Answer:
        try:
            return await probe(of, target, probed)
        finally:
            probed.arp_socket.close()

    answer = net.run(once)
    assert (answer.rtt is not None) == (answer.outcome is Outcome.ANSWERED)
    return answer


# --- gateway -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_gateway_is_there(net: Net, modem: Modem, family: int) -> None:
    answer = ask(net, check("gateway"), modem.probed(family))
    assert answer.outcome is Outcome.ANSWERED
    assert answer.rtt is not None
    assert 0 < answer.rtt < 1


@pytest.mark.parametrize(
    ("gateway", "says"),
    [
        ("10.0.0.9", "10.0.0.9: no answer to ARP"),
        ("fe80::9", "fe80::9: no answer to neighbour solicitation"),
    ],
)
def test_gateway_is_not_there(net: Net, modem: Modem, gateway: str, says: str) -> None:
    probed = modem.probed(6 if ":" in gateway else 4)
    probed.gateway = type(probed.address)(gateway)
    answer = ask(net, check("gateway", timeout=QUICK), probed)
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, says)


def test_an_entry_that_is_still_reachable_is_no_sign_of_life(net: Net, modem: Modem) -> None:
    assert ask(net, check("icmp", "gateway"), modem.probed()).outcome is Outcome.ANSWERED
    modem.hang()
    state = call_in(net.name, lambda: arp_nd.state("usb0", modem.gateway))
    assert state == "REACHABLE"
    answer = ask(net, check("gateway", timeout=QUICK), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, "10.0.0.1: no answer to ARP")


@pytest.mark.parametrize("meanwhile", ["nothing", "flap", "chatter", "another device"])
def test_a_gateway_is_asked_by_the_same_socket_as_before(net: Net, modem: Modem, meanwhile: str) -> None:
    """Closing one takes up to 30 ms. It outlives what the device goes through, and answers to nobody."""
    probed, of = modem.probed(), check("gateway", timeout=5.0)
    (target,) = questions(of, probed)

    def happens() -> None:
        if meanwhile == "flap":
            sh("ip", "-n", net.name, "link", "set", "usb0", "down")
            sh("ip", "-n", net.name, "link", "set", "usb0", "up")
        elif meanwhile == "chatter":
            with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
                for _ in range(200):
                    sock.sendto(bytes(28), ("usb0", 0x0806, 0, 0, b"\xff" * 6))
        elif meanwhile == "another device":
            probed.device = "usb1"  # the name that the device has now
            sh("ip", "-n", net.name, "link", "set", "usb0", "down")
            sh("ip", "-n", net.name, "link", "set", "usb0", "name", "usb1")
            sh("ip", "-n", net.name, "link", "set", "usb1", "up")

    async def twice() -> tuple[Answer, int | None, Answer, int | None]:
        try:
            first = await probe(of, target, probed)
            before = probed.arp_socket.descriptor
            happens()
            return first, before, await probe(of, target, probed), probed.arp_socket.descriptor
        finally:
            probed.arp_socket.close()

    first, before, second, after = net.run(twice)
    assert (first.outcome, second.outcome) == (Outcome.ANSWERED, Outcome.ANSWERED), second.detail
    assert before is not None
    if meanwhile in ("nothing", "chatter"):
        assert after == before


def arp_liar(modem: Modem, change: Callable[[bytes], bytes]) -> None:
    """Answers each ARP request in the modem's namespace with what `change` makes of the right reply."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        sock.bind(("lan", 0x0806))
        return sock

    sock = modem.net.closing(call_in(modem.name, make))
    sock.settimeout(0.05)
    stop = threading.Event()

    def lie() -> None:
        while not stop.is_set():
            try:
                frame, whence = sock.recvfrom(2048)
            except TimeoutError:
                continue
            if whence[2] == socket.PACKET_OUTGOING or frame[20:22] != b"\0\1":
                continue
            theirs, their_ip, asked = frame[22:28], frame[28:32], frame[38:42]
            mac = bytes.fromhex("02deadbeef01")
            reply = frame[14:20] + b"\0\2" + mac + asked + theirs + their_ip
            sock.send(theirs + mac + b"\x08\x06" + change(reply))

    thread = threading.Thread(target=lie)
    thread.start()
    modem.net.cleanup.callback(thread.join)
    modem.net.cleanup.callback(stop.set)


def test_the_liar_can_tell_the_truth(net: Net, modem: Modem) -> None:
    arp_liar(modem, lambda reply: reply)
    probed = replace(modem.probed(), gateway=modem.interface.network[9])
    assert ask(net, check("gateway"), probed).outcome is Outcome.ANSWERED


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply[:14] + bytes([10, 0, 0, 1]) + reply[18:],  # for another address
        lambda reply: reply[:18] + bytes(6) + reply[24:],  # to somebody else
        lambda reply: reply[:24] + bytes([10, 0, 0, 11]),
        lambda reply: reply[:6] + b"\0\1" + reply[8:],  # asks back
        lambda reply: reply[:20],
    ],
)
def test_arp_replies_that_answer_something_else(
    net: Net, modem: Modem, change: Callable[[bytes], bytes]
) -> None:
    arp_liar(modem, change)
    probed = replace(modem.probed(), gateway=modem.interface.network[9])
    assert ask(net, check("gateway", timeout=QUICK), probed).outcome is Outcome.FAILED


def test_a_fixed_neighbour_entry_need_not_answer(net: Net, modem: Modem) -> None:
    mac = "02:00:00:00:00:09"
    sh("ip", "-n", net.name, "neigh", "add", "10.0.0.9", "lladdr", mac, "dev", "usb0", "nud", "permanent")
    probed = replace(modem.probed(), gateway=modem.interface.network[9])
    answer = ask(net, check("gateway", timeout=QUICK), probed)
    assert answer.outcome is Outcome.SKIPPED
    assert "fixed neighbour entry (PERMANENT)" in answer.detail


def test_links_without_arp(net: Net, modem: Modem) -> None:
    sh("ip", "-n", net.name, "link", "set", "usb0", "arp", "off")
    answer = ask(net, check("gateway", timeout=QUICK), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.SKIPPED, "10.0.0.1: usb0 has no neighbours to ask")


def test_point_to_point_has_nothing_to_ask(modem: Modem) -> None:
    probed = replace(modem.probed(), gateway=None)
    assert questions(check("gateway"), probed) == []
    assert questions(check("icmp", "gateway"), probed) == []


# --- icmp --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "host"), [(4, HOST), (6, HOST6), (4, "gateway"), (6, "gateway")])
def test_icmp(net: Net, modem: Modem, family: int, host: str) -> None:
    assert ask(net, check("icmp", host), modem.probed(family)).outcome is Outcome.ANSWERED


def test_icmp_that_is_dropped(net: Net, modem: Modem) -> None:
    for family in ("icmp", "icmpv6"):
        modem.nft(f"add rule inet t input {family} type echo-request drop")
    answer = ask(net, check("icmp", HOST, timeout=QUICK), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, "192.0.2.1: no answer within 0.4 s")
    assert ask(net, check("icmp", HOST6, timeout=QUICK), modem.probed(6)).outcome is Outcome.FAILED
    assert ask(net, check("gateway"), modem.probed()).outcome is Outcome.ANSWERED


@pytest.mark.parametrize("family", [4, 6])
def test_many_at_once_each_get_their_own_answer(net: Net, modem: Modem, family: int) -> None:
    hosts = (HOST, OTHER, "192.0.2.99") if family == 4 else (HOST6, "2001:db8:0::1", "2001:db8:ffff::99")
    of = check("icmp", *hosts, timeout=1.5)  # for those that do answer, too
    probed = modem.probed(family)

    async def all_of_them() -> list[Answer]:
        targets = questions(of, probed)
        return await asyncio.gather(*(probe(of, target, probed) for target in targets for _ in range(20)))

    answers = net.run(all_of_them)
    assert {(a.target, a.outcome is Outcome.ANSWERED) for a in answers} == {
        (hosts[0], True),
        (hosts[1], True),
        (hosts[2], False),
    }


def test_no_route_is_told_at_once(net: Net, modem: Modem) -> None:
    # Of IPv6 only: for a socket bound to a device, IPv4 takes what it has no route to for a neighbour.
    sh("ip", "-n", net.name, "-6", "route", "del", "default", "dev", "usb0")
    for of in (check("icmp", HOST6), check("tcp", f"[{HOST6}]:80"), check("dns", HOST6)):
        answer = ask(net, of, modem.probed(6))
        assert answer.outcome is Outcome.FAILED
        assert answer.detail.endswith(": network is unreachable")


# --- by a gateway that is not in use -----------------------------------------------------------------------

# A firewall that knows no connection but what it has seen go; neighbours must be found.
FIREWALL = """
add table inet f
add chain inet f input { type filter hook input priority 0; policy drop; }
add rule inet f input ct state established,related accept
add rule inet f input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
"""


@pytest.mark.parametrize(("family", "host"), [(4, HOST), (6, HOST6)])
def test_what_is_behind_a_gateway_that_no_route_uses(net: Net, modem: Modem, family: int, host: str) -> None:
    sh("ip", "-n", net.name, f"-{family}", "route", "del", "default", "dev", "usb0")
    sh("ip", "netns", "exec", net.name, "nft", FIREWALL)
    probed = modem.probed(family, spare=True)
    name = f"[{host}]" if family == 6 else host
    port = modem.socket(socket.SOCK_STREAM, host).getsockname()[1]
    modem.dnsmasq("--address=/example.com/192.0.2.9", "--address=/example.com/2001:db8::9", host=host)
    asked = [check("icmp", host), check("tcp", f"{name}:{port}"), check("dns", host)]
    for of in (*asked, check("tcp", f"{name}:1")):  # a refusal is an answer
        answer = ask(net, of, probed)
        assert answer.outcome is Outcome.ANSWERED, answer.detail
    shown = ("ip", "netns", "exec", modem.name, "ss", "-tan")
    wait_for(
        lambda: "SYN-RECV" not in sh(*shown), 0.5, "it was given up"
    )  # the kernel would do so in a minute
    sh("ip", "-n", modem.name, "addr", "del", f"{host}/{32 if family == 4 else 128}", "dev", "lo")
    for of in asked:
        answer = ask(net, replace(of, timeout=QUICK), probed)
        assert (answer.outcome, answer.detail) == (
            Outcome.FAILED,
            f"{of.targets[0]}: no answer within {QUICK} s",
        )
    modem.hang()
    of = check("icmp", host, timeout=5.0)
    assert ask(net, of, probed).detail == f"{host}: gateway {probed.gateway} does not answer"


def test_the_gateway_itself_is_asked_by_arp_alone(net: Net, modem: Modem) -> None:
    answer = ask(net, check("icmp", "gateway"), modem.probed(spare=True))
    assert answer.outcome is Outcome.SKIPPED
    assert ask(net, check("gateway"), modem.probed(spare=True)).outcome is Outcome.ANSWERED


# --- tcp ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "host"), [(4, HOST), (6, HOST6)])
def test_tcp(net: Net, modem: Modem, family: int, host: str) -> None:
    port = modem.socket(socket.SOCK_STREAM, host).getsockname()[1]
    target = f"[{host}]:{port}" if family == 6 else f"{host}:{port}"
    assert ask(net, check("tcp", target), modem.probed(family)).outcome is Outcome.ANSWERED


def test_who_refuses_is_alive(net: Net, modem: Modem) -> None:
    assert ask(net, check("tcp", f"{HOST}:9"), modem.probed()).outcome is Outcome.ANSWERED


def test_tcp_that_is_dropped(net: Net, modem: Modem) -> None:
    modem.nft("add rule inet t input tcp dport 9 drop")
    answer = ask(net, check("tcp", f"{HOST}:9", timeout=QUICK), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, "192.0.2.1:9: no answer within 0.4 s")


# --- dns ---------------------------------------------------------------------------------------------------


def test_dns(net: Net, modem: Modem) -> None:
    modem.dnsmasq("--address=/known.test/192.0.2.7", "--local=/nothing.test/")
    modem.dnsmasq("--address=/known.test/2001:db8::7", host=HOST6)
    for family, host, query, verdict in [
        (4, HOST, "known.test", "NOERROR"),
        (6, HOST6, "known.test", "NOERROR"),
        (4, HOST, "x.nothing.test", "NXDOMAIN"),
        (4, HOST, "example.com", "REFUSED"),  # it has nobody to ask, and says so: it is alive
    ]:
        answer = ask(net, check("dns", host, query=query), modem.probed(family))
        assert (answer.outcome, answer.detail) == (Outcome.ANSWERED, verdict)


def udp_server(modem: Modem, answer: Callable[[bytes], list[bytes]], port: int = 53) -> None:
    """Sends for each datagram what `answer` makes of it."""
    sock = modem.socket(socket.SOCK_DGRAM, HOST, port)
    sock.settimeout(0.05)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                data, whence = sock.recvfrom(2048)
            except TimeoutError:
                continue
            for reply in answer(data):
                sock.sendto(reply, whence)

    thread = threading.Thread(target=serve)
    thread.start()
    modem.net.cleanup.callback(thread.join)
    modem.net.cleanup.callback(stop.set)


def dns_reply(query: bytes, flags: int) -> bytes:
    return query[:2] + struct.pack("!5H", flags, 1, 0, 0, 0) + query[12:]


def test_servfail_is_no_answer(net: Net, modem: Modem) -> None:
    udp_server(modem, lambda query: [dns_reply(query, 0x8182)])
    answer = ask(net, check("dns", HOST), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, "192.0.2.1: SERVFAIL")


def test_wrong_answers_are_passed_over(net: Net, modem: Modem) -> None:
    def answers(query: bytes) -> list[bytes]:
        other = bytes([query[0] ^ 1]) + query[1:]
        return [b"", query, dns_reply(other, 0x8180), dns_reply(query[:-1] + b"\2", 0x8180)]

    udp_server(modem, answers)
    assert ask(net, check("dns", HOST, timeout=QUICK), modem.probed()).outcome is Outcome.FAILED
    udp_server(modem, lambda query: [*answers(query), dns_reply(query, 0x8183)], 54)
    assert ask(net, check("dns", f"{HOST}:54"), modem.probed()).detail == "NXDOMAIN"


def test_a_closed_dns_port_is_no_answer(net: Net, modem: Modem) -> None:
    answer = ask(net, check("dns", HOST), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, "192.0.2.1: connection refused")


# --- http --------------------------------------------------------------------------------------------------

URL = f"http://{HOST}/generate_204"


def test_http_204(net: Net, modem: Modem) -> None:
    asked = modem.http(204)
    answer = ask(net, check("http", URL), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.ANSWERED, "HTTP 204")
    assert asked == [f"{HOST}/generate_204"]


def test_http_6(net: Net, modem: Modem) -> None:
    asked = modem.http(204, HOST6)
    assert ask(net, check("http", f"http://[{HOST6}]/x"), modem.probed(6)).outcome is Outcome.ANSWERED
    assert asked == [f"[{HOST6}]/x"]


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        (
            302,
            {"Location": "http://portal.example/\x1b[31mlogin"},
            "HTTP 302 to http://portal.example/\\x1b[31mlogin instead of 204:"
            " a captive portal, or the data plan is used up",
        ),
        (200, {}, "HTTP 200 instead of 204: a captive portal, or the data plan is used up"),
        (511, {}, "HTTP 511 instead of 204: a captive portal, or the data plan is used up"),
        (503, {}, "HTTP 503 instead of 204"),
    ],
)
def test_portals(net: Net, modem: Modem, status: int, headers: dict[str, str], says: str) -> None:
    modem.http(status, headers=headers)
    answer = ask(net, check("http", URL), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, f"{URL}: {says}")


def test_another_status_may_be_the_right_one(net: Net, modem: Modem) -> None:
    modem.http(200)
    assert ask(net, check("http", URL, expect=200), modem.probed()).outcome is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (b"", "closed the connection before it had answered"),
        (b"HTTP/1.1 204 No Con", "closed the connection before it had answered"),
        (b"220 mail.example ESMTP\r\n", "not HTTP"),
        (b"HTTP/1.1 204 No Content\r\n" + b"X: y\r\n" * 100_000, "headers of more than 8192 bytes"),
    ],
)
def test_servers_that_are_none(net: Net, modem: Modem, said: bytes, says: str) -> None:
    sock = modem.socket(socket.SOCK_STREAM, HOST, 80)

    def serve() -> None:
        connection, _ = sock.accept()
        with connection:
            connection.recv(4096)
            with contextlib.suppress(OSError):  # it hangs up when it has had enough
                connection.sendall(said)

    thread = threading.Thread(target=serve)
    thread.start()
    answer = ask(net, check("http", URL), modem.probed())
    thread.join()
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, f"{URL}: {says}")


def test_a_server_that_never_answers(net: Net, modem: Modem) -> None:
    modem.socket(socket.SOCK_STREAM, HOST, 80)
    answer = ask(net, check("http", URL, timeout=QUICK), modem.probed())
    assert (answer.outcome, answer.detail) == (Outcome.FAILED, f"{URL}: no answer within 0.4 s")


# --- names -------------------------------------------------------------------------------------------------


def test_names_are_looked_up_through_the_uplink(net: Net, modem: Modem) -> None:
    other = net.modem()
    modem.dnsmasq(f"--address=/check.test/{HOST}")
    other.dnsmasq("--address=/check.test/192.0.2.99")  # that modem's DNS says otherwise
    asked = modem.http(204)
    resolvers = (modem.interface.network[77], modem.probed().address.__class__(HOST))  # the first is silent
    probed = modem.probed(resolvers=resolvers)
    of = check("http", "http://check.test/x")
    assert ask(net, of, probed).outcome is Outcome.ANSWERED
    assert asked == ["check.test/x"]
    probed.resolvers = ()  # it is remembered
    assert ask(net, of, probed).outcome is Outcome.ANSWERED
    probed = other.probed(resolvers=resolvers[1:])
    assert ask(net, replace(of, timeout=QUICK), probed).outcome is Outcome.FAILED
    assert probed.names == {}  # what failed is looked up again


def test_names_that_do_not_resolve(net: Net, modem: Modem) -> None:
    modem.dnsmasq("--address=/four.test/192.0.2.7", "--local=/nothing.test/")
    probed = modem.probed(resolvers=(modem.probed().address.__class__(HOST),))
    answer = ask(net, check("icmp", "x.nothing.test"), probed)
    assert (answer.outcome, answer.detail) == (
        Outcome.FAILED,
        "x.nothing.test: resolver 192.0.2.1 says NXDOMAIN",
    )
    modem.dnsmasq("--address=/four.test/192.0.2.7", "--local=/four.test/", host=HOST6)
    probed = modem.probed(6, resolvers=(modem.probed(6).address.__class__(HOST6),))
    answer = ask(net, check("icmp", "four.test"), probed)
    assert (answer.outcome, answer.detail) == (Outcome.SKIPPED, "four.test: has no IPv6 address")
    answer = ask(net, check("icmp", "four.test"), modem.probed())
    assert (answer.outcome, answer.detail) == (
        Outcome.SKIPPED,
        "four.test: no resolver for IPv4 is configured",
    )


# --- bound to the uplink -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", [0, 1])
def test_twins_with_one_address_and_one_gateway(net: Net, dead: int) -> None:
    twins = [net.modem("192.168.8.100/24") for _ in range(2)]
    for twin in twins:
        twin.http(204 if twin is not twins[dead] else 302)
        twin.dnsmasq()
    # First both have their cables' other end, and only what stands behind one is wrong.
    for number, twin in enumerate(twins):
        answer = ask(net, check("http", URL), twin.probed())
        assert (answer.outcome is Outcome.FAILED) == (number == dead)
    twins[dead].hang()
    for of in (
        check("gateway"),
        check("icmp", HOST),
        check("tcp", f"{HOST}:80"),
        check("dns", HOST),
        check("http", URL),
    ):
        assert ask(net, replace(of, timeout=QUICK), twins[dead].probed()).outcome is Outcome.FAILED, of.kind
        assert ask(net, of, twins[1 - dead].probed()).outcome is Outcome.ANSWERED, of.kind


def test_an_address_that_is_not_there_yet(net: Net, modem: Modem) -> None:
    call_in(net.name, lambda: write_sysctls({"net/ipv6/conf/usb0/dad_transmits": "20"}))  # tentative for 20 s
    sh("ip", "-n", net.name, "addr", "flush", "dev", "usb0")
    sh("ip", "-n", net.name, "addr", "add", str(modem.interface6), "dev", "usb0")
    answer = ask(net, check("icmp", HOST6), modem.probed(6))
    assert answer.outcome is Outcome.LOCAL
    assert answer.detail.endswith("cannot assign requested address")


def test_a_device_that_is_gone(net: Net, modem: Modem) -> None:
    sh("ip", "-n", net.name, "link", "del", "usb0")
    for of in (check("gateway"), check("icmp", HOST), check("tcp", f"{HOST}:80"), check("dns", HOST)):
        answer = ask(net, of, modem.probed())
        assert answer.outcome is Outcome.FAILED
        assert answer.detail.endswith("no such device")


# --- what a probe leaves behind ----------------------------------------------------------------------------


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the listing itself is one of them, always


KINDS = [
    check("gateway"),
    check("icmp", HOST),
    check("tcp", f"{HOST}:80"),
    check("dns", HOST),
    check("http", f"http://{HOST}/"),
    check("http", "http://name.test/"),
]


@pytest.mark.parametrize("of", KINDS, ids=lambda of: f"{of.kind}-{'-'.join(of.targets)}")
@pytest.mark.parametrize("family", [4, 6])
def test_cancelled_and_timed_out_probes_close_their_sockets(
    net: Net, modem: Modem, of: CheckConfig, family: int
) -> None:
    if family == 6:
        texts = tuple(
            t.replace(f"//{HOST}", f"//[{HOST6}]").replace(f"{HOST}:", f"[{HOST6}]:") for t in of.targets
        )
        of = replace(of, targets=tuple(HOST6 if t == HOST else t for t in texts))
    modem.hang()
    probed = modem.probed(family)
    probed.resolvers = (probed.gateway,) if probed.gateway is not None else ()
    (target,) = questions(of, probed)

    kept = of.kind == "gateway" and family == 4  # all of them use the one of their uplink

    async def cancel() -> tuple[int, int]:
        before = open_files()
        tasks = [asyncio.create_task(probe(of, target, probed)) for _ in range(10)]
        async with asyncio.timeout(ready.WITHIN_S):
            while open_files() < before + (1 if kept else 10):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        await probe(replace(of, timeout=0.1), target, probed)
        probed.arp_socket.close()
        await asyncio.get_running_loop().shutdown_default_executor()
        return before, open_files()

    before, after = net.run(cancel)
    assert after == before


SCRIPT = """
import asyncio, contextlib, ipaddress, os, resource, socket
from netbond.config.schema import CheckConfig
from netbond.health.probes import ProbedUplink, probe, questions
probed = ProbedUplink("usb0", ipaddress.ip_address("10.0.0.10"), ipaddress.ip_address("10.0.0.1"))
async def main():
    {trouble}
    for kind, target in ("gateway", ()), ("icmp", ("192.0.2.1",)):
        of = CheckConfig(kind, kind, target, timeout=5.0)
        print((await probe(of, questions(of, probed)[0], probed)).outcome.value)
asyncio.run(main())
"""

NO_FILES = """resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); sockets = []
    with contextlib.suppress(OSError):
        while True:
            sockets.append(socket.socket())"""


@pytest.mark.parametrize(
    ("trouble", "outcome"), [("pass", "answered"), (NO_FILES, "local"), ("os.setuid(65534)", "local")]
)
def test_trouble_of_the_box_is_held_against_no_uplink(
    net: Net, modem: Modem, trouble: str, outcome: str
) -> None:
    """Without root, and when no file can be opened any more."""
    command = [sys.executable, "-c", SCRIPT.format(trouble=trouble)]
    assert sh("ip", "netns", "exec", net.name, *command).split() == [outcome, outcome]
