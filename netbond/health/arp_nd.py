"""Asks the gateway for a sign of life, by ARP or neighbour solicitation on the uplink's device.

The kernel's neighbour entry is no sign of life. It stays REACHABLE for up to 45 s after the last answer, and
then STALE for as long as nobody uses it (Documentation/networking/ip-sysctl.rst, neigh/*). It is read only to
skip gateways with a fixed entry, which need not answer.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

from netbond.health.packets import (
    advertised_hardware,
    arp_hardware,
    arp_request,
    is_arp_reply,
    is_neighbour_advertisement,
    neighbour_solicitation,
    solicited_node,
)
from netbond.kernel import rtnetlink
from netbond.model import IPAddress

ETH_P_ARP = 0x0806
ARPHRD_ETHER = 1
IFF_NOARP = 0x80
SIOCGIFFLAGS, SIOCGIFHWADDR = 0x8913, 0x8927
ICMP6_FILTER = 1

STATES = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}
FIXED = ("NOARP", "PERMANENT")

MOST_STALE_FRAMES = 64  # read and dropped before a request: more do not fit into the buffer
REQUESTS = 3  # within the timeout: a busy radio link loses single frames


class NoNeighboursError(Exception):
    """The device has no neighbours: it is a point-to-point or raw-IP link."""


def state(device: str, address: IPAddress) -> str:
    """The kernel's neighbour entry, like "REACHABLE"; "" if there is none. OSError: no such device."""
    question = rtnetlink.pack_neighbour(socket.if_nametoindex(device), address)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as nl:
        nl.setblocking(False)  # the kernel has answered before send() returns
        nl.sendto(rtnetlink.message(rtnetlink.GETNEIGH, rtnetlink.REQUEST, 1, question), (0, 0))
        try:
            reply = nl.recv(4096)
        except BlockingIOError:
            return ""
    for kind, _, _, payload in rtnetlink.messages(reply):
        if kind == rtnetlink.NEWNEIGH and (found := rtnetlink.neighbour(payload)):
            return STATES.get(found[2], "")
    return ""  # an error: no such entry


def _hardware(device: str) -> bytes:
    """The MAC address. NoNeighboursError: it has none, or uses no ARP. OSError: no such device."""
    request = struct.pack("16s24x", device.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        buffer = array.array("B", request)
        fcntl.ioctl(sock, SIOCGIFFLAGS, buffer, True)
        flags = struct.unpack_from("=H", buffer, 16)[0]
        buffer = array.array("B", request)
        fcntl.ioctl(sock, SIOCGIFHWADDR, buffer, True)
    kind, mac = struct.unpack_from("=H6s", buffer, 16)
    if kind != ARPHRD_ETHER or flags & IFF_NOARP:
        raise NoNeighboursError(device)
    return bytes(mac)


async def ask(
    device: str, address: IPAddress, gateway: IPAddress, timeout_s: float, arp_socket: ArpSocket
) -> float | None:
    """Ask for `gateway` on `device`, from `address`; return the round-trip time in seconds.

    As find(), which says more.
    """
    found = await find(device, address, gateway, timeout_s, arp_socket)
    return None if found is None else found[0]


async def find(
    device: str, address: IPAddress, gateway: IPAddress, timeout_s: float, arp_socket: ArpSocket
) -> tuple[float, bytes | None] | None:
    """Ask for `gateway` on `device`, from `address`; return the round-trip time in seconds, and its MAC.

    The latter is None if an advertisement does not have it. None if there was no answer within `timeout_s`.
    `arp_socket` is the one used for this device before, or a new one. OSError: the device is gone, or no
    socket could be opened. NoNeighboursError: the device has none.
    """
    mac = _hardware(device)
    try:
        async with asyncio.timeout(timeout_s):
            if isinstance(gateway, IPv6Address):
                return await _solicit(device, gateway, mac, timeout_s / REQUESTS)
            if isinstance(address, IPv4Address):
                return await _arp(arp_socket, device, address, gateway, mac, timeout_s / REQUESTS)
    except TimeoutError:
        return None
    raise NoNeighboursError(f"{address} cannot ask for {gateway}")


class ArpSocket:
    """The packet socket for the ARP requests on a device, kept from one request to the next.

    Closing one waits for an RCU grace period (packet_release() calls synchronize_net(),
    net/packet/af_packet.c). That takes 5 to 30 ms, in which the agent would not hear the kernel. So it is
    closed seldom, and in a thread.
    """

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._index = 0
        self._turn = asyncio.Lock()

    @property
    def descriptor(self) -> int | None:
        """The socket's descriptor, if it is open."""
        return None if self._sock is None else self._sock.fileno()

    @contextlib.asynccontextmanager
    async def use(self, device: str) -> AsyncIterator[socket.socket]:
        """The socket, emptied, for one user at a time. OSError: no such device."""
        async with self._turn:
            index = socket.if_nametoindex(device)
            if self._sock is not None and (index != self._index or not _emptied(self._sock)):
                self.close()
            if self._sock is None:
                self._sock, self._index = self._open(device), index
            yield self._sock

    @staticmethod
    def _open(device: str) -> socket.socket:
        # Protocol 0 until bind(): otherwise frames of all interfaces would be queued until then.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the kernel's minimum: a few frames
            sock.bind((device, ETH_P_ARP))
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Close the socket, in a thread; needs a running loop."""
        if self._sock is None:
            return
        sock, self._sock = self._sock, None
        close_in_thread(sock)


def close_in_thread(sock: socket.socket) -> None:
    """Close a packet socket in a thread, because it takes long; needs a running loop."""
    try:
        asyncio.get_running_loop().run_in_executor(None, sock.close)
    except RuntimeError:  # no thread can be started, or the loop is about to end
        sock.close()


def _emptied(sock: socket.socket) -> bool:
    """Drop the frames that came before the request.

    False: the socket has an error, as the device was down or gone since, and cannot be used any more.
    """
    try:
        for _ in range(MOST_STALE_FRAMES):
            sock.recv(512)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


async def _arp(
    arp_socket: ArpSocket, device: str, sender: IPv4Address, target: IPv4Address, mac: bytes, repeat_s: float
) -> tuple[float, bytes]:
    loop = asyncio.get_running_loop()
    async with arp_socket.use(device) as sock:

        def send() -> None:
            sock.sendto(arp_request(mac, sender, target), (device, ETH_P_ARP, 0, 0, b"\xff" * 6))

        began = loop.time()
        with repeated(send, repeat_s):
            while True:
                packet, whence = await loop.sock_recvfrom(sock, 512)
                if whence[2] != socket.PACKET_OUTGOING and is_arp_reply(packet, mac, sender, target):
                    return loop.time() - began, arp_hardware(packet)


async def _solicit(
    device: str, target: IPv6Address, mac: bytes, repeat_s: float
) -> tuple[float, bytes | None]:
    loop = asyncio.get_running_loop()
    index = socket.if_nametoindex(device)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        # Only advertisements (type 136): the filter's bits are set for the types that are blocked.
        words = [0xFFFFFFFF] * 8
        words[136 // 32] &= ~(1 << 136 % 32)
        sock.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        group = str(solicited_node(target))

        def send() -> None:
            # The kernel chooses a link-local source, which every router on the link can answer.
            sock.sendto(neighbour_solicitation(mac, target), (group, 0, 0, index))

        began = loop.time()
        with repeated(send, repeat_s):
            while True:
                await _readable(sock)
                with contextlib.suppress(BlockingIOError):
                    packet, ancillary, _flags, _whence = sock.recvmsg(512, 64)
                    if is_neighbour_advertisement(packet, _hop_limit(ancillary), target):
                        return loop.time() - began, advertised_hardware(packet)


@contextlib.contextmanager
def repeated(send: Callable[[], object], repeat_s: float) -> Iterator[None]:
    """Send now, and every `repeat_s` inside the block. OSError: the first could not be sent."""
    loop = asyncio.get_running_loop()

    handle: asyncio.TimerHandle

    def more() -> None:
        nonlocal handle
        with contextlib.suppress(OSError):  # the device went away meanwhile: there will be no answer
            send()
        handle = loop.call_later(repeat_s, more)

    send()
    handle = loop.call_later(repeat_s, more)
    try:
        yield
    finally:
        handle.cancel()


async def _readable(sock: socket.socket) -> None:
    """Wait until there is something to receive; asyncio has no recvmsg()."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def readable() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, readable)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _hop_limit(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT) and len(data) >= 4:
            return int(struct.unpack_from("=i", data)[0])
    return 0
