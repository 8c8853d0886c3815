"""Builds the packets of the probes, and recognises their answers; without sockets.

What comes in is untrusted. Each function accepts only the exact answer to what was asked. Sources: RFC 826
(ARP), 792 and 4443 (echo), 4861 (neighbour discovery), 1035 (DNS), 9112 (HTTP/1.1), 791 and 8200 (IP), 768
(UDP), 9293 (TCP).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netbond.model import IPAddress
from netbond.system.text import printable

# --- ARP ---------------------------------------------------------------------------------------------------

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET, _IPV4, _REQUEST, _REPLY = 1, 0x0800, 1, 2


def arp_request(mac: bytes, sender: IPv4Address, target: IPv4Address) -> bytes:
    """Who has `target`? Tell `sender`, who is `mac`. Without the Ethernet header."""
    return _ARP.pack(_ETHERNET, _IPV4, 6, 4, _REQUEST, mac, sender.packed, bytes(6), target.packed)


def is_arp_reply(packet: bytes, mac: bytes, sender: IPv4Address, target: IPv4Address) -> bool:
    """Whether this answers arp_request() of the same arguments."""
    if len(packet) < _ARP.size:
        return False
    hardware, protocol, mac_length, ip_length, operation, theirs, their_ip, ours, our_ip = _ARP.unpack_from(
        packet
    )
    return (
        (hardware, protocol, mac_length, ip_length, operation) == (_ETHERNET, _IPV4, 6, 4, _REPLY)
        and their_ip == target.packed
        and our_ip == sender.packed
        and ours == mac
        and theirs != bytes(6)
        and not theirs[0] & 1  # a group address belongs to no host
    )


def arp_hardware(packet: bytes) -> bytes:
    """The hardware address of who sent this ARP reply."""
    return packet[8:14]


# --- IPv6 neighbour discovery ------------------------------------------------------------------------------

_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITED = 0x40000000  # the advertisement answers a solicitation


def neighbour_solicitation(mac: bytes, target: IPv6Address) -> bytes:
    """Who has `target`? With our link-layer address; the kernel fills in the checksum."""
    option = struct.pack("!BB6s", 1, 1, mac) if len(mac) == 6 else b""
    return struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + target.packed + option


def solicited_node(target: IPv6Address) -> IPv6Address:
    """The multicast address on which the holder of `target` listens (RFC 4291, 2.7.1)."""
    return IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[-3:])


def is_neighbour_advertisement(packet: bytes, hop_limit: int, target: IPv6Address) -> bool:
    """Whether this answers a solicitation for `target`; with a hop limit below 255 it came from elsewhere."""
    if len(packet) < 24 or hop_limit != 255:
        return False
    kind, code, _checksum, flags = struct.unpack_from("!BBHI", packet)
    return (kind, code) == (_ADVERTISEMENT, 0) and bool(flags & _SOLICITED) and packet[8:24] == target.packed


def advertised_hardware(packet: bytes) -> bytes | None:
    """The hardware address in an advertisement (option 2), 6 bytes; None if there is none."""
    at = 24
    while len(packet) >= at + 8 and packet[at + 1]:
        if (packet[at], packet[at + 1]) == (2, 1):
            return packet[at + 2 : at + 8]
        at += packet[at + 1] * 8
    return None


# --- ICMP echo ---------------------------------------------------------------------------------------------

_ECHO_REQUEST = {4: 8, 6: 128}
_ECHO_REPLY = {4: 0, 6: 129}


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(family: int, ident: int, sequence: int, token: bytes) -> bytes:
    """An ICMP echo request; of IPv6 the kernel fills in the checksum."""
    head = struct.pack("!BBHHH", _ECHO_REQUEST[family], 0, 0, ident, sequence)
    if family == 6:
        return head + token
    return struct.pack("!BBHHH", 8, 0, checksum(head + token), ident, sequence) + token


def is_echo_reply(family: int, packet: bytes, ident: int, sequence: int, token: bytes) -> bool:
    """Whether a packet from a raw socket (of IPv4 with its IP header) answers echo_request()."""
    if family == 4:
        if not packet or packet[0] >> 4 != 4:
            return False
        packet = packet[(packet[0] & 15) * 4 :]
    if len(packet) < 8:
        return False
    kind, code, _checksum, got_ident, got_sequence = struct.unpack_from("!BBHHH", packet)
    return (
        (kind, code) == (_ECHO_REPLY[family], 0)
        and (got_ident, got_sequence) == (ident, sequence)
        and packet[8:] == token
    )


# --- IP, UDP and TCP: for packets that the kernel does not route -------------------------------------------

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
_HOPS = 64
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_WINDOW = 65535


def _summed(source: IPAddress, target: IPAddress, protocol: int, segment: bytes) -> int:
    """The checksum of a segment with its pseudo header (RFC 9293 3.1, 8200 8.1)."""
    layout = "!HH" if source.version == 4 else "!II"
    lengths = (protocol, len(segment)) if source.version == 4 else (len(segment), protocol)
    return checksum(source.packed + target.packed + struct.pack(layout, *lengths) + segment)


def ip_packet(source: IPAddress, target: IPAddress, protocol: int, payload: bytes) -> bytes:
    """An IP packet of the addresses' family. `payload` has its checksum, but for ICMPv6."""
    if source.version == 6:
        if protocol == ICMPV6:
            total = _summed(source, target, protocol, payload)
            payload = payload[:2] + struct.pack("!H", total) + payload[4:]
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, _HOPS)
        return head + source.packed + target.packed + payload
    dont_fragment = 0x4000
    fields = (0x45, 0, 20 + len(payload), 0, dont_fragment, _HOPS, protocol)
    head = struct.pack("!BBHHHBBH", *fields, 0) + source.packed + target.packed
    return struct.pack("!BBHHHBBH", *fields, checksum(head)) + head[12:] + payload


def ip_payload(packet: bytes, source: IPAddress, target: IPAddress, protocol: int) -> bytes | None:
    """What a whole IP packet of these carries; None if it is another one, or a fragment."""
    if source.version == 6:
        if len(packet) < 40 or packet[0] >> 4 != 6 or packet[6] != protocol:
            return None
        same = packet[8:24] == source.packed and packet[24:40] == target.packed
        return packet[40 : 40 + int.from_bytes(packet[4:6], "big")] if same else None
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != protocol:
        return None
    if int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return None
    same = packet[12:16] == source.packed and packet[16:20] == target.packed
    return packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")] if same else None


def udp_datagram(source: IPAddress, target: IPAddress, ports: tuple[int, int], data: bytes) -> bytes:
    """A UDP datagram; `ports` are ours and theirs."""
    head = struct.pack("!HHHH", *ports, 8 + len(data), 0)
    total = _summed(source, target, UDP, head + data) or 0xFFFF
    return head[:6] + struct.pack("!H", total) + data


def udp_data(segment: bytes, ports: tuple[int, int]) -> bytes | None:
    """What a datagram to us carries, if it is of these ports; `ports` are ours and theirs."""
    if len(segment) < 8 or struct.unpack_from("!HH", segment) != ports[::-1]:
        return None
    return segment[8:]


def _tcp(source: IPAddress, target: IPAddress, ports: tuple[int, int], number: int, flags: int) -> bytes:
    parts = (*ports, number, 0, 5 << 4, flags, _WINDOW if flags == _SYN else 0)
    head = struct.pack("!HHIIBBHHH", *parts, 0, 0)
    return head[:16] + struct.pack("!H", _summed(source, target, TCP, head)) + head[18:]


def tcp_syn(source: IPAddress, target: IPAddress, ports: tuple[int, int], number: int) -> bytes:
    """A TCP segment that asks for a connection; `number` is our sequence number, `ports` ours and theirs."""
    return _tcp(source, target, ports, number, _SYN)


def tcp_reset(source: IPAddress, target: IPAddress, ports: tuple[int, int], number: int) -> bytes:
    """A segment that ends the connection for which tcp_syn() of the same arguments has asked."""
    return _tcp(source, target, ports, (number + 1) & 0xFFFFFFFF, _RST)


def tcp_answers(segment: bytes, ports: tuple[int, int], number: int) -> bool:
    """Whether this is the answer to tcp_syn(): a connection, or a refusal."""
    if len(segment) < 20:
        return False
    theirs, ours, _number, acknowledged, _offset, flags = struct.unpack_from("!HHIIBB", segment)
    answer = flags & _ACK and flags & (_SYN | _RST)
    return bool(answer) and (ours, theirs) == ports and acknowledged == (number + 1) & 0xFFFFFFFF


# --- DNS ---------------------------------------------------------------------------------------------------

A, AAAA = 1, 28
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_MAX_RECORDS = 64


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What a server said: its rcode, and the addresses in the answer section."""

    rcode: int
    addresses: tuple[IPAddress, ...] = ()
    ttl: int = 0  # seconds, the lowest of the addresses

    @property
    def verdict(self) -> str:
        """The rcode by name."""
        return RCODES.get(self.rcode, f"rcode {self.rcode}")


def dns_query(ident: int, name: str, kind: int) -> bytes:
    """A recursive query for the records of `kind` (A or AAAA) of a name of ASCII labels."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    if any(len(label) > 63 for label in labels) or sum(len(label) + 1 for label in labels) > 254:
        raise ValueError(f"{name!r} is too long for a DNS name")
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + question + struct.pack("!HH", kind, 1)


def dns_answer(packet: bytes, query: bytes) -> DnsAnswer | None:
    """The answer to `query`; None for another id, another question, or what is not DNS."""
    if len(packet) < len(query) or packet[:2] != query[:2]:
        return None
    _ident, flags, questions, answers = struct.unpack_from("!4H", packet)
    if not flags & 0x8000 or flags & 0x7800 or questions != 1:
        return None
    # Servers may answer in another case; type and class must be the same.
    asked, got = query[12:], packet[12 : len(query)]
    if got[:-4].lower() != asked[:-4].lower() or got[-4:] != asked[-4:]:
        return None
    rcode = flags & 15
    kind = struct.unpack("!H", asked[-4:-2])[0]
    try:
        found = list(_records(packet, len(query), min(answers, _MAX_RECORDS), kind))
    except (IndexError, struct.error):
        found = []  # malformed after the question: the server is alive, but its records are not used
    return DnsAnswer(rcode, tuple(a for a, _ in found), min((ttl for _, ttl in found), default=0))


def _records(packet: bytes, at: int, count: int, kind: int) -> list[tuple[IPAddress, int]]:
    """The addresses of type `kind` in `count` records from `at` on. IndexError, struct.error: malformed."""
    found: list[tuple[IPAddress, int]] = []
    for _ in range(count):
        at = _behind_name(packet, at)
        of, cls, ttl, length = struct.unpack_from("!HHIH", packet, at)
        at += 10
        data = packet[at : at + length]
        if len(data) != length:
            raise IndexError("record is cut off")
        if (of, cls) == (kind, 1):
            if kind == A and length == 4:
                found.append((IPv4Address(data), ttl))
            elif kind == AAAA and length == 16:
                found.append((IPv6Address(data), ttl))
        at += length
    return found


def _behind_name(packet: bytes, at: int) -> int:
    """Where the name that begins at `at` ends. A pointer ends it, so there is no loop."""
    while True:
        length = packet[at]
        if length >= 0xC0:
            return at + 2
        at += 1 + length
        if length == 0:
            return at


# --- HTTP --------------------------------------------------------------------------------------------------

MAX_HEAD = 8192  # bytes of status line and headers that are read at most

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_LOCATION = re.compile(rb"\r?\nlocation:[ \t]*([^\r\n]*)", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")


def http_request(host: str, port: int, path: str) -> bytes:
    """A GET that asks the server to close; the arguments are as netbond.config.targets checked them."""
    name = f"[{host}]" if ":" in host else host
    where = name if port == 80 else f"{name}:{port}"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {where}\r\nUser-Agent: netbond\r\nAccept: */*\r\n"
        "Cache-Control: no-cache\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


@dataclass(frozen=True, slots=True)
class HttpHead:
    """The status, and where a redirect leads (printable, at most 120 characters; "" for none)."""

    status: int
    location: str = ""

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f" to {self.location}" if self.location else "")


def http_head(data: bytes) -> HttpHead | None:
    """The head of a response; None while it is incomplete. ValueError: this is not HTTP, or too long."""
    end = _END.search(data)
    if end is None:
        if len(data) >= MAX_HEAD:
            raise ValueError(f"headers of more than {MAX_HEAD} bytes")
        if b"\n" in data and not _STATUS.match(data):
            raise ValueError("not HTTP")
        return None
    head = data[: end.start()] + b"\r\n"
    status = _STATUS.match(head)
    if status is None:
        raise ValueError("not HTTP")
    location = _LOCATION.search(head)
    where = printable(location[1].decode("latin-1").strip(), 120) if location else ""
    return HttpHead(int(status[1]), where if status[1].startswith(b"3") else "")
