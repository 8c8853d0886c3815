"""Converts netlink messages into the nouns of netbond.model, and nouns into messages. Pure.

A pass of the agent reads everything, many times a second when modems come and go. So reading must be cheap:
messages are unpacked by hand, and only those that are new since the last time (Reader). Sources:
rtnetlink(7), and the kernel's include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,fib_rules,nexthop}.h. The
numbers below are from there, and are part of the kernel's stable interface.
"""

from __future__ import annotations

import ipaddress
import itertools
import operator
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from netbond.model import (
    FORWARDS_ALL,
    GROUP_BUCKETS,
    GROUP_IDLE_S,
    LOCAL_TABLE,
    MAIN_TABLE,
    PATH_ATTRIBUTES,
    Address,
    Interface,
    IPAddress,
    IPNetwork,
    Nexthop,
    NexthopGroup,
    NexthopObject,
    PathAttributes,
    Route,
    Rule,
)

# nlmsghdr.nlmsg_type
NLMSG_ERROR, NLMSG_DONE = 2, 3
NEWLINK, GETLINK = 16, 18
NEWADDR, GETADDR = 20, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWRULE, DELRULE, GETRULE = 32, 33, 34
NEWNEIGH, GETNEIGH = 28, 30
NEWNEXTHOP, DELNEXTHOP, GETNEXTHOP = 104, 105, 106
GETNETCONF, GETNEXTHOPBUCKET = 82, 118

# nlmsghdr.nlmsg_flags
REQUEST, ACK, DUMP, REPLACE, EXCLUSIVE, CREATE = 0x1, 0x4, 0x300, 0x100, 0x200, 0x400
DUMP_INTERRUPTED = 0x10

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
# rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags; fib_rule_hdr: family, dst_len,
# src_len, tos, table, two reserved, action, flags
_ROUTE = struct.Struct("=BBBBBBBBI")
_LEG = struct.Struct("=HBBi")  # rtnexthop: length, flags, hops (the weight less one), index
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type
_NEXTHOP = struct.Struct("=BBBxI")  # nhmsg: family, scope, protocol, flags
_CACHE = struct.Struct("=8xi16x")  # rta_cacheinfo: two counters, expires (in 1/USER_HZ), four more
_MEMBER = struct.Struct("=IBBH")  # nexthop_grp: id, weight less one, its high byte (6.12 and later), reserved

NUD_REACHABLE, NUD_FAILED = 0x02, 0x20
_IFF_UP, _IFF_LOOPBACK, _IFF_POINTOPOINT, _IFF_NOARP, _IFF_LOWER_UP = 0x1, 0x8, 0x10, 0x80, 0x10000
_IFA_F_TEMPORARY, _IFA_F_OPTIMISTIC, _IFA_F_DADFAILED = 0x01, 0x04, 0x08
_IFA_F_DEPRECATED, _IFA_F_TENTATIVE, _IFA_F_PERMANENT, _IFA_F_MANAGETEMPADDR = 0x20, 0x40, 0x80, 0x100
_IFAPROT_KERNEL_RA = 2  # kernel 5.18
_USER_HZ = 100  # on every architecture that netbond runs on
_PREFERENCE = {b"\1": 1, b"\3": -1}  # ICMPV6_ROUTER_PREF_HIGH and _LOW; all others are medium
_RTM_F_CLONED = 0x200  # a cached exception (path MTU), not a configured route
_RTNH_F_DEAD, _RTNH_F_ONLINK = 0x1, 0x4
_FIB_RULE_INVERT = 0x2  # `ip rule add not ...`
_NETCONF_ALL = -1  # NETCONFA_IFINDEX_ALL
_SKIP_STATISTICS = 0x8  # RTEXT_FILTER_SKIP_STATS: a link's counters are most of its message

FAMILY = {socket.AF_INET: 4, socket.AF_INET6: 6}
AF = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_KINDS = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_ACTIONS = {1: "table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_KIND_NUMBERS = {name: number for number, name in _KINDS.items()}
_SCOPE_NUMBERS = {name: number for number, name in _SCOPES.items()}
_ACTION_NUMBERS = {name: number for number, name in _ACTIONS.items()}

_PATH = dict(enumerate(PATH_ATTRIBUTES, 1))
_PATH_NUMBERS = {name: number for number, name in _PATH.items()}

_DEFAULT: dict[int, IPNetwork] = {4: ipaddress.IPv4Network("0.0.0.0/0"), 6: ipaddress.IPv6Network("::/0")}
# IPv6's own routes to multicast and the like, in the local table on some kernels and in main on others.
_OWN_KINDS = frozenset({2, 3, 4, 5})

# FRA_*: what a rule may match on besides what model.Rule has. Those with a form are written in it, and may be
# in netbond's own rules, too; others are hexadecimal numbers, and somebody else's.
_OTHER_MATCHES: dict[int, tuple[str, str]] = {
    4: ("goto", "=I"),
    11: ("realm", ""),
    12: ("tun_id", ""),
    13: ("suppress_ifgroup", ""),
    19: ("l3mdev", "=B"),
    20: ("uidrange", "=II"),
    22: ("ipproto", "=B"),
    23: ("sport", "=HH"),
    24: ("dport", "=HH"),
    25: ("dscp", "=B"),
    28: ("sport_mask", ""),
    29: ("dport_mask", ""),
    30: ("dscp_mask", ""),
}
_OTHER_NUMBERS = {name: (kind, form) for kind, (name, form) in _OTHER_MATCHES.items() if form}
_UID_RANGE = 20  # the kernel reports it only if it is a condition, as 0 to 0 for root
_NO_CONDITION = frozenset({(13, b"\xff" * 4), (28, b"\xff" * 2), (29, b"\xff" * 2), (30, b"\x3f")})
_KNOWN_MATCHES = frozenset({0, 1, 2, 3, 6, 10, 14, 15, 16, 17, 18, 21})

Names = Mapping[int, str]  # of interfaces, by index
Noun = TypeVar("Noun")


def attributes(data: bytes, offset: int, end: int | None = None) -> dict[int, bytes]:
    """The attributes of a message by type, without flags. One that is cut off is left out."""
    end = len(data) if end is None else end
    found = {}
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and payload of each message in `data`, as received from a socket."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            return
        yield kind, flags, sequence, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _u32(data: bytes | None, default: int = 0) -> int:
    return default if data is None else int(_U32.unpack_from(data)[0])


def _text(data: bytes | None) -> str:
    return "" if data is None else data.split(b"\0", 1)[0].decode(errors="replace")


def _ip(data: bytes) -> IPAddress:
    return ipaddress.IPv4Address(data) if len(data) == 4 else ipaddress.IPv6Address(data)


def _network(data: bytes | None, length: int, family: int) -> IPNetwork:
    if data is None or not length:
        return _DEFAULT[family]
    return ipaddress.ip_network((_ip(data), length), strict=False)


# --- bytes into nouns --------------------------------------------------------------------------------------


def link(payload: bytes, names: Names) -> Interface | None:
    """An interface; None for a message about something else, as bridges send."""
    family, _, index, flags, _ = _LINK.unpack_from(payload)
    found = attributes(payload, _LINK.size)
    if family != 0 or 3 not in found:  # AF_UNSPEC; IFLA_IFNAME
        return None
    info = attributes(found[18], 0) if 18 in found else {}  # IFLA_LINKINFO
    kind = _text(info.get(1))
    # What IFLA_INFO_DATA has depends on the kind.
    vrf = attributes(info[2], 0) if kind == "vrf" and 2 in info else {}
    counted = found.get(23, b"")  # IFLA_STATS64: packets in and out, bytes in and out, ...
    rx, tx = struct.unpack_from("=16xQQ", counted) if len(counted) >= 32 else (0, 0)
    return Interface(
        name=sys.intern(_text(found[3])),
        index=index,
        up=bool(flags & _IFF_UP),
        carrier=bool(flags & _IFF_LOWER_UP),
        loopback=bool(flags & _IFF_LOOPBACK),
        point_to_point=bool(flags & _IFF_POINTOPOINT),
        mtu=_u32(found.get(4)),
        no_arp=bool(flags & _IFF_NOARP),
        kind=kind,
        master=names.get(_u32(found.get(10)), ""),
        vrf_table=_u32(vrf.get(1)),  # IFLA_VRF_TABLE
        mac=found.get(1, b"").hex(":"),
        rx_bytes=rx,
        tx_bytes=tx,
    )


def address(payload: bytes, names: Names) -> Address | None:
    """An address; None if it is of another family, or of an interface that is not in `names`."""
    af, length, flags, scope, index = _ADDRESS.unpack_from(payload)
    found = attributes(payload, _ADDRESS.size)
    # On a point-to-point link IFA_ADDRESS is the peer and the prefix length is the peer's.
    peer = found.get(1)
    local = found.get(2, peer)
    if af not in FAMILY or local is None or index not in names:
        return None
    flags = _u32(found.get(8), flags)
    other_end = peer is not None and peer != local
    lonely = bool(flags & _IFA_F_TENTATIVE) and not flags & _IFA_F_OPTIMISTIC
    ip = _ip(local)
    return Address(
        device=names[index],
        interface=ipaddress.ip_interface(ip if other_end else (ip, length)),
        peer=_ip(peer) if other_end and peer is not None else None,
        scope=_SCOPES.get(scope, str(scope)),
        tentative=af == AF[6] and (lonely or bool(flags & _IFA_F_DADFAILED)),
        deprecated=af == AF[6] and bool(flags & _IFA_F_DEPRECATED),
        temporary=af == AF[6] and bool(flags & _IFA_F_TEMPORARY),
        dynamic=_is_dynamic(af, length, flags, found),
    )


def _is_dynamic(af: int, length: int, flags: int, found: Mapping[int, bytes]) -> bool:
    """Whether a DHCP server or a router gave the address.

    A lifetime alone says so for IPv4. For IPv6 an address of a prefix that was delegated to this box has one,
    too. Such a prefix is not made from an advertisement, and is no /128 as an address of DHCPv6.
    """
    if flags & _IFA_F_PERMANENT:
        return False
    advertised = bool(flags & (_IFA_F_TEMPORARY | _IFA_F_MANAGETEMPADDR))
    advertised |= found.get(11, b"\0")[0] == _IFAPROT_KERNEL_RA  # IFA_PROTO
    return af == AF[4] or advertised or length == 128


def _gateway(found: Mapping[int, bytes]) -> IPAddress | None:
    if 5 in found:  # RTA_GATEWAY
        return _ip(found[5])
    return _ip(found[18][2:]) if 18 in found else None  # RTA_VIA: an IPv6 gateway of an IPv4 route


def _legs(data: bytes, names: Names) -> Iterator[Nexthop]:
    offset = 0
    while offset + _LEG.size <= len(data):
        length, flags, hops, index = _LEG.unpack_from(data, offset)
        if length < _LEG.size:
            return
        found = attributes(data, offset + _LEG.size, offset + length)
        onlink, dead = bool(flags & _RTNH_F_ONLINK), bool(flags & _RTNH_F_DEAD)
        yield Nexthop(names.get(index, ""), _gateway(found), hops + 1, onlink, dead)
        offset += (length + 3) & ~3


def route(payload: bytes, names: Names) -> Route | None:
    """A route; None for routes that are not configured (local, multicast, cached), or have expired.

    The kernel uses an expired route no more, but lists it for up to half a minute, until it collects it.
    """
    af, _, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(payload)
    if table == LOCAL_TABLE or kind in _OWN_KINDS or flags & _RTM_F_CLONED or af not in FAMILY:
        return None
    found = attributes(payload, _ROUTE.size)
    table = _u32(found.get(15), table)  # RTA_TABLE
    if table == LOCAL_TABLE or _expires(found) < 0:
        return None
    return _route(payload, found, names)


def answer(payload: bytes, names: Names) -> Route:
    """What the kernel answers to lookup_request: any route, a cached one of the local table too."""
    return _route(payload, attributes(payload, _ROUTE.size), names)


def _expires(found: Mapping[int, bytes]) -> int:
    """In 1/USER_HZ from now; 0: never; negative: it has expired."""
    cached = found.get(12, b"")  # RTA_CACHEINFO
    return int(_CACHE.unpack_from(cached)[0]) if len(cached) >= _CACHE.size else 0


def _route(payload: bytes, found: Mapping[int, bytes], names: Names) -> Route:
    af, length, from_length, tos, table, protocol, scope, kind, flags = _ROUTE.unpack_from(payload)
    family = FAMILY[af]
    hops: tuple[Nexthop, ...] = ()
    if kind in (1, 2):  # other kinds may name a device (IPv6: lo), which means nothing
        if 9 in found:  # RTA_MULTIPATH
            hops = tuple(_legs(found[9], names))
        elif 4 in found:  # RTA_OIF
            device = names.get(_u32(found[4]), "")
            onlink, dead = bool(flags & _RTNH_F_ONLINK), bool(flags & _RTNH_F_DEAD)
            hops = (Nexthop(device, _gateway(found), 1, onlink, dead),)
    return Route(
        table=_u32(found.get(15), table),
        destination=_network(found.get(1), length, family),
        nexthops=hops,
        kind=_KINDS.get(kind, str(kind)),
        metric=_u32(found.get(6)),
        source=_ip(found[7]) if 7 in found else None,
        scope="global" if family == 6 else _SCOPES.get(scope, str(scope)),
        protocol=protocol,
        nexthop_id=_u32(found.get(30)),
        attributes=_path(found[8]) if 8 in found else (),  # RTA_METRICS
        expires_s=_expires(found) / _USER_HZ or None,
        other=_other_of_route(from_length, tos, found) if from_length or tos or 21 in found else "",
        preference=_PREFERENCE.get(found.get(20, b"")[:1], 0),  # RTA_PREF
    )


def _path(data: bytes) -> PathAttributes:
    """The attributes of a path; those that a later kernel may add are left out."""
    found = ((kind, value) for kind, value in sorted(attributes(data, 0).items()) if kind in _PATH)
    return tuple(
        (_PATH[kind], _text(value) if _PATH[kind] == "congctl" else _u32(value)) for kind, value in found
    )


def _pack_path(path: PathAttributes) -> bytes:
    return b"".join(
        _attribute(
            _PATH_NUMBERS[name], value.encode() + b"\0" if isinstance(value, str) else _U32.pack(value)
        )
        for name, value in path
    )


def _other_of_route(from_length: int, tos: int, found: Mapping[int, bytes]) -> str:
    """What a route matches on or does besides what model.Route has: "from 2001:db8::/48, encap"."""
    words = []
    if from_length and 2 in found:  # RTA_SRC
        words.append(f"from {_ip(found[2])}/{from_length}")
    if tos:
        words.append(f"tos {tos}")
    if 21 in found:  # RTA_ENCAP_TYPE
        words.append("encap")
    return ", ".join(words)


def _other_match(kind: int, value: bytes) -> str:
    """ "uidrange 0-1000", "ipproto 6", "attribute 99 c0ffee"."""
    name, form = _OTHER_MATCHES.get(kind, ("", ""))
    if form and len(value) == struct.calcsize(form):
        return f"{name} {'-'.join(map(str, struct.unpack(form, value)))}"
    return f"{name if name and not form else f'attribute {kind}'} {value.hex()}"


def rule(payload: bytes, _names: Names) -> Rule | None:
    """A policy rule."""
    af, to_length, from_length, tos, table, _, _, action, flags = _ROUTE.unpack_from(payload)
    if af not in FAMILY:
        return None
    family = FAMILY[af]
    found = attributes(payload, _ROUTE.size)
    suppress = _u32(found.get(14), 0xFFFFFFFF)  # the kernel says -1 for "none"
    other = [
        _other_match(kind, value)
        for kind, value in sorted(found.items())
        if kind not in _KNOWN_MATCHES
        and (any(value) or kind == _UID_RANGE)
        and (kind, value) not in _NO_CONDITION
    ]
    if tos:
        other.append(f"tos {tos}")
    if flags & _FIB_RULE_INVERT:
        other.append("not")
    mark = _u32(found.get(10))
    return Rule(
        priority=_u32(found.get(6)),
        family=family,
        table=_u32(found.get(15), table),
        source=_network(found[2], from_length, family) if 2 in found else None,
        oif=_text(found.get(17)),
        iif=_text(found.get(3)),
        suppress_prefixlength=None if suppress == 0xFFFFFFFF else suppress,
        destination=_network(found[1], to_length, family) if 1 in found else None,
        mark=mark,
        mask=_u32(found.get(16), 0xFFFFFFFF if mark else 0) if mark or 16 in found else 0,
        protocol=found[21][0] if 21 in found else 0,
        action=_ACTIONS.get(action, str(action)),
        other=", ".join(other),
    )


def nexthop(payload: bytes, names: Names) -> NexthopObject | NexthopGroup | None:
    """A nexthop object or a group of them."""
    af, _, protocol, flags = _NEXTHOP.unpack_from(payload)
    found = attributes(payload, _NEXTHOP.size)
    number = _u32(found.get(1))  # NHA_ID
    if 2 in found:  # NHA_GROUP
        members = (_MEMBER.unpack_from(found[2], at) for at in range(0, len(found[2]) - 7, 8))
        return NexthopGroup(
            number,
            0,
            tuple(sorted((member, low + 256 * high + 1) for member, low, high, _ in members)),
            protocol,
            resilient=found.get(3, b"")[:2] == _U16.pack(1),  # NHA_GROUP_TYPE, NEXTHOP_GRP_TYPE_RES
        )
    other = [word for kind, word in ((4, "blackhole"), (8, "encap"), (11, "fdb")) if kind in found]
    return NexthopObject(
        id=number,
        family=FAMILY.get(af, 0),
        device=names.get(_u32(found.get(5)), ""),
        gateway=_ip(found[6]) if 6 in found else None,
        onlink=bool(flags & _RTNH_F_ONLINK),
        protocol=protocol,
        other=" ".join(other),
    )


def forwarding(payload: bytes, names: Names) -> tuple[str, int] | None:
    """An interface, or FORWARDS_ALL, and a family of which the box forwards what comes in by it."""
    af = payload[0]  # netconfmsg
    found = attributes(payload, 4)
    if af not in FAMILY or not _u32(found.get(2)):  # NETCONFA_FORWARDING
        return None
    index = struct.unpack("=i", found[1])[0]  # NETCONFA_IFINDEX
    if index == _NETCONF_ALL:
        return (FORWARDS_ALL, 6) if af == AF[6] else None
    return (names[index], 4) if af == AF[4] and index in names else None


class Reader:
    """Parses each payload once: most messages of a dump were in the dump before."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._read: dict[tuple[Callable[..., Any], int], _Read] = {}
        self._joined: dict[Callable[..., Any], tuple[tuple[Any, ...], ...]] = {}

    def begin(self, names: dict[int, str]) -> bool:
        """Begin a new reading, with the interfaces as they are now; whether they were others before."""
        if names == self._names:
            return False
        self._read = {}
        self._names = names
        return True

    def read(self, parse: Callable[[bytes, Names], Noun | None], *dumps: Sequence[bytes]) -> tuple[Noun, ...]:
        """What `parse` makes of the payloads of these dumps, without None.

        The very same objects as the last time for payloads that were there, and the very same tuple if all
        the lists are the same. What the last reading did not see is forgotten.
        """
        found = tuple([self._one(parse, place, dump) for place, dump in enumerate(dumps)])
        before = self._joined.get(parse, ())
        if len(before) != len(found) + 1 or not all(map(operator.is_, before[1:], found)):
            joined = found[0] if len(found) == 1 else tuple(itertools.chain(*found))
            before = (joined, *found)
            self._joined[parse] = before
        return before[0]

    def _one(
        self, parse: Callable[[bytes, Names], Noun | None], place: int, dump: Sequence[bytes]
    ) -> tuple[Noun, ...]:
        before = self._read.get((parse, place)) or _Read((), {}, ())
        if dump is before.dump:
            return before.found
        known, names = before.known, self._names
        now: dict[bytes, Any] = {}
        nouns = []
        for payload in dump:
            noun = known[payload] if payload in known else parse(payload, names)
            now[payload] = noun
            if noun is not None:
                nouns.append(noun)
        found = tuple(nouns)
        self._read[parse, place] = _Read(dump, now, found)
        return found


class _Read(NamedTuple):
    """What was read of one dump the last time."""

    dump: Sequence[bytes]
    known: dict[bytes, Any]  # by payload
    found: tuple[Any, ...]


# --- nouns into bytes --------------------------------------------------------------------------------------


class DeviceGoneError(Exception):
    """The device of a route does not exist any more."""


def neighbour(payload: bytes) -> tuple[int, IPAddress, int] | None:
    """The device's index, the neighbour's address, and its NUD_* state; None: of another family, or cut."""
    if len(payload) < _NEIGHBOUR.size:
        return None
    family, index, state, _, _ = _NEIGHBOUR.unpack_from(payload)
    address = attributes(payload, _NEIGHBOUR.size).get(1, b"")  # NDA_DST
    if len(address) != {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family):
        return None
    return index, ipaddress.ip_address(address), state


def pack_neighbour(index: int, address: IPAddress) -> bytes:
    """The payload of a request about one neighbour of a device."""
    packed = address.packed
    return _NEIGHBOUR.pack(AF[address.version], index, 0, 0, 0) + _attribute(1, packed)  # NDA_DST


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """A request, padded so that another may follow."""
    data = HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload
    return data + b"\0" * (-len(data) % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, _U32.pack(value))


def dump_request(kind: int, af: int, sequence: int, *, statistics: bool = False) -> bytes:
    """Ask for all objects of a kind (GETLINK, ...) and family."""
    payload = {
        GETLINK: _LINK.pack(af, 0, 0, 0, 0),
        GETADDR: _ADDRESS.pack(af, 0, 0, 0, 0),
        GETNEXTHOP: _NEXTHOP.pack(af, 0, 0, 0),
        GETNEXTHOPBUCKET: _NEXTHOP.pack(af, 0, 0, 0),
        GETNETCONF: bytes([af, 0, 0, 0]),
    }.get(kind, _ROUTE.pack(af, 0, 0, 0, 0, 0, 0, 0, 0))
    if kind == GETLINK and not statistics:
        payload += _number(29, _SKIP_STATISTICS)  # IFLA_EXT_MASK
    return message(kind, REQUEST | DUMP, sequence, payload)


def advertised_request(sequence: int) -> bytes:
    """Ask for the IPv6 routes of main that the kernel made from advertisements (RTPROT_RA).

    A kernel from 4.20 on filters, if the socket has NETLINK_GET_STRICT_CHK; others answer with all routes.
    """
    payload = _ROUTE.pack(AF[6], 0, 0, 0, MAIN_TABLE, 9, 0, 1, 0)
    return message(GETROUTE, REQUEST | DUMP, sequence, payload)


def _index(device: str, indexes: Mapping[str, int]) -> int:
    if device not in indexes:
        raise DeviceGoneError(device)
    return indexes[device]


def _via(family: int, gateway: IPAddress | None) -> bytes:
    if gateway is None:
        return b""
    if gateway.version == family:
        return _attribute(5, gateway.packed)
    return _attribute(18, _U16.pack(AF[gateway.version]) + gateway.packed)


def _code(names: Mapping[str, int], word: str) -> int:
    """The kernel's number for a word. A value without a name is its number (`scope 123`)."""
    return names[word] if word in names else int(word)


def pack_route(route: Route, indexes: Mapping[str, int]) -> bytes:
    """The payload of a request about a route."""
    hops = () if route.nexthop_id else route.nexthops
    flags = _RTNH_F_ONLINK if len(hops) == 1 and hops[0].onlink else 0
    payload = _ROUTE.pack(
        AF[route.family],
        route.destination.prefixlen,
        0,
        0,
        route.table if route.table < 256 else 0,
        route.protocol,
        _code(_SCOPE_NUMBERS, route.scope),
        _code(_KIND_NUMBERS, route.kind),
        flags,
    )
    if route.destination.prefixlen:
        payload += _attribute(1, route.destination.network_address.packed)
    payload += _number(15, route.table)
    if route.metric:
        payload += _number(6, route.metric)
    if route.source is not None:
        payload += _attribute(7, route.source.packed)
    # An IPv4 route with a nexthop object keeps its old attributes unless a list is sent, if an empty one: the
    # kernel takes the route that it has for the same one (fib_find_info_nh).
    if route.attributes or route.nexthop_id:
        payload += _attribute(8 | 0x8000, _pack_path(route.attributes))  # NLA_F_NESTED
    if route.nexthop_id:
        payload += _number(30, route.nexthop_id)
    elif len(hops) == 1:
        payload += _number(4, _index(hops[0].device, indexes)) + _via(route.family, hops[0].gateway)
    elif hops:
        legs = b""
        for hop in hops:
            via = _via(route.family, hop.gateway)
            onlink = _RTNH_F_ONLINK if hop.onlink else 0
            index = _index(hop.device, indexes)
            legs += _LEG.pack(_LEG.size + len(via), onlink, hop.weight - 1, index) + via
        payload += _attribute(9, legs)
    return payload


def pack_rule(rule: Rule) -> bytes:
    """The payload of a request about a rule."""
    payload = _ROUTE.pack(
        AF[rule.family],
        rule.destination.prefixlen if rule.destination else 0,
        rule.source.prefixlen if rule.source else 0,
        0,
        rule.table if rule.table < 256 else 0,
        0,
        0,
        _code(_ACTION_NUMBERS, rule.action),
        0,
    )
    payload += _number(6, rule.priority)
    if rule.action == "table":
        payload += _number(15, rule.table)
    if rule.destination is not None:
        payload += _attribute(1, rule.destination.network_address.packed)
    if rule.source is not None:
        payload += _attribute(2, rule.source.network_address.packed)
    if rule.iif:
        payload += _attribute(3, rule.iif.encode() + b"\0")
    if rule.oif:
        payload += _attribute(17, rule.oif.encode() + b"\0")
    for part in filter(None, rule.other.split(", ")):
        name, _, value = part.partition(" ")
        kind, form = _OTHER_NUMBERS[name]
        payload += _attribute(kind, struct.pack(form, *map(int, value.split("-"))))
    if rule.mark:
        payload += _number(10, rule.mark) + _number(16, rule.mask)
    if rule.suppress_prefixlength is not None:
        payload += _number(14, rule.suppress_prefixlength)
    return payload + _attribute(21, bytes([rule.protocol]))


def pack_nexthop(nexthop: NexthopObject | NexthopGroup, indexes: Mapping[str, int]) -> bytes:
    """The payload of a request that makes a nexthop object or a group."""
    if isinstance(nexthop, NexthopGroup):
        members = b"".join(
            _MEMBER.pack(number, weight - 1 & 0xFF, weight - 1 >> 8, 0) for number, weight in nexthop.members
        )
        payload = _NEXTHOP.pack(0, 0, nexthop.protocol, 0) + _number(1, nexthop.id)
        payload += _attribute(2, members)
        if nexthop.resilient:
            # Of an unbalanced timer 0 means: buckets that are in use never move.
            timers = [_number(kind, value) for kind, value in ((2, GROUP_IDLE_S * _USER_HZ), (3, 0))]
            options = _attribute(1, _U16.pack(GROUP_BUCKETS)) + b"".join(timers)
            payload += _attribute(3, _U16.pack(1)) + _attribute(12 | 0x8000, options)
        return payload
    flags = _RTNH_F_ONLINK if nexthop.onlink else 0
    payload = _NEXTHOP.pack(AF[nexthop.family], 0, nexthop.protocol, flags) + _number(1, nexthop.id)
    payload += _number(5, _index(nexthop.device, indexes))
    return payload + (b"" if nexthop.gateway is None else _attribute(6, nexthop.gateway.packed))


def pack_nexthop_id(nexthop: NexthopObject | NexthopGroup) -> bytes:
    """The payload of a request that deletes one."""
    return _NEXTHOP.pack(0, 0, 0, 0) + _number(1, nexthop.id)


# Further properties of the packet in a lookup: RTA_MARK, RTA_UID, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT.
_SELECTORS = {
    "mark": (16, "=I"),
    "uid": (25, "=I"),
    "ipproto": (27, "=B"),
    "sport": (28, "!H"),
    "dport": (29, "!H"),
}


def lookup_request(
    destination: IPAddress,
    source: IPAddress | None,
    oif: int,
    sequence: int,
    selectors: Mapping[str, int] = MappingProxyType({}),
    iif: int = 0,
) -> bytes:
    """The request of `ip route get`: which route, and which table (RTM_F_LOOKUP_TABLE), the kernel uses.

    `selectors` may have `mark`, `uid`, `ipproto`, `sport`, `dport`, `dscp`. `iif`: where the packet comes in.
    """
    bits = destination.max_prefixlen
    tos = selectors.get("dscp", 0) << 2
    payload = _ROUTE.pack(AF[destination.version], bits, bits if source else 0, tos, 0, 0, 0, 0, 0x1000)
    payload += _attribute(1, destination.packed)
    if source is not None:
        payload += _attribute(2, source.packed)
    if oif:
        payload += _number(4, oif)
    if iif:
        payload += _number(3, iif)
    for name, value in selectors.items():
        if name in _SELECTORS:
            kind, form = _SELECTORS[name]
            payload += _attribute(kind, struct.pack(form, value))
    return message(GETROUTE, REQUEST, sequence, payload)
