"""The probes' packets, beside examples from elsewhere, and against whatever else may come in."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.health import packets
from netbond.health.packets import AAAA, A, DnsAnswer, HttpHead
from netbond.model import IPAddress

ME, GATEWAY = ipaddress.IPv4Address("10.0.0.10"), ipaddress.IPv4Address("10.0.0.1")
MAC = bytes.fromhex("020000000010")
THEIRS = bytes.fromhex("020000000001")
# As captured with tcpdump -xx, behind the Ethernet header.
REQUEST = bytes.fromhex("0001080006040001 020000000010 0a00000a 000000000000 0a000001")
REPLY = bytes.fromhex("0001080006040002 020000000001 0a000001 020000000010 0a00000a")


# --- ARP ---------------------------------------------------------------------------------------------------


def test_arp() -> None:
    assert packets.arp_request(MAC, ME, GATEWAY) == REQUEST
    assert packets.is_arp_reply(REPLY, MAC, ME, GATEWAY)
    assert packets.is_arp_reply(REPLY + bytes(18), MAC, ME, GATEWAY)  # padded to the least Ethernet frame
    assert not packets.is_arp_reply(REQUEST, MAC, ME, GATEWAY)


@pytest.mark.parametrize(
    ("at", "octets"),
    [
        (0, "0006"),  # not Ethernet
        (2, "86dd"),  # not IPv4
        (4, "08"),
        (5, "10"),
        (6, "0001"),  # a request
        (8, "000000000000"),  # from nobody
        (8, "ffffffffffff"),  # from everybody
        (14, "0a000002"),  # for another address
        (18, "020000000011"),  # to another host
        (24, "0a00000b"),  # to another address of this host
    ],
)
def test_arp_replies_that_are_none(at: int, octets: str) -> None:
    new = bytes.fromhex(octets)
    assert not packets.is_arp_reply(REPLY[:at] + new + REPLY[at + len(new) :], MAC, ME, GATEWAY)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, len(REPLY) - 1))
def test_arp_reply_cut_off(length: int) -> None:
    assert not packets.is_arp_reply(REPLY[:length], MAC, ME, GATEWAY)


# --- neighbour discovery -----------------------------------------------------------------------------------

ROUTER = ipaddress.IPv6Address("fe80::12:3456:789a")
ADVERTISEMENT = bytes.fromhex("8800 0000 e0000000") + ROUTER.packed + bytes.fromhex("0201 020000000001")


def test_neighbour_discovery() -> None:
    assert str(packets.solicited_node(ROUTER)) == "ff02::1:ff56:789a"
    asked = packets.neighbour_solicitation(MAC, ROUTER)
    assert asked == bytes.fromhex("8700 0000 00000000") + ROUTER.packed + bytes.fromhex("0101") + MAC
    assert packets.is_neighbour_advertisement(ADVERTISEMENT, 255, ROUTER)


@pytest.mark.parametrize(
    ("packet", "hop_limit"),
    [
        (ADVERTISEMENT, 254),  # through a router
        (ADVERTISEMENT[:23], 255),
        (b"\x87" + ADVERTISEMENT[1:], 255),
        (ADVERTISEMENT[:1] + b"\x01" + ADVERTISEMENT[2:], 255),
        (ADVERTISEMENT[:4] + b"\x80" + ADVERTISEMENT[5:], 255),  # nobody asked
        (ADVERTISEMENT[:23] + b"\x9b" + ADVERTISEMENT[24:], 255),  # for another address
    ],
)
def test_advertisements_that_are_none(packet: bytes, hop_limit: int) -> None:
    assert not packets.is_neighbour_advertisement(packet, hop_limit, ROUTER)


# --- echo --------------------------------------------------------------------------------------------------

TOKEN = bytes(range(16))


def echo_reply(family: int, **other: object) -> bytes:
    fields = {"kind": {4: 0, 6: 129}[family], "code": 0, "ident": 7, "sequence": 1, "token": TOKEN} | other
    head = struct.pack("!BBHHH", fields["kind"], fields["code"], 0, fields["ident"], fields["sequence"])
    header = b"\x46" + bytes(23) if family == 4 else b""  # with an option, as IHL 6 says
    return header + head + bytes(fields["token"])  # type: ignore[call-overload,no-any-return]


def test_checksum() -> None:
    # The example of RFC 1071, section 3, and a request as ping sends it.
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert packets.checksum(packets.echo_request(4, 7, 1, TOKEN)) == 0
    assert packets.checksum(packets.echo_request(4, 7, 1, b"odd")) == 0


@pytest.mark.parametrize("family", [4, 6])
def test_echo(family: int) -> None:
    assert packets.is_echo_reply(family, echo_reply(family), 7, 1, TOKEN)
    others: list[dict[str, object]] = [
        {"kind": 3},
        {"kind": {4: 8, 6: 128}[family]},  # our own request
        {"code": 1},
        {"ident": 8},
        {"sequence": 2},
        {"token": TOKEN[:-1]},
        {"token": TOKEN + b"x"},
        {"token": bytes(16)},
    ]
    for other in others:
        assert not packets.is_echo_reply(family, echo_reply(family, **other), 7, 1, TOKEN)


# --- DNS ---------------------------------------------------------------------------------------------------

QUERY = packets.dns_query(0x1234, "Example.com", A)
NAMED = bytes.fromhex("c00c")


def record(kind: int, data: bytes, ttl: int = 300, name: bytes = NAMED) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def reply(*records: bytes, flags: int = 0x8180, query: bytes = QUERY, count: int | None = None) -> bytes:
    head = struct.pack("!2s5H", query[:2], flags, 1, len(records) if count is None else count, 0, 0)
    return head + query[12:] + b"".join(records)


ONE = record(A, bytes([192, 0, 2, 1]))


def test_dns_query() -> None:
    assert (
        bytes.fromhex("1234 0100 0001 0000 0000 0000 07") + b"Example\x03com" + bytes.fromhex("00 0001 0001")
        == QUERY
    )
    assert packets.dns_query(1, "a.", AAAA)[12:] == bytes.fromhex("0161 00 001c 0001")
    for name in ("a" * 64, ".".join(["a" * 60] * 5)):
        with pytest.raises(ValueError, match="too long"):
            packets.dns_query(1, name, A)


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        (reply(ONE), DnsAnswer(0, (ipaddress.ip_address("192.0.2.1"),), 300)),
        (reply(ONE, query=QUERY.lower()), DnsAnswer(0, (ipaddress.ip_address("192.0.2.1"),), 300)),
        # An alias first, its name written out, and the shorter of two TTLs.
        (
            reply(record(5, b"\x01b" + NAMED), ONE, record(A, bytes([192, 0, 2, 2]), 9, b"\x01b\xc0\x0c")),
            DnsAnswer(0, (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2")), 9),
        ),
        (reply(flags=0x8182), DnsAnswer(2)),
        (reply(flags=0x8183), DnsAnswer(3)),
        (reply(flags=0x8185), DnsAnswer(5)),
        (reply(record(AAAA, bytes(16))), DnsAnswer(0)),  # what was not asked for
        (reply(record(A, bytes(16))), DnsAnswer(0)),
        # Alive, though its records cannot be read.
        (reply(ONE, count=9), DnsAnswer(0)),
        (reply(ONE[:-1]), DnsAnswer(0)),
        (reply(b"\xbf" + b"x" * 20, count=1), DnsAnswer(0)),
        # None of ours.
        (reply(ONE, flags=0x0100), None),
        (reply(ONE, flags=0x9180), None),
        (b"\x43\x21" + reply(ONE)[2:], None),
        (reply(ONE, query=packets.dns_query(0x1234, "example.org", A)), None),
        (reply(ONE, query=packets.dns_query(0x1234, "example.com", AAAA)), None),
        (reply()[: len(QUERY) - 1], None),
        (b"", None),
    ],
)
def test_dns_answer(packet: bytes, answer: DnsAnswer | None) -> None:
    assert packets.dns_answer(packet, QUERY) == answer


def test_verdicts() -> None:
    assert [DnsAnswer(code).verdict for code in (0, 2, 3, 11)] == [
        "NOERROR",
        "SERVFAIL",
        "NXDOMAIN",
        "rcode 11",
    ]


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_dns_survives_anything(tail: bytes, count: int) -> None:
    answer = packets.dns_answer(reply(tail, count=count), QUERY)
    assert answer is not None
    assert len(answer.addresses) <= 64
    packets.dns_answer(tail, QUERY)


# --- IP, UDP, TCP ------------------------------------------------------------------------------------------

FOUR = (ME, ipaddress.IPv4Address("192.0.2.1"))
SIX = (ipaddress.IPv6Address("2001:db8::10"), ipaddress.IPv6Address("2001:db8:ffff::1"))
ENDS = pytest.mark.parametrize("ends", [FOUR, SIX], ids=["IPv4", "IPv6"])


def summed(packet: bytes, protocol: int) -> int:
    """The checksum of what the packet carries, with its own: 0 if that is right."""
    if packet[0] >> 4 == 4:
        payload = packet[20:]
        return packets.checksum(packet[12:20] + struct.pack("!HH", protocol, len(payload)) + payload)
    payload = packet[40:]
    return packets.checksum(packet[8:40] + struct.pack("!II", len(payload), protocol) + payload)


@ENDS
def test_a_packet_and_its_answer(ends: tuple[IPAddress, IPAddress]) -> None:
    sent = packets.ip_packet(*ends, packets.UDP, packets.udp_datagram(*ends, (4711, 53), b"what?"))
    assert summed(sent, packets.UDP) == 0
    if ends == FOUR:
        assert packets.checksum(sent[:20]) == 0
    segment = packets.ip_payload(sent, *ends, packets.UDP)
    assert segment is not None
    assert packets.udp_data(segment, (53, 4711)) == b"what?"  # as the other end sees it
    assert packets.udp_data(segment, (4711, 53)) is None
    assert packets.ip_payload(sent, *ends[::-1], packets.UDP) is None
    assert packets.ip_payload(sent, *ends, packets.TCP) is None
    assert packets.ip_payload(sent + b"padding of Ethernet", *ends, packets.UDP) == segment


def test_fragments_are_no_answer() -> None:
    sent = packets.ip_packet(*FOUR, packets.UDP, packets.udp_datagram(*FOUR, (4711, 53), b"what?"))
    assert packets.ip_payload(sent[:6] + b"\x20\0" + sent[8:], *FOUR, packets.UDP) is None


def test_an_echo_of_ipv6_has_its_checksum() -> None:
    sent = packets.ip_packet(*SIX, packets.ICMPV6, packets.echo_request(6, 7, 1, b"token"))
    assert summed(sent, packets.ICMPV6) == 0


@ENDS
def test_tcp(ends: tuple[IPAddress, IPAddress]) -> None:
    ports, number = (40000, 443), 0xFFFFFFFF
    for make, flags, sequence in ((packets.tcp_syn, 2, number), (packets.tcp_reset, 4, 0)):
        sent = packets.ip_packet(*ends, packets.TCP, make(*ends, ports, number))
        assert summed(sent, packets.TCP) == 0
        segment = packets.ip_payload(sent, *ends, packets.TCP)
        assert segment is not None
        assert (*struct.unpack_from("!HHI", segment), segment[13]) == (*ports, sequence, flags)

    def answer(flags: int, acknowledged: int = 0, of: tuple[int, int] = ports[::-1]) -> bytes:
        return struct.pack("!HHIIBBHHH", *of, 5, acknowledged, 5 << 4, flags, 0, 0, 0)

    assert packets.tcp_answers(answer(2 | 16), ports, number)
    assert packets.tcp_answers(answer(4 | 16), ports, number)
    for other in (answer(16), answer(2), answer(4), answer(18, 1), answer(18, of=ports), answer(18)[:19]):
        assert not packets.tcp_answers(other, ports, number)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_what_is_none_of_these(data: bytes) -> None:
    for source, target in (FOUR, SIX):
        packets.ip_payload(data, source, target, packets.UDP)
        head = packets.ip_packet(source, target, packets.UDP, b"")
        packets.ip_payload(head[: len(data)] + data, source, target, packets.UDP)
    packets.tcp_answers(data, (1, 2), 3)
    packets.udp_data(data, (1, 2))
    found = packets.advertised_hardware(bytes(24) + data)
    assert found is None or len(found) == 6


def test_hardware_addresses() -> None:
    assert packets.arp_hardware(REPLY) == THEIRS
    advertisement = bytes(24) + bytes.fromhex("0e01 000000000000") + b"\2\1" + THEIRS
    assert packets.advertised_hardware(advertisement) == THEIRS
    for other in (bytes(24), bytes(24) + b"\2\0" + THEIRS, bytes(24) + b"\2\1" + THEIRS[:5]):
        assert packets.advertised_hardware(other) is None


# --- HTTP --------------------------------------------------------------------------------------------------


def test_http_request() -> None:
    assert packets.http_request("example.org", 80, "/x?y").startswith(
        b"GET /x?y HTTP/1.1\r\nHost: example.org\r\n"
    )
    assert b"\r\nHost: [2001:db8::1]:8080\r\n" in packets.http_request("2001:db8::1", 8080, "/")
    assert packets.http_request("a", 80, "/").endswith(b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "head", "shown"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", HttpHead(204), "HTTP 204"),
        (b"HTTP/1.0 204\n\n", HttpHead(204), "HTTP 204"),
        (b"HTTP/1.1 200 OK\r\nLocation: x\r\n\r\n<html>", HttpHead(200), "HTTP 200"),
        (
            b"HTTP/1.1 302 Found\r\nA: b\r\nLOCATION:\thttp://portal.example/?x\r\nB: c\r\n\r\n",
            HttpHead(302, "http://portal.example/?x"),
            "HTTP 302 to http://portal.example/?x",
        ),
        (b"HTTP/1.1 302 \r\nLocation: \x1b[2J\xe4\r\n\r\n", HttpHead(302, "\\x1b[2J\xe4"), None),
        (b"HTTP/1.1 302 \r\nLocation: " + b"a" * 500 + b"\r\n\r\n", HttpHead(302, "a" * 119 + "…"), None),
        (b"HTTP/1.1 204 No Content\r\nA: b\r\n", None, None),
        (b"HTT", None, None),
        (b"", None, None),
    ],
)
def test_http_head(data: bytes, head: HttpHead | None, shown: str | None) -> None:
    assert packets.http_head(data) == head
    if shown is not None:
        assert str(head) == shown


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 999 x\r\n\r\n", "not HTTP"),
        (b"HTTP/2 204\r\n\r\n", "not HTTP"),
        (b"\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * packets.MAX_HEAD, "headers of more than 8192 bytes"),
    ],
)
def test_http_refused(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        packets.http_head(data)


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=300))
def test_http_survives_anything(data: bytes) -> None:
    for text in (data, b"HTTP/1.1 302 x\r\nLocation: " + data + b"\r\n\r\n"):
        try:
            head = packets.http_head(text)
        except ValueError:
            continue
        assert head is None or str(head).isprintable()
