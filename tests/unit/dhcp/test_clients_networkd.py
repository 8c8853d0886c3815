"""systemd-networkd's lease files, as recorded from it: a lease, or one line that names what is wrong."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.dhcp.clients import LeaseError, parse_networkd
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import from_json, to_json

NOW = 1763600000.5

# systemd 252 with dnsmasq: two routers, option 121.
FILE = """\
# This is private data. Do not parse.
ADDRESS=192.168.8.100
NETMASK=255.255.255.0
ROUTER=192.168.8.1 192.168.8.9
SERVER_ADDRESS=192.168.8.1
NEXT_SERVER=192.168.8.1
BROADCAST=192.168.8.255
T1=60
T2=105
LIFETIME=120
HOSTNAME=vm
CLASSLESS_ROUTES=10.0.0.0/8,192.168.8.7 0.0.0.0/0,192.168.8.1
CLIENTID=ff8556be2700020000ab110033bdebf95e192c
"""
ROUTES = "CLASSLESS_ROUTES=10.0.0.0/8,192.168.8.7 0.0.0.0/0,192.168.8.1\n"


def lease(address: str, *routers: str, received: float = NOW) -> Lease:
    return Lease("usb0", "networkd", IPv4Interface(address), tuple(map(IPv4Address, routers)), received)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", lease("192.168.8.100/24", "192.168.8.1")),
        (ROUTES, "", lease("192.168.8.100/24", "192.168.8.1", "192.168.8.9")),
        ("0.0.0.0/0,192.168.8.1", "", lease("192.168.8.100/24")),  # RFC 3442: no default, no router
        ("CLASSLESS_ROUTES", "ROUTES", lease("192.168.8.100/24", "192.168.8.1")),  # before 252
        (ROUTES + "ROUTER=192.168.8.1 192.168.8.9\n", "", lease("192.168.8.100/24", "192.168.8.1")),
        ("ROUTER=192.168.8.1 192.168.8.9\n", "", lease("192.168.8.100/24", "192.168.8.1")),
        ("255.255.255.0", "255.255.255.255", lease("192.168.8.100/32", "192.168.8.1")),
        (
            "HOSTNAME=vm",
            "HOSTNAME=$(reboot)\nno equals sign\n=\nMTU=x",
            lease("192.168.8.100/24", "192.168.8.1"),
        ),
    ],
)
def test_a_lease(old: str, new: str, expected: Lease) -> None:
    assert parse_networkd(FILE.replace(old, new) if old else FILE, "usb0", NOW) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ADDRESS '' is not an IPv4 address"),
        (FILE.replace("ADDRESS=192", "ADDRESS=1920"), "ADDRESS '1920.168.8.100' is not an IPv4 address"),
        (
            FILE.replace("255.255.255.0", "255.0.255.0"),
            "ADDRESS 192.168.8.100 has the subnet mask '255.0.255.0'",
        ),
        (
            FILE.replace("0.0.0.0/0,", "0.0.0.0/0;"),
            "CLASSLESS_ROUTES '10.0.0.0/8 192.168.8.7 0.0.0.0/0;192.168",
        ),
        (FILE.replace(ROUTES, "").replace("8.9", "8.x"), "router '192.168.8.x' is not an IPv4 address"),
    ],
)
def test_what_cannot_be_is_named(text: str, says: str) -> None:
    with pytest.raises(LeaseError) as caught:
        parse_networkd(text, "usb0", NOW)
    assert str(caught.value).startswith(says)


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(0, len(FILE)))
def test_any_text_gives_a_usable_lease_or_one_line(text: str, position: int) -> None:
    said, found = "", None
    try:
        found = parse_networkd(FILE[:position] + text + FILE[position:], "usb0", NOW)
    except LeaseError as error:
        said = str(error)
    assert said.isprintable()
    assert (found is None) == bool(said)
    assert found is None or from_json(to_json(found, ""), "") == found
