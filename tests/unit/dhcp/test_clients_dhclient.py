"""What dhclient says, however strange: a lease, its end, or one line that names what is wrong."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.dhcp.clients import LeaseError, check_device, parse_dhclient
from netbond.dhcp.lease import Changed, Lease, Released
from netbond.dhcp.store import from_json, to_json

NOW = 1763600000.5
RFC3442 = "new_rfc3442_classless_static_routes"

BOUND = {
    "reason": "BOUND",
    "interface": "usb0",
    "new_ip_address": "10.0.0.10",
    "new_subnet_mask": "255.255.255.0",
    "new_routers": "10.0.0.1",
}


def lease(device: str, address: str, *routers: str) -> Lease:
    return Lease(device, "dhclient", IPv4Interface(address), tuple(IPv4Address(r) for r in routers), NOW)


@pytest.mark.parametrize(
    "name", ["usb0", "a23456789012345", "enx001122334455", "wlan0.5", "tun-x_y", "-", "é"]
)
def test_names_of_interfaces(name: str) -> None:
    assert check_device(name) == name


@pytest.mark.parametrize("reason", ["BOUND", "RENEW", "REBIND", "REBOOT", "TIMEOUT"])
def test_a_lease(reason: str) -> None:
    assert parse_dhclient(BOUND | {"reason": reason}, NOW) == lease("usb0", "10.0.0.10/24", "10.0.0.1")


@pytest.mark.parametrize("reason", ["EXPIRE", "FAIL", "RELEASE", "STOP", "V6ONLY"])
def test_a_lease_is_gone(reason: str) -> None:
    environ = {"reason": reason, "interface": "usb0", "old_ip_address": "10.0.0.10"}
    assert parse_dhclient(environ, NOW) == Released("usb0", "dhclient", IPv4Address("10.0.0.10"))
    del environ["old_ip_address"]  # FAIL after a start without a lease
    assert parse_dhclient(environ, NOW) == Released("usb0", "dhclient", None)


@pytest.mark.parametrize(
    "reason",
    ["PREINIT", "PREINIT6", "NBI", "MEDIUM", "ARPCHECK", "ARPSEND", "", "bound", "$(id)"],
)  # fmt: skip
def test_no_news_of_a_lease(reason: str) -> None:
    assert parse_dhclient(BOUND | {"reason": reason}, NOW) is None
    assert parse_dhclient({}, NOW) is None


@pytest.mark.parametrize(
    ("change", "address", "routers"),
    [
        ({"new_routers": "10.0.0.2 10.0.0.1"}, "10.0.0.10/24", ["10.0.0.2", "10.0.0.1"]),  # order is kept
        ({"new_routers": "10.0.0.1 10.0.0.1"}, "10.0.0.10/24", ["10.0.0.1"]),
        ({"new_routers": ""}, "10.0.0.10/24", []),
        ({"new_routers": "10.9.9.9"}, "10.0.0.10/24", ["10.9.9.9"]),  # outside: reached on-link
        ({"new_routers": "0.0.0.0 10.0.0.10 10.0.0.255 224.1.1.1 10.9.1.3"}, "10.0.0.10/24", ["10.9.1.3"]),
        ({"new_subnet_mask": "255.255.255.255"}, "10.0.0.10/32", ["10.0.0.1"]),
        ({"new_subnet_mask": "255.255.255.254", "new_routers": "10.0.0.11"}, "10.0.0.10/31", ["10.0.0.11"]),
        ({"new_subnet_mask": ""}, "10.0.0.10/32", ["10.0.0.1"]),  # as dhclient-script sets it
        ({"new_subnet_mask": "255.0.0.0"}, "10.0.0.10/8", ["10.0.0.1"]),
        # RFC 3442 over routers, even without a default in it
        ({RFC3442: "24 192 168 9 10 0 0 7 0 10 0 0 9"}, "10.0.0.10/24", ["10.0.0.9"]),
        ({RFC3442: "24 192 168 9 10 0 0 7"}, "10.0.0.10/24", []),
        ({RFC3442: "0 0 0 0 0"}, "10.0.0.10/24", []),  # on-link default
        ({RFC3442: "32 1 2 3 4 10 0 0 7 0 10 0 0 8"}, "10.0.0.10/24", ["10.0.0.8"]),
        ({"new_host_name": "x" * 4096, "new_domain_name": "a\nb; reboot"}, "10.0.0.10/24", ["10.0.0.1"]),
    ],
)  # fmt: skip
def test_leases_of_all_shapes(change: dict[str, str], address: str, routers: list[str]) -> None:
    assert parse_dhclient(BOUND | change, NOW) == lease("usb0", address, *routers)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"interface": "../x"}, "interface '../x' is not a name that an interface can have"),
        ({"interface": ""}, "interface '' is not a name"),
        ({"interface": "."}, "interface '.' is not a name"),
        ({"interface": ".."}, "interface '..' is not a name"),
        ({"interface": "usb0\n"}, "interface 'usb0\\n' is not a name"),
        ({"interface": "usb 0"}, "interface 'usb 0' is not a name"),
        ({"interface": "usb0:1"}, "interface 'usb0:1' is not a name"),
        ({"interface": "a123456789012345"}, "interface 'a123456789012345' is not a name"),
        ({"interface": "ééééééé\xe9"}, "interface '\\xe9"),  # 16 bytes
        ({"new_ip_address": ""}, "new_ip_address '' is not an IPv4 address"),
        ({"new_ip_address": "10.0.0.10; reboot"}, "new_ip_address '10.0.0.10; reboot' is not an IPv4"),
        ({"new_ip_address": "10.0.0.10\n"}, "new_ip_address '10.0.0.10\\n' is not an IPv4 address"),
        ({"new_ip_address": "fe80::1"}, "new_ip_address 'fe80::1' is not an IPv4 address"),
        ({"new_ip_address": "\u06610.0.0.1"}, "new_ip_address '\\u06610.0.0.1' is not an IPv4 address"),
        ({"new_ip_address": "0.0.0.0"}, "new_ip_address 0.0.0.0/24 is not an address that a host can have"),
        ({"new_ip_address": "127.0.0.1"}, "new_ip_address 127.0.0.1/24 is not an address that a host"),
        ({"new_ip_address": "224.0.0.1"}, "new_ip_address 224.0.0.1/24 is not an address that a host"),
        ({"new_ip_address": "255.255.255.255"}, "new_ip_address 255.255.255.255/24 is not an address that"),
        ({"new_ip_address": "10.0.0.255"}, "new_ip_address 10.0.0.255/24 is not an address that a host"),
        ({"new_ip_address": "10.0.0.0"}, "new_ip_address 10.0.0.0/24 is not an address that a host can"),
        ({"new_ip_address": "1" * 5000}, "new_ip_address '" + "1" * 40 + "...' has 5000 characters"),
        ({"new_subnet_mask": "255.0.255.0"}, "new_ip_address 10.0.0.10 has the subnet mask '255.0.255.0', w"),
        ({"new_subnet_mask": "0.0.0.255"}, "new_ip_address 10.0.0.10 has the subnet mask '0.0.0.255', whi"),
        ({"new_subnet_mask": "0.0.0.0"}, "new_ip_address 10.0.0.10 has the subnet mask '0.0.0.0', which"),
        ({"new_subnet_mask": "33"}, "new_ip_address 10.0.0.10 has the subnet mask '33', which is none"),
        ({"new_subnet_mask": "::"}, "new_ip_address 10.0.0.10 has the subnet mask '::', which is none"),
        ({"new_routers": "10.0.0.1 $(reboot)"}, "router '$(reboot)' is not an IPv4 address"),
        ({"new_routers": "10.0.0.1 " * 400}, "new_routers '10.0.0.1 10.0.0.1 10.0.0.1 10.0.0.1 10.0...' has"),
        ({RFC3442: "33 1 2 3 4 5 6 7 8 9"}, "new_rfc3442_classless_static_routes '33"),
        ({RFC3442: "0 10 0 0"}, "new_rfc3442_classless_static_routes '0 10 0 0' is not"),
        ({RFC3442: "0 10 0 0 256"}, "new_rfc3442_classless_static_routes '0 10 0 0 256'"),
        ({RFC3442: "0 10 0 0 x"}, "new_rfc3442_classless_static_routes '0 10 0 0 x' is"),
        ({"reason": "RELEASE", "old_ip_address": "10.0.0"}, "old_ip_address '10.0.0' is not an IPv4 address"),
        ({"reason": "FAIL", "interface": "../../etc/x"}, "interface '../../etc/x' is not a name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(change: dict[str, str], says: str) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_dhclient(BOUND | change, NOW)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text("0123456789. /$;`\n-", max_size=40),
    st.sampled_from(["", *BOUND.values(), "0", "10.0.0.256", "../x", "a\0b", "\udcff", "10.0.0.1 10.0.0.2"]),
)  # fmt: skip
NAMES = st.sampled_from(
    ["interface", "new_ip_address", "new_subnet_mask", "new_routers", "old_ip_address",
     "new_rfc3442_classless_static_routes", "new_host_name"]
)  # fmt: skip
REASONS = st.sampled_from(["BOUND", "RENEW", "TIMEOUT", "EXPIRE", "RELEASE", "PREINIT"])


@settings(deadline=None)  # a busy machine is no fault of the parser
@given(REASONS, st.dictionaries(NAMES, HOSTILE))
def test_any_environment_gives_a_usable_lease_or_one_line(reason: str, hostile: dict[str, str]) -> None:
    said = ""
    news: Lease | Released | Changed | None = None
    try:
        news = parse_dhclient(BOUND | hostile | {"reason": reason}, NOW)
    except LeaseError as error:
        said = str(error)
    assert said.isprintable()  # one line, and nothing that steers a terminal
    if said:
        return
    assert (news is None) == (reason == "PREINIT")
    if isinstance(news, Lease):
        assert from_json(to_json(news, ""), "") == news
        assert news.address.ip not in news.routers
        assert news.address.network.prefixlen > 0
