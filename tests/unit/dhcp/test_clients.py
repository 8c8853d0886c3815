"""What dhcpcd and udhcpc say, as recorded from them, and every reason code of every client."""

from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.dhcp.clients import LeaseError, parse_dhclient, parse_dhcpcd, parse_udhcpc
from netbond.dhcp.lease import Changed, Lease, Released
from netbond.dhcp.store import from_json, to_json

NOW = 1763600000.5


def lease(source: str, address: str, *routers: str, device: str = "usb0") -> Lease:
    return Lease(device, source, IPv4Interface(address), tuple(IPv4Address(r) for r in routers), NOW)


# dhcpcd 9.4.1 with dnsmasq: two routers, option 121 with a default in it, an MTU.
DHCPCD_BOUND = {
    "if_configured": "true", "if_down": "false", "if_up": "true", "ifcarrier": "up", "ifflags": "69699",
    "ifmetric": "1002", "ifmtu": "1500", "ifwireless": "0", "interface": "usb0", "interface_order": "usb0",
    "new_broadcast_address": "192.168.8.255",
    "new_classless_static_routes": "10.0.0.0/8 192.168.8.7 0.0.0.0/0 192.168.8.1",
    "new_dhcp_lease_time": "120", "new_dhcp_message_type": "5", "new_dhcp_server_identifier": "192.168.8.1",
    "new_interface_mtu": "1400", "new_ip_address": "192.168.8.100", "new_network_number": "192.168.8.0",
    "new_routers": "192.168.8.1 192.168.8.9", "new_subnet_cidr": "24", "new_subnet_mask": "255.255.255.0",
    "pid": "11412", "protocol": "dhcp", "reason": "BOUND",
}  # fmt: skip
DHCPCD_EXPIRE = {
    "ifcarrier": "down", "ifflags": "4098", "ifmtu": "-1", "interface": "usb0",
    "old_classless_static_routes": "10.0.0.0/8 192.168.8.7 0.0.0.0/0 192.168.8.1",
    "old_ip_address": "192.168.8.100", "old_routers": "192.168.8.1 192.168.8.9", "old_subnet_cidr": "24",
    "old_subnet_mask": "255.255.255.0", "pid": "11434", "protocol": "dhcp", "reason": "EXPIRE",
}  # fmt: skip
DHCPCD_DEPARTED = {
    "if_down": "true", "ifcarrier": "down", "interface": "usb0", "protocol": "link", "reason": "DEPARTED",
}  # fmt: skip

# udhcpc 1.35.0 with the same server.
UDHCPC_BOUND = {
    "broadcast": "192.168.8.255", "interface": "usb0", "ip": "192.168.8.100", "lease": "120", "mask": "24",
    "mtu": "1400", "opt53": "05", "opt58": "0000003c", "router": "192.168.8.1 192.168.8.9",
    "serverid": "192.168.8.1", "siaddr": "192.168.8.1",
    "staticroutes": "10.0.0.0/8 192.168.8.7 0.0.0.0/0 192.168.8.1", "subnet": "255.255.255.0",
}  # fmt: skip


def without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


# --- every reason code -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["BOUND", "RENEW", "REBIND", "REBOOT", "INFORM", "STATIC", "TIMEOUT"])
def test_dhcpcd_has_a_lease(reason: str) -> None:
    environ = DHCPCD_BOUND | {"reason": reason}
    assert parse_dhcpcd(environ, NOW) == lease("dhcpcd", "192.168.8.100/24", "192.168.8.1")


@pytest.mark.parametrize("reason", ["EXPIRE", "FAIL", "NAK", "RELEASE", "STOP", "STOPPED", "DEPARTED"])
def test_dhcpcd_has_none_any_more(reason: str) -> None:
    old = Released("usb0", "dhcpcd", IPv4Address("192.168.8.100"))
    assert parse_dhcpcd(DHCPCD_EXPIRE | {"reason": reason}, NOW) == old
    assert parse_dhcpcd(DHCPCD_DEPARTED | {"reason": reason}, NOW) == Released("usb0", "dhcpcd")


@pytest.mark.parametrize(
    "reason",
    ["BOUND6", "RENEW6", "REBIND6", "REBOOT6", "INFORM6", "STATIC6", "DELEGATED6", "TIMEOUT6", "EXPIRE6",
     "RELEASE6", "STOP6", "ROUTERADVERT"],
)  # fmt: skip
def test_dhcpcd_on_ipv6_is_a_reason_to_look(reason: str) -> None:
    environ = {"reason": reason, "interface": "usb0", "new_dhcp6_ia_na1_ia_addr1": "2001:db8::1"}
    assert parse_dhcpcd(environ, NOW) == Changed("usb0", "dhcpcd")


@pytest.mark.parametrize(
    "reason", ["PREINIT", "CARRIER", "NOCARRIER", "NOCARRIER_ROAMING", "IPV4LL", "3RDPARTY", "TEST", "DUMP",
               "RECONFIGURE", "UNKNOWN", "", "bound", "$(id)"]
)  # fmt: skip
def test_dhcpcd_says_nothing(reason: str) -> None:
    assert parse_dhcpcd(DHCPCD_BOUND | {"reason": reason}, NOW) is None


@pytest.mark.parametrize(
    "reason", ["BOUND6", "RENEW6", "REBIND6", "DEPREF6", "EXPIRE6", "RELEASE6", "STOP6"]
)  # fmt: skip
def test_dhclient_on_ipv6_is_a_reason_to_look(reason: str) -> None:
    environ = {"reason": reason, "interface": "usb0", "new_ip6_address": "2001:db8::1"}
    assert parse_dhclient(environ, NOW) == Changed("usb0", "dhclient")
    with pytest.raises(LeaseError):
        parse_dhclient(environ | {"interface": "../x"}, NOW)


@pytest.mark.parametrize("event", ["bound", "renew"])
def test_udhcpc_has_a_lease(event: str) -> None:
    assert parse_udhcpc(event, UDHCPC_BOUND, NOW) == lease("udhcpc", "192.168.8.100/24", "192.168.8.1")
    six = {"interface": "usb0", "ipv6": "2001:db8::1", "lease": "120"}
    assert parse_udhcpc(event, six, NOW) == Changed("usb0", "udhcpc")


@pytest.mark.parametrize("event", ["deconfig", "leasefail", "nak"])
def test_udhcpc_has_none_any_more(event: str) -> None:
    assert parse_udhcpc(event, {"interface": "usb0"}, NOW) == Released("usb0", "udhcpc")


@pytest.mark.parametrize("event", ["", "BOUND", "arp", "; reboot"])
def test_udhcpc_says_nothing(event: str) -> None:
    assert parse_udhcpc(event, UDHCPC_BOUND, NOW) is None


# --- leases of all shapes ----------------------------------------------------------------------------------

CLASSLESS = ("new_classless_static_routes", "staticroutes")


@pytest.mark.parametrize(
    ("change", "drop", "expected"),
    [
        ({}, (), ("192.168.8.100/24", "192.168.8.1")),
        ({}, CLASSLESS, ("192.168.8.100/24", "192.168.8.1", "192.168.8.9")),  # order is kept
        ({}, (*CLASSLESS, "new_routers", "router"), ("192.168.8.100/24",)),
        # RFC 3442 over routers, even without a default in it
        (dict.fromkeys(CLASSLESS, "10.0.0.0/8 192.168.8.7"), (), ("192.168.8.100/24",)),
        (dict.fromkeys(CLASSLESS, "0.0.0.0/0 0.0.0.0"), (), ("192.168.8.100/24",)),  # on-link default
        (
            dict.fromkeys(["new_ms_classless_static_routes", "msstaticroutes"], "0.0.0.0/0 192.168.8.3"),
            CLASSLESS,
            ("192.168.8.100/24", "192.168.8.3"),
        ),
        ({"new_subnet_mask": "", "subnet": ""}, (), ("192.168.8.100/24", "192.168.8.1")),
        # What is not needed may be anything.
        ({"new_interface_mtu": "9; reboot", "mtu": "x" * 4096}, (), ("192.168.8.100/24", "192.168.8.1")),
        ({"new_dhcp_lease_time": "-1", "lease": "$(id)"}, (), ("192.168.8.100/24", "192.168.8.1")),
        ({"new_host_name": "a\nb" * 2048, "hostname": "`id`"}, (), ("192.168.8.100/24", "192.168.8.1")),
    ],
)  # fmt: skip
def test_leases_of_all_shapes(
    change: dict[str, str], drop: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    one, other = without(DHCPCD_BOUND | change, *drop), without(UDHCPC_BOUND | change, *drop)
    assert parse_dhcpcd(one, NOW) == lease("dhcpcd", *expected)
    assert parse_udhcpc("bound", other, NOW) == lease("udhcpc", *expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"interface": "../x"}, "interface '../x' is not a name that an interface can have"),
        ({"ip": "10.0.0.1;id"}, "ip '10.0.0.1;id' is not an IPv4 address"),
        ({"ip": ""}, "ip '' is not an IPv4 address"),
        ({"subnet": "255.0.255.0"}, "ip 192.168.8.100 has the subnet mask '255.0.255.0', which is none"),
        ({"router": "$(reboot)", "staticroutes": ""}, "router '$(reboot)' is not an IPv4 address"),
        ({"staticroutes": "10.0.0.0/8"}, "staticroutes '10.0.0.0/8' is not a list of routes"),
        ({"staticroutes": "0.0.0.0/0 x\ny z"}, "staticroutes '0.0.0.0/0 x\\ny z' is not a list of routes"),
        (
            {"staticroutes": "x " * 2000},
            "staticroutes 'x x x x x x x x x x x x x x x x x x x x ...' has 4000",
        ),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, str], says: str) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_udhcpc("bound", UDHCPC_BOUND | change, NOW)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text("0123456789. /$;`\n-", max_size=40),
    st.sampled_from(["", "0", "10.0.0.256", "../x", "a\0b", "\udcff", "0.0.0.0/0 10.0.0.2", "10.0.0.1"]),
)
NAMES = st.sampled_from(sorted({*DHCPCD_BOUND, *UDHCPC_BOUND, "old_ip_address"} - {"reason"}))


@settings(deadline=None)
@given(st.dictionaries(NAMES, HOSTILE), st.sampled_from(["BOUND", "EXPIRE", "BOUND6", "bound", "nak"]))
def test_any_environment_gives_a_usable_lease_or_one_line(hostile: dict[str, str], reason: str) -> None:
    said = ""
    news: Lease | Released | Changed | None = None
    try:
        if reason.islower():
            news = parse_udhcpc(reason, UDHCPC_BOUND | hostile, NOW)
        else:
            news = parse_dhcpcd(DHCPCD_BOUND | hostile | {"reason": reason}, NOW)
    except LeaseError as error:
        said = str(error)
    assert said.isprintable()
    assert (news is None) == bool(said)
    if isinstance(news, Lease):
        assert from_json(to_json(news, ""), "") == news
