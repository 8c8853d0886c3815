"""Tells of connections which policy and which uplink each belongs to, and which to cut. Pure.

Connections that are forwarded come from the kernel's table of connections: the mark tells the uplink. Those
of the box itself come from its sockets: the address tells the uplink. What is bound to a device, or was begun
from outside, belongs to no policy. The table of connections does not know DSCP and packet marks, so forwarded
connections of policies that ask for these are not recognised.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from netbond.model import Address, IPAddress, IPNetwork, Uplink
from netbond.policies.model import PolicyInUse, PolicyMatch


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection, or a UDP socket that is connected."""

    family: int  # 4 or 6
    protocol: int  # IPPROTO_*
    source: IPAddress
    destination: IPAddress
    port: int = 0  # of the destination; 0: it has none
    own: bool = False  # of a socket of this box
    uid: int = 0  # the socket's owner
    mark: int = 0  # forwarded: the connection's; own: the socket's
    dscp: int = 0  # of a socket
    handle: bytes = b""  # by which the kernel knows it


class Owners:
    """Which uplink and which policy a connection belongs to."""

    def __init__(
        self,
        policies: Sequence[PolicyInUse],
        uplinks: Iterable[Uplink],
        addresses: Iterable[Address],
        marks: Mapping[tuple[int, int], str],
    ) -> None:
        """`marks` are the names of uplinks by family and by the mark of their connections."""
        self._policies = policies
        self._marks = marks
        uplinks = list(uplinks)
        self._by_address = {
            address.interface.ip: uplink.name
            for uplink in uplinks
            if not uplink.vrf  # what has the address of one is bound to its device
            for address in uplink.addresses
        }
        addresses = list(addresses)
        self._own = {address.interface.ip for address in addresses}
        out = {uplink.device for uplink in uplinks}
        inside = [each for each in addresses if each.device not in out]
        self._inside = sorted(
            ((each.interface.network, each.device) for each in inside), key=lambda item: -item[0].prefixlen
        )
        self._devices: dict[IPAddress, str] = {}

    def _device(self, address: IPAddress) -> str:
        """The interface behind which the address is, by its network; "" if none is known."""
        if address not in self._devices:
            found = (device for network, device in self._inside if _within(address, network))
            self._devices[address] = next(found, "")
        return self._devices[address]

    def uplink(self, connection: Connection) -> str:
        """The uplink's name; "" if it leaves by none, or was begun from outside."""
        if connection.own:
            return self._by_address.get(connection.source, "")
        if connection.destination in self._own or self._device(connection.destination):
            return ""
        return self._marks.get((connection.family, connection.mark), "")

    def policy(self, connection: Connection) -> PolicyInUse | None:
        """The policy whose traffic it is: the first one that fits."""
        device = "lo" if connection.own else ""
        for policy in self._policies:
            way = policy.way(connection.family)
            if way is None:
                continue
            if way.match.interfaces and not device:
                device = self._device(connection.source)
            if fits(way.match, connection, device):
                return policy
        return None


def _within(address: IPAddress, network: IPNetwork) -> bool:
    return address.version == network.version and address in network


def fits(match: PolicyMatch, connection: Connection, device: str) -> bool:
    """Whether it is such traffic; `device` is where it comes in, "lo" for the box's own."""
    if (match.uids or match.marks or match.dscps) and not connection.own:
        return False
    return (
        (not match.interfaces or device in match.interfaces)
        and (not match.sources or any(_within(connection.source, each) for each in match.sources))
        and (
            not match.destinations
            or any(_within(connection.destination, each) for each in match.destinations)
        )
        and (not match.protocols or connection.protocol in match.protocols)
        and (not match.ports or any(first <= connection.port <= last for first, last in match.ports))
        and (not match.uids or any(first <= connection.uid <= last for first, last in match.uids))
        and (not match.marks or any(not (connection.mark ^ mark) & mask for mark, mask in match.marks))
        and (not match.dscps or connection.dscp in match.dscps)
    )


def count(connections: Iterable[Connection], owners: Owners) -> Counter[tuple[str, str]]:
    """How many connections each policy has on each uplink, by their names."""
    found: Counter[tuple[str, str]] = Counter()
    for connection in connections:
        uplink = owners.uplink(connection)
        policy = owners.policy(connection) if uplink else None
        if policy is not None:
            found[policy.name, uplink] += 1
    return found


def returned(before: Iterable[PolicyInUse], now: Iterable[PolicyInUse]) -> frozenset[tuple[str, int]]:
    """The policies with failback = "cut" that have a better tier back, each by name and family."""
    best = {(policy.name, way.family): way.best for policy in before for way in policy.ways}
    return frozenset(
        (policy.name, way.family)
        for policy in now
        for way in policy.ways
        if policy.failback == "cut" and 0 < way.best < best.get((policy.name, way.family), 0)
    )


def to_cut(
    connections: Iterable[Connection], owners: Owners, cutting: Collection[tuple[str, int]]
) -> list[Connection]:
    """The connections of these policies that are on tiers worse than the best one that works."""
    found = []
    for connection in connections:
        uplink = owners.uplink(connection)
        policy = owners.policy(connection) if uplink else None
        if policy is None or (policy.name, connection.family) not in cutting:
            continue
        way = policy.way(connection.family)
        if way is not None and any(uplink in tier for tier in policy.tiers[max(way.best, way.tier) :]):
            found.append(connection)
    return found


def plain(address: bytes) -> IPAddress:
    """An address of 4 or 16 bytes; one of IPv4 that is mapped into IPv6 as what it is."""
    if len(address) == 4:
        return ipaddress.IPv4Address(address)
    six = ipaddress.IPv6Address(address)
    return six if six.ipv4_mapped is None else six.ipv4_mapped
