"""Boxes to decide about: facts written briefly."""

from __future__ import annotations

import ipaddress

from netbond.config.pattern import from_properties
from netbond.config.schema import Config
from netbond.desired import desired
from netbond.dhcp.lease import Lease
from netbond.model import MAIN_TABLE, Address, Device, Facts, Interface, Nexthop, Route, Uplink
from netbond.plan import plan
from netbond.uplinks import find


def link(name: str, *, up: bool = True, carrier: bool = True) -> Interface:
    """An interface that is up and has carrier, unless said otherwise."""
    return Interface(name, index=sum(name.encode()), up=up, carrier=carrier)


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
        interfaces=(Interface("lo", 1, loopback=True), *(link(device) for device in devices)),
        addresses=(
            Address("lo", ipaddress.IPv4Interface("127.0.0.1/8"), scope="host"),
            *(address(device, f"10.0.{i}.10/24") for i, device in enumerate(devices)),
        ),
        leases=tuple(lease(device, f"10.0.{i}.10/24", f"10.0.{i}.1") for i, device in enumerate(devices)),
    )


# A HiLink stick as udev 252 has it (udevadm info), and a card on the board.
HILINK = {
    "ACTION": "add", "INTERFACE": "usb0", "SUBSYSTEM": "net", "ID_BUS": "usb", "ID_VENDOR": "HUAWEI_MOBILE",
    "ID_VENDOR_ID": "12d1", "ID_VENDOR_FROM_DATABASE": "Huawei Technologies Co., Ltd.",
    "ID_MODEL": "HUAWEI_MOBILE",
    "ID_MODEL_ID": "14db", "ID_MODEL_FROM_DATABASE": "E353/E3131",
    "ID_SERIAL": "HUAWEI_MOBILE_0123456789ABCDEF",
    "ID_SERIAL_SHORT": "0123456789ABCDEF", "ID_PATH": "pci-0000:00:14.0-usb-0:1.2:1.0",
    "ID_USB_DRIVER": "cdc_ether", "ID_NET_DRIVER": "cdc_ether", "ID_NET_NAME_MAC": "enx0c5b8f279a64",
}  # fmt: skip
CARD = {
    "INTERFACE": "enp3s0", "ID_BUS": "pci", "ID_VENDOR_ID": "0x8086", "ID_MODEL_ID": "0x1533",
    "ID_PATH": "pci-0000:03:00.0", "ID_NET_DRIVER": "igb",
}  # fmt: skip

MAC = "0c:5b:8f:27:9a:64"  # every HiLink stick has it


def stick(name: str, port: str, **more: str) -> Device:
    """A HiLink stick in a port: all of them are alike."""
    device = from_properties(name, HILINK | {"ID_PATH": f"pci-0000:00:14.0-usb-0:{port}:1.0"}, MAC)
    return Device(**{**{f: getattr(device, f) for f in Device.__slots__}, **more})


def six(device: str, interface: str, **flags: bool) -> Address:
    """An address of IPv6: six("usb0", "2001:db8::5/64", temporary=True)."""
    return Address(device, ipaddress.IPv6Interface(interface), **flags)  # type: ignore[arg-type] # flags only


def default6(device: str, gateway: str, metric: int = 1024) -> Route:
    """What a router's advertisement leaves in main."""
    hop = Nexthop(device, ipaddress.ip_address(gateway))
    return Route(MAIN_TABLE, ipaddress.ip_network("::/0"), (hop,), metric=metric, protocol=9)


# A box with nothing but IPv6, on a kernel with nexthop objects.
SIX = Facts(
    interfaces=(link("usb0"),),
    addresses=(six("usb0", "2001:db8::5/64"),),
    routes=(default6("usb0", "fe80::1"),),
    nexthops=(),
)


def uplinks(facts: Facts, config: Config | None = None) -> list[Uplink]:
    """The uplinks of a box."""
    return list(find(facts, config or Config(), {}).uplinks)


def commands(facts: Facts, config: Config | None = None) -> list[str]:
    """What would be done to a box now."""
    config = config or Config()
    return [o.command() for o in plan(facts, desired(facts, config), config.routing.protocol)]
