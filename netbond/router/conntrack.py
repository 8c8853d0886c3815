"""Lists forwarded connections that have a mark of netbond's, and marks or deletes single ones.

Sources: include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack}.h, net/netfilter/nf_conntrack_netlink.c
of the kernel.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from netbond.kernel.rtnetlink import NLMSG_DONE, NLMSG_ERROR, attributes, message, messages
from netbond.policies.connections import Connection, plain

_NETLINK_NETFILTER = 12
_CT_NEW, _CT_GET, _CT_DELETE = 1 << 8, 1 << 8 | 1, 1 << 8 | 2
_TUPLE_ORIG, _MARK, _ID, _ZONE, _MARK_MASK = 1, 8, 12, 18, 21
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCES, _DESTINATIONS = {2: 1, 10: 3}, {2: 2, 10: 4}  # CTA_IP_*, by address family
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_TIMEOUT_S = 5
_NESTED = 0x8000


def connections(mask: int) -> list[Connection]:
    """Those whose mark has bits of `mask`; their marks without other bits. OSError if the kernel refuses."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as link:
        link.settimeout(_TIMEOUT_S)
        link.send(message(_CT_GET, _REQUEST | _DUMP, 1, bytes(4)))
        for payload in _answers(link):
            connection = parse(payload, mask)
            if connection is not None:
                found.append(connection)
    return found


def _answers(link: socket.socket) -> Iterator[bytes]:
    while True:
        for kind, _, _, payload in messages(link.recv(1 << 18)):
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", payload)[0]
                raise OSError(code, os.strerror(code))
            yield payload


def parse(payload: bytes, mask: int) -> Connection | None:
    """A connection; None if it has no mark in `mask`, or is of another family."""
    af = payload[0]  # nfgenmsg
    if af not in _SOURCES:
        return None
    found = attributes(payload, 4)
    mark = struct.unpack("!I", found[_MARK])[0] & mask if _MARK in found else 0
    if not mark or _TUPLE_ORIG not in found:
        return None
    parts = attributes(found[_TUPLE_ORIG], 0)
    addresses, protocol = attributes(parts[_TUPLE_IP], 0), attributes(parts[_TUPLE_PROTO], 0)
    port = protocol.get(_PROTO_DST_PORT, b"\0\0")
    handle = _attribute(_TUPLE_ORIG | _NESTED, found[_TUPLE_ORIG])
    handle += b"".join(_attribute(kind, found[kind]) for kind in (_ZONE,) if kind in found)
    return Connection(
        4 if af == 2 else 6,
        protocol[_PROTO_NUM][0],
        plain(addresses[_SOURCES[af]]),
        plain(addresses[_DESTINATIONS[af]]),
        int.from_bytes(port, "big"),
        mark=mark,
        handle=bytes([af]) + handle,
    )


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def delete(found: Iterable[Connection]) -> None:
    """Delete these connections. OSError if the kernel refuses."""
    _change(found, _CT_DELETE, b"")


def mark(found: Iterable[Connection], value: int, mask: int) -> None:
    """Give these connections another mark, in the bits of `mask`. OSError if the kernel refuses."""
    _change(
        found,
        _CT_NEW,
        _attribute(_MARK, struct.pack("!I", value)) + _attribute(_MARK_MASK, struct.pack("!I", mask)),
    )


def _change(found: Iterable[Connection], kind: int, more: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as link:
        link.settimeout(_TIMEOUT_S)
        for number, connection in enumerate(found, 1):
            head = bytes([connection.handle[0], 0, 0, 0])
            link.send(message(kind, _REQUEST | _ACK, number, head + connection.handle[1:] + more))
            for answer, _, _, payload in messages(link.recv(65536)):
                code = -struct.unpack_from("=i", payload)[0] if answer == NLMSG_ERROR else 0
                if code and code != errno.ENOENT:  # it has ended by itself
                    raise OSError(code, os.strerror(code))
