"""Boxes to decide about: facts written briefly."""

from __future__ import annotations

import ipaddress

from netbond.dhcp.lease import Lease
from netbond.model import MAIN_TABLE, Address, Facts, Link, Nexthop, Route


def link(name: str, *, up: bool = True, carrier: bool = True) -> Link:
    """An interface that is up and has carrier, unless said otherwise."""
    return Link(name, index=sum(name.encode()), up=up, carrier=carrier)


def address(device: str, interface: str, peer: str | None = None) -> Address:
    """An address with its network: address("usb0", "10.0.0.10/24")."""
    return Address(
        device, ipaddress.IPv4Interface(interface), None if peer is None else ipaddress.ip_address(peer)
    )


def main_default(device: str, gateway: str, metric: int = 0, protocol: int = 16) -> Route:
    """What a DHCP client leaves in main."""
    hop = Nexthop(device, ipaddress.ip_address(gateway))
    return Route(MAIN_TABLE, ipaddress.ip_network("0.0.0.0/0"), (hop,), metric=metric, protocol=protocol)


def lease(
    device: str, interface: str, *routers: str, received: float = 0.0, source: str = "dhclient"
) -> Lease:
    """What a hook handed over."""
    return Lease(
        device,
        source,
        ipaddress.IPv4Interface(interface),
        tuple(ipaddress.IPv4Address(router) for router in routers),
        received,
    )


def box(*devices: str) -> Facts:
    """Each device DEVICEi with 10.0.i.10/24 and a lease from 10.0.i.1, besides lo."""
    return Facts(
        links=(Link("lo", 1, loopback=True), *(link(device) for device in devices)),
        addresses=(
            Address("lo", ipaddress.IPv4Interface("127.0.0.1/8"), scope="host"),
            *(address(device, f"10.0.{i}.10/24") for i, device in enumerate(devices)),
        ),
        leases=tuple(lease(device, f"10.0.{i}.10/24", f"10.0.{i}.1") for i, device in enumerate(devices)),
    )
