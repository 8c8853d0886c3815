"""What NetworkManager's dispatcher says: a lease, its end, or one line that names what is wrong."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest

from netbond.dhcp.clients import LeaseError, parse_networkmanager
from netbond.dhcp.lease import Lease, Released

NOW = 1763600000.5

NM = {
    "CONNECTION_ID": "modem 1",
    "DEVICE_IFACE": "usb0",
    "DEVICE_IP_IFACE": "usb0",
    "DHCP4_IP_ADDRESS": "10.0.0.10",
    "DHCP4_SUBNET_MASK": "255.255.255.0",
    "DHCP4_ROUTERS": "10.0.0.1",
    "IP4_ADDRESS_0": "10.0.0.10/24 10.0.0.1",
    "IP4_GATEWAY": "10.0.0.1",
}


def lease(device: str, address: str, *routers: str) -> Lease:
    addresses = tuple(IPv4Address(router) for router in routers)
    return Lease(device, "networkmanager", IPv4Interface(address), addresses, NOW)


NM_LEASE = lease("usb0", "10.0.0.10/24", "10.0.0.1")


@pytest.mark.parametrize("action", ["up", "dhcp4-change", "reapply"])
def test_networkmanager_lease(action: str) -> None:
    assert parse_networkmanager(["usb0", action], NM, NOW) == NM_LEASE


def test_networkmanager_other_gateways() -> None:
    own = parse_networkmanager(["usb0", "up"], NM | {"IP4_GATEWAY": "10.0.0.2"}, NOW)
    assert own == lease("usb0", "10.0.0.10/24", "10.0.0.2", "10.0.0.1")
    never_default = {name: value for name, value in NM.items() if name != "IP4_GATEWAY"}
    assert parse_networkmanager(["usb0", "up"], never_default, NOW) == NM_LEASE


def test_networkmanager_modem_without_dhcp() -> None:
    environ = {
        "DEVICE_IFACE": "cdc-wdm0",
        "DEVICE_IP_IFACE": "wwan0",
        "IP4_ADDRESS_0": "100.64.7.9/30 100.64.7.10",
        "IP4_GATEWAY": "100.64.7.10",
    }
    expected = lease("wwan0", "100.64.7.9/30", "100.64.7.10")
    assert parse_networkmanager(["cdc-wdm0", "up"], environ, NOW) == expected


def test_networkmanager_down_and_other_actions() -> None:
    assert parse_networkmanager(["usb0", "down"], {}, NOW) == Released("usb0", "networkmanager")
    for action in ["pre-up", "vpn-up", "dhcp6-change", "connectivity-change", "hostname"]:
        assert parse_networkmanager(["none", action], NM, NOW) is None
    assert parse_networkmanager(["usb0", "up"], {"DEVICE_IP_IFACE": "usb0"}, NOW) is None  # IPv6 only


@pytest.mark.parametrize("action", ["up", "down"])
def test_networkmanager_looking_on_does_not_speak_for_the_client_at_work(action: str) -> None:
    assert parse_networkmanager(["usb0", action], NM | {"CONNECTION_EXTERNAL": "1"}, NOW) is None


@pytest.mark.parametrize(
    ("argv", "change"),
    [
        (["usb0"], {}),
        (["usb0", "up", "x"], {}),
        (["../x", "down"], {"DEVICE_IP_IFACE": ""}),
        (["usb0", "up"], {"DEVICE_IP_IFACE": "a/b"}),
        (["usb0", "up"], {"DHCP4_IP_ADDRESS": "x"}),
        (["usb0", "up"], {"DHCP4_IP_ADDRESS": "", "IP4_ADDRESS_0": "10.0.0.1/99 10.0.0.2"}),
        (["usb0", "up"], {"IP4_GATEWAY": "10.0.0.1\n10.0.0"}),
    ],
)
def test_networkmanager_errors(argv: list[str], change: dict[str, str]) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_networkmanager(argv, NM | change, NOW)
    assert "\n" not in str(caught.value)
