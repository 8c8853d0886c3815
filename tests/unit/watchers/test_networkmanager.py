"""What NetworkManager's objects mean, and when its gateway counts."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import Any

import pytest

from netbond.config.schema import Config
from netbond.model import Address, Facts, GatewayClaim, Interface, IPInterface
from netbond.system.typed_json import to_json
from netbond.uplinks import find
from netbond.watchers.networkmanager import (
    ACTIVE,
    DEVICE,
    DHCP4,
    IP4,
    IP6,
    NAME,
    NMDevice,
    carried,
    claims,
    device_snapshot,
    metered,
    parse_device,
    parse_devices,
)

ROOT = "/org/freedesktop/NetworkManager"
PATH = f"{ROOT}/Devices/2"

# As NetworkManager 1.42 gave it for an interface with a DHCP lease and IPv6, less what netbond does not keep.
OBJECTS: dict[str, dict[str, dict[str, Any]]] = {
    PATH: {
        DEVICE: {
            "ActiveConnection": f"{ROOT}/ActiveConnection/2",
            "Dhcp4Config": f"{ROOT}/DHCP4Config/1",
            "Interface": "usb0",
            "Ip4Config": f"{ROOT}/IP4Config/2",
            "Ip4Connectivity": 4,
            "Ip6Config": f"{ROOT}/IP6Config/2",
            "Ip6Connectivity": 1,
            "IpInterface": "usb0",
            "Managed": True,
            "Metered": 4,
            "State": 100,
        }
    },
    f"{ROOT}/IP4Config/2": {
        IP4: {
            "AddressData": [{"address": "10.0.0.36", "prefix": 24}],
            "Gateway": "10.0.0.1",
            "NameserverData": [{"address": "192.0.2.53"}],
        }
    },
    f"{ROOT}/IP6Config/2": {
        IP6: {
            "AddressData": [{"address": "2001:db8::36", "prefix": 64}, {"address": "fe80::1", "prefix": 64}],
            "Gateway": "fe80::ff",
            "Nameservers": [IPv6Address("2001:db8::53").packed],
        }
    },
    f"{ROOT}/DHCP4Config/1": {DHCP4: {"Options": {"dhcp_lease_time": "120", "routers": "10.0.0.1 10.0.0.2"}}},
    f"{ROOT}/ActiveConnection/2": {ACTIVE: {"Id": "modem 0", "StateFlags": 0x5C}},
}

FOUND = NMDevice(
    device="usb0",
    state="activated",
    managed=True,
    addresses=(IPv4Interface("10.0.0.36/24"), IPv6Interface("2001:db8::36/64"), IPv6Interface("fe80::1/64")),
    gateway4=IPv4Address("10.0.0.1"),
    gateway6=IPv6Address("fe80::ff"),
    routers4=(IPv4Address("10.0.0.2"),),
    dns=(IPv4Address("192.0.2.53"), IPv6Address("2001:db8::53")),
    metered="guess-no",
    connectivity="full",
    connection="modem 0",
    dhcp=True,
    lease_seconds=120,
)


def changed(path: str, interface: str, **values: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """OBJECTS with other values in one place."""
    return {**OBJECTS, path: {interface: {**OBJECTS[path][interface], **values}}}


def device(**values: Any) -> NMDevice:
    found = parse_device(changed(PATH, DEVICE, **values), PATH)
    assert found is not None
    return found


def ip4(**values: Any) -> NMDevice:
    found = parse_device(changed(f"{ROOT}/IP4Config/2", IP4, **values), PATH)
    assert found is not None
    return found


def options(**values: Any) -> NMDevice:
    found = parse_device(changed(f"{ROOT}/DHCP4Config/1", DHCP4, Options=values), PATH)
    assert found is not None
    return found


def test_a_device() -> None:
    assert parse_devices(OBJECTS) == (FOUND,)


def test_a_device_that_is_not_connected() -> None:
    found = device(
        State=30, Ip4Config="/", Ip6Config="/", Dhcp4Config="/", ActiveConnection="/", Ip4Connectivity=1
    )
    assert found == NMDevice(
        "usb0", state="disconnected", managed=True, connectivity="none", metered="guess-no"
    )


@pytest.mark.parametrize("state", [10, 20, 30, 40, 70])
def test_networkmanager_that_starts_has_not_let_go_of_what_it_has_not_taken_up(state: int) -> None:
    """Unmanaged, unavailable, disconnected: on the way up these mean nothing yet."""
    before = claims((FOUND,), 5.0)
    assert len(before) == 2
    nothing = {"Ip4Config": "/", "Ip6Config": "/", "Dhcp4Config": "/", "ActiveConnection": "/"}
    objects = changed(PATH, DEVICE, State=state, **nothing)
    starting = parse_devices(objects | {ROOT: {NAME: {"Startup": True}}})
    assert claims(starting, 6.0, before) == before
    started = parse_devices(objects | {ROOT: {NAME: {"Startup": False}}})
    assert claims(started, 6.0, before) == (before if state >= 40 else ())


def test_a_dhcp_client_that_ends_takes_no_gateway_along_while_its_address_stays() -> None:
    """What NetworkManager shows, for a moment, when it is stopped."""
    at = f"{ROOT}/IP4Config/2"
    never_default = changed(at, IP4, Gateway="")
    before = parse_device(never_default, PATH)
    assert before is not None
    assert before.gateway4 == IPv4Address("10.0.0.1")  # of the DHCP options
    ending = never_default | changed(PATH, DEVICE, Dhcp4Config="/") | {at: never_default[at]}
    now = parse_device(ending, PATH)
    assert now is not None
    assert now.gateway4 is None
    assert carried(now, before) == replace(before, lease_seconds=0)
    assert carried(carried(now, before), before).gateway4 == before.gateway4
    assert carried(now, None) == now
    assert carried(now, replace(before, dhcp=False)) == now
    other = replace(before, addresses=(IPv4Interface("10.0.0.37/24"),))
    assert carried(now, other) == now
    for state in ("deactivating", "disconnected"):
        assert carried(replace(now, state=state), before).gateway4 is None


def test_a_device_that_is_not_managed() -> None:
    assert (device(Managed=False, State=10).managed, device(Managed=False, State=10).state) == (
        False,
        "unmanaged",
    )


def test_mobile_broadband_is_called_by_its_control_port() -> None:
    assert device(Interface="cdc-wdm0", IpInterface="wwan0").device == "wwan0"
    assert device(IpInterface="").device == "usb0"


@pytest.mark.parametrize(
    "name", ["", "../x", "a b", "x" * 16, "usb0\n", "a:b", ".", "..", 7, None, ["usb0"], "ü"]
)
def test_names_that_no_interface_has(name: object) -> None:
    assert parse_devices(changed(PATH, DEVICE, Interface=name, IpInterface=name)) == ()


def test_without_a_default_route_the_gateway_is_the_servers() -> None:
    """never-default: NetworkManager installs none, and shows none."""
    assert ip4(Gateway="").gateway4 == IPv4Address("10.0.0.1")


@pytest.mark.parametrize(
    ("routers", "found"),
    [
        ("", None),
        ("0.0.0.0 10.0.0.2", "10.0.0.2"),
        ("127.0.0.1", None),
        ("224.0.0.1", None),
        ("255.255.255.255", None),
        ("fe80::1", None),
        ("$(reboot) 10.0.0.3", "10.0.0.3"),
        ("10.0.0.1\n10.0.0.2", "10.0.0.1"),
        (["10.0.0.1"], None),
        (167772161, None),
    ],
)
def test_routers_that_a_server_may_name(routers: object, found: str | None) -> None:
    objects = changed(f"{ROOT}/DHCP4Config/1", DHCP4, Options={"routers": routers})
    objects[f"{ROOT}/IP4Config/2"] = {IP4: {**OBJECTS[f"{ROOT}/IP4Config/2"][IP4], "Gateway": ""}}
    (parsed,) = parse_devices(objects)
    assert parsed.gateway4 == (None if found is None else IPv4Address(found))


@pytest.mark.parametrize(
    "entry",
    [
        {"address": "10.0.0.36", "prefix": 33},
        {"address": "10.0.0.36", "prefix": 0},
        {"address": "10.0.0.36", "prefix": -1},
        {"address": "10.0.0.36", "prefix": True},
        {"address": "10.0.0.36", "prefix": "24"},
        {"address": "10.0.0.36"},
        {"address": "10.0.0.36/24", "prefix": 24},
        {"address": "127.0.0.1", "prefix": 8},
        {"address": "0.0.0.0", "prefix": 24},
        {"address": "fe80::1", "prefix": 64},
        {"address": 167772196, "prefix": 24},
        {"address": "10.0.0.36%usb0", "prefix": 24},
        "10.0.0.36",
        None,
    ],
)
def test_addresses_that_are_none(entry: object) -> None:
    good = {"address": "10.0.0.37", "prefix": 24}
    assert [a for a in ip4(AddressData=[entry, good]).addresses if a.version == 4] == [
        IPv4Interface("10.0.0.37/24")
    ]


def test_a_gateway_with_a_zone_is_none() -> None:
    """ipaddress would take it, and it would go on into a command as it is."""
    found = parse_device(changed(f"{ROOT}/IP6Config/2", IP6, Gateway="fe80::1%usb0;reboot"), PATH)
    assert found is not None
    assert found.gateway6 is None


@pytest.mark.parametrize(
    ("seconds", "found"),
    [("120", 120), ("4294967295", 0), ("-1", 0), ("1" * 11, 0), ("٣", 0), ("", 0), (120, 0), (None, 0)],
)
def test_lease_times(seconds: object, found: int) -> None:
    assert options(dhcp_lease_time=seconds).lease_seconds == found


@pytest.mark.parametrize("value", [None, True, -1, 10**9, "100", [], {}, 1.5, b"x"])
def test_a_wrong_type_anywhere_is_as_good_as_nothing(value: object) -> None:
    for path, interfaces in OBJECTS.items():
        for interface, properties in interfaces.items():
            for key in properties:
                for found in parse_devices(changed(path, interface, **{key: value})):
                    json.dumps(to_json(device_snapshot(found)))


def test_the_managed_one_of_two() -> None:
    """A modem has two devices for one interface: the broadband device, and the unmanaged interface itself."""
    other = {DEVICE: {"Interface": "usb0", "IpInterface": "usb0", "Managed": False, "State": 10}}
    for path in (f"{ROOT}/Devices/1", f"{ROOT}/Devices/9"):
        assert parse_devices({**OBJECTS, path: other}) == (FOUND,)


HELD4 = IPv4Address("10.0.0.36")
HELD6 = IPv6Address("2001:db8::36")


@pytest.mark.parametrize(
    ("facts", "held", "version", "expected"),
    [
        (FOUND, [HELD4], 4, "10.0.0.1"),
        (FOUND, [HELD4, HELD6], 6, "fe80::ff"),
        (FOUND, [HELD4], 6, None),  # the IPv6 address is gone
        (FOUND, [], 4, None),
        (FOUND, [IPv4Address("10.0.0.99")], 4, None),  # somebody else has configured it since
        (replace(FOUND, current=False), [HELD4], 4, "10.0.0.1"),  # NetworkManager restarts
        (replace(FOUND, state="ip-config"), [HELD4], 4, None),
        (replace(FOUND, state="deactivating"), [HELD4], 4, None),
        (replace(FOUND, state="disconnected"), [HELD4], 4, None),
        (replace(FOUND, managed=False), [HELD4], 4, None),
        (replace(FOUND, external=True), [HELD4], 4, None),
        (replace(FOUND, gateway4=None), [HELD4], 4, None),
        (replace(FOUND, device="usb1"), [HELD4], 4, None),
    ],
)
def test_when_the_gateway_counts(
    facts: NMDevice, held: list[IPv4Address | IPv6Address], version: int, expected: str | None
) -> None:
    networks: dict[object, IPInterface] = {
        HELD4: IPv4Interface("10.0.0.36/24"),
        HELD6: IPv6Interface("2001:db8::36/64"),
    }
    addresses = tuple(Address("usb0", networks.get(each, ip_interface(each))) for each in held)
    box = Facts(interfaces=(Interface("usb0", 2),), addresses=addresses, claims=claims([facts], 5.0))
    found = [u.gateway for u in find(box, Config(), {}).uplinks if u.family == version]
    assert found == ([] if expected is None else [ip_address(expected)])


def test_as_claims() -> None:
    def claim(address: str, gateway: str) -> GatewayClaim:
        return GatewayClaim(
            "usb0", "NetworkManager", ip_interface(address), ip_address(gateway), 5.0, standing=True
        )

    held, held6 = claim("10.0.0.36/24", "10.0.0.1"), claim("2001:db8::36/64", "fe80::ff")
    held = replace(held, others=(IPv4Address("10.0.0.2"),))
    assert claims([FOUND], 5.0) == (held, held6)
    assert claims([replace(FOUND, current=False)], 5.0) == (held, held6)
    assert claims([replace(FOUND, gateway4=None)], 5.0) == (held6,)
    assert claims([replace(FOUND, gateway6=None)], 5.0) == (held,)
    for none in (
        replace(FOUND, managed=False),
        replace(FOUND, external=True),
        replace(FOUND, state="disconnected"),
        replace(FOUND, gateway4=None, gateway6=None),
        replace(FOUND, addresses=(IPv6Interface("fe80::36/64"),)),
    ):
        assert claims([none], 5.0) == ()


def test_a_claim_stays_while_networkmanager_starts_anew() -> None:
    held = claims([FOUND], 5.0)
    assert claims([], 6.0, held) == held  # it is ending, and has no devices any more
    for state in ("prepare", "config", "ip-config"):
        assert claims([replace(FOUND, state=state)], 6.0, held) == held
    assert [renewed.said_s for renewed in claims([FOUND], 7.0, held)] == [7.0, 7.0]
    for state in ("disconnected", "deactivating", "unmanaged", "unavailable", "failed", "unknown"):
        assert claims([replace(FOUND, state=state)], 6.0, held) == ()
    assert claims([replace(FOUND, gateway4=None, gateway6=None)], 6.0, held) == ()


def test_snapshot() -> None:
    assert to_json(device_snapshot(FOUND)) == {
        "state": "activated",
        "managed": True,
        "addresses": ["10.0.0.36/24", "2001:db8::36/64", "fe80::1/64"],
        "gateway4": "10.0.0.1",
        "gateway6": "fe80::ff",
        "dns": ["192.0.2.53", "2001:db8::53"],
        "metered": "guess-no",
        "connectivity": "full",
        "connection": "modem 0",
        "lease_seconds": 120,
        "external": False,
        "current": True,
    }


@pytest.mark.parametrize(
    ("device", "before", "expected"),
    [
        (NMDevice("usb0", metered="yes"), (), {"usb0"}),
        (NMDevice("usb0", metered="guess-yes"), (), {"usb0"}),
        (NMDevice("usb0", metered="guess-no"), ("usb0",), set()),
        (NMDevice("usb0", metered="no"), ("usb0",), set()),
        (NMDevice("usb0", state="unmanaged"), ("usb0",), set()),
        (NMDevice("usb0", state="unmanaged", starting=True), ("usb0", "usb1"), {"usb0", "usb1"}),
        (NMDevice("usb0", state="ip-config"), ("usb0",), {"usb0"}),
        (NMDevice("usb0", state="ip-config"), (), set()),
        (NMDevice("usb0", metered="yes", current=False), (), {"usb0"}),
    ],
)
def test_what_costs_money_holds_until_networkmanager_has_taken_it_up(
    device: NMDevice, before: tuple[str, ...], expected: set[str]
) -> None:
    assert metered((device,), before) == expected
