"""Opens the sockets of the engines, and says in words why one cannot be opened or used."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from netbond.config.values import HostPort
from netbond.errors import UnavailableError
from netbond.srtla.linkspec import LinkSpec

BUFFER_BYTES = 4 * 1024 * 1024  # asked for; the kernel gives what net.core.rmem_max and wmem_max allow

Endpoint = tuple[socket.AddressFamily, str, int]  # family, address, port

_REASONS = {
    errno.EADDRNOTAVAIL: "the address is not on this box",
    errno.ENODEV: "the device is not there",
    errno.ENXIO: "the device is not there",
    errno.ENETUNREACH: "no route to the receiver",
    errno.EHOSTUNREACH: "no route to the receiver",
    errno.ENETDOWN: "the device is down",
    errno.ECONNREFUSED: "nothing listens at the receiver's port",
    errno.EPERM: "sending is not permitted (a firewall rule?)",
    errno.EACCES: "sending is prohibited by a route",
    errno.EINVAL: "the address does not fit the device any more",
}

FAILURES = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.ENODEV,
        errno.ENXIO,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EPERM,
        errno.EACCES,
        errno.EINVAL,
        errno.EBADF,
    }
)  # the link cannot be used: its socket is opened anew, with patience


def reason(error: OSError) -> str:
    """What an error on a link's socket means."""
    number = error.errno or 0
    return _REASONS.get(number) or error.strerror or os.strerror(number)


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6, of an address that is known to be one."""
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET


def open_link(spec: LinkSpec, receiver: Endpoint, port: int = 0) -> socket.socket:
    """A non-blocking UDP socket, bound to the link's address and device and connected to the receiver, so
    that nobody else's datagrams get in. `port`: the preferred local port (the receiver knows a link by it);
    another is taken if that one is in use. OSError as the kernel gives it.
    """
    family, host, remote_port = receiver
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        scope = 0
        if spec.device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, spec.device.encode())
            if family == socket.AF_INET6 and ipaddress.ip_address(spec.address).is_link_local:
                scope = socket.if_nametoindex(spec.device)
        _enlarge(sock)
        if not (port and _try_bind(sock, family, spec.address, port, scope)):
            sock.bind(_name(family, spec.address, 0, scope))
        sock.connect(_name(family, host, remote_port, 0))
    except OSError:
        sock.close()
        raise
    return sock


def open_listener(where: HostPort, what: str, *, shared: bool = False) -> socket.socket:
    """A non-blocking UDP socket that listens; UnavailableError names the port and what to do.

    The host is an address; "" is every address of this box, IPv4 and IPv6 where the kernel has it. `shared`:
    others of ours may listen there, too.
    """
    everywhere = not where.host
    families = [socket.AF_INET6, socket.AF_INET] if everywhere else [family_of(where.host)]
    for family in families:
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if everywhere else 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _enlarge(sock)
            host = ("::" if family == socket.AF_INET6 else "0.0.0.0") if everywhere else where.host  # noqa: S104
            sock.bind((host, where.port))
        except OSError as error:
            if sock is not None:
                sock.close()
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and family != families[-1]:
                continue  # no IPv6 on this box
            raise _cannot_listen(where, what, error) from None
        return sock
    raise AssertionError("unreachable: the last family returns or raises")


def open_towards(server: Endpoint, port: int = 0) -> socket.socket:
    """A non-blocking UDP socket connected to `server`, from the preferred local port if it is free.
    OSError as the kernel gives it."""
    family, host, remote_port = server
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _enlarge(sock)
        if port:
            _try_bind(sock, family, "::" if family == socket.AF_INET6 else "0.0.0.0", port, 0)  # noqa: S104
        sock.connect((host, remote_port))
    except OSError:
        sock.close()
        raise
    return sock


def _enlarge(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)


def _try_bind(sock: socket.socket, family: socket.AddressFamily, host: str, port: int, scope: int) -> bool:
    try:
        sock.bind(_name(family, host, port, scope))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return False
    return True


def _name(
    family: socket.AddressFamily, host: str, port: int, scope: int
) -> tuple[str, int] | tuple[str, int, int, int]:
    return (host, port, 0, scope) if family == socket.AF_INET6 else (host, port)


def _cannot_listen(where: HostPort, what: str, error: OSError) -> UnavailableError:
    place = f"{where} (UDP)" if where.host else f"UDP port {where.port}"
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(
            f"{place} is in use by another program",
            f"stop it ('ss -ulpn sport = :{where.port}' names it) or choose another port for {what}",
        )
    if error.errno == errno.EACCES:
        return UnavailableError(
            f"{place} may be opened by root only",
            "choose a port from 1024 up, or set ip_unprivileged_port_start",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UnavailableError(f"{place}: that address is not on this box", f"choose one for {what} that is")
    return UnavailableError(f"{place} cannot be opened: {error.strerror}", f"choose another port for {what}")
