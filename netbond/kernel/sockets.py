"""Lists the sockets of this box by inet_diag, and ends some of them.

Only connected sockets of TCP and UDP. SOCK_DESTROY needs a kernel with CONFIG_INET_DIAG_DESTROY (4.5 and
later; Debian, Ubuntu and Raspberry Pi OS have it): the program gets ECONNABORTED, and the peer a reset.

Sources: include/uapi/linux/{sock_diag,inet_diag}.h, net/ipv4/inet_diag.c.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from netbond.kernel import rtnetlink as wire
from netbond.policies.connections import Connection, plain

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_REQUEST = struct.Struct("=BBBxI48s")  # inet_diag_req_v2: family, protocol, extensions, states, id
_MESSAGE = struct.Struct("=BBBB48sIIIII")  # inet_diag_msg: family, state, ..., id, ..., uid, inode
_ID = struct.Struct("!HH16s16s")  # inet_diag_sockid begins with ports and addresses; then device, cookie
_TOS, _TCLASS, _MARK = 5, 6, 15
_EXTENSIONS = 1 << (_TOS - 1) | 1 << (_TCLASS - 1)
_LISTEN, _TIME_WAIT, _CLOSE, _NEW_SYN_RECV = 10, 6, 7, 12
_CONNECTED = 0xFFF & ~(1 << _LISTEN | 1 << _TIME_WAIT | 1 << _CLOSE)
_TIMEOUT_S = 5


def connected() -> list[Connection]:
    """The sockets that are connected to somewhere else, not bound to a device, and not accepted from outside.

    OSError if the kernel does not list sockets at all.
    """
    found: list[Connection] = []
    with _opened() as link:
        for af in (socket.AF_INET, socket.AF_INET6):
            for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                tcp = protocol == socket.IPPROTO_TCP
                try:
                    listens = _dump(link, af, protocol, 1 << _LISTEN) if tcp else ()
                    listening = {_ports(id_)[0] for id_, *_ in listens}
                    for id_, uid, attributes in _dump(link, af, protocol, _CONNECTED if tcp else 1 << 1):
                        connection = _connection(af, protocol, id_, uid, attributes)
                        if connection is not None and _ports(id_)[0] not in listening:
                            found.append(connection)
                except OSError as error:
                    # udp_diag is a module of its own, and IPv6 may be missing.
                    if error.errno not in (errno.ENOENT, errno.EINVAL, errno.EAFNOSUPPORT):
                        raise
    return found


def destroy(connections: Iterable[Connection]) -> int:
    """End these sockets; return how many. OSError (EOPNOTSUPP) if the kernel cannot."""
    done = 0
    with _opened() as link:
        for number, connection in enumerate(connections, 1):
            af, id_ = connection.handle[0], connection.handle[1:]
            payload = _REQUEST.pack(af, connection.protocol, 0, 0xFFFFFFFF, id_)
            link.send(wire.message(_DESTROY, wire.REQUEST | wire.ACK, number, payload))
            for kind, _, _, answer in wire.messages(link.recv(65536)):
                code = -struct.unpack_from("=i", answer)[0] if kind == wire.NLMSG_ERROR else 0
                if code == 0:
                    done += 1
                elif code != errno.ENOENT:  # it has ended by itself
                    raise OSError(code, os.strerror(code))
    return done


@contextlib.contextmanager
def _opened() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(_TIMEOUT_S)
        yield link


def _dump(
    link: socket.socket, af: int, protocol: int, states: int
) -> Iterator[tuple[bytes, int, dict[int, bytes]]]:
    request = _REQUEST.pack(af, protocol, _EXTENSIONS, states, bytes(48))
    link.send(wire.message(_BY_FAMILY, wire.REQUEST | wire.DUMP, 1, request))
    while True:
        for kind, _, _, payload in wire.messages(link.recv(1 << 18)):
            if kind == wire.NLMSG_DONE:
                return
            if kind == wire.NLMSG_ERROR:
                code = -struct.unpack_from("=i", payload)[0]
                raise OSError(code, os.strerror(code))
            fields = _MESSAGE.unpack_from(payload)
            yield fields[4], fields[8], wire.attributes(payload, _MESSAGE.size)


def _ports(id_: bytes) -> tuple[int, int]:
    return struct.unpack_from("!HH", id_)


def _connection(
    af: int, protocol: int, id_: bytes, uid: int, attributes: dict[int, bytes]
) -> Connection | None:
    _, port, source, destination = _ID.unpack_from(id_)
    length = 4 if af == socket.AF_INET else 16
    if struct.unpack_from("=I", id_, _ID.size)[0] or not port:  # it is bound to a device, or not connected
        return None
    here, there = plain(source[:length]), plain(destination[:length])
    tos = attributes.get(_TOS if here.version == 4 else _TCLASS, b"\0")[0]
    mark = struct.unpack("=I", attributes[_MARK])[0] if _MARK in attributes else 0
    return Connection(
        here.version, protocol, here, there, port, own=True, uid=uid, mark=mark, dscp=tos >> 2,
        handle=bytes([af]) + id_,
    )  # fmt: skip
