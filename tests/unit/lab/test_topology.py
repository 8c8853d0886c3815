"""What a lab consists of, before anything of it is made."""

import pytest

from netbond.errors import UsageError
from netbond.lab import topology
from netbond.lab.lab import Lab
from netbond.lab.topology import is_namespace_of, plan


def test_modems_differ_and_twins_do_not() -> None:
    lab = plan("nblab", ["usb0", "usb1", "usb2", "usb3"], twins=["usb1", "usb2"])
    assert [(m.device, m.address, m.lease) for m in lab.modems] == [
        ("usb0", "192.168.10.1", "192.168.10.100"),
        ("usb1", "192.168.8.1", "192.168.8.100"),
        ("usb2", "192.168.8.1", "192.168.8.100"),
        ("usb3", "192.168.13.1", "192.168.13.100"),
    ]
    assert len({m.public for m in lab.modems}) == 4  # NAT makes the twins distinct outside
    assert lab.namespaces == ["nblab-box", "nblab-net", "nblab-m0", "nblab-m1", "nblab-m2", "nblab-m3"]


def test_mac_addresses_are_the_same_each_time_and_unlike_between_labs() -> None:
    one, again, other = (plan(name, ["usb0", "usb1"]) for name in ("a", "a", "b"))
    assert one == again
    macs = [mac for lab in (one, other) for m in lab.modems for mac in (m.mac, m.modem_mac)]
    assert len(set(macs)) == 8
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)  # locally administered, unicast


def test_the_commands_of_a_modem() -> None:
    modem = plan("nb", ["usb0"]).modems[0]
    assert topology.plug_command(modem) == (
        f"link add usb0 address {modem.mac} type veth peer name lan0 address {modem.modem_mac} netns nb-m0"
    )
    assert topology.modem_commands(modem) == [
        "link set lo up",
        "tuntap add dev radio0 mode tun",
        "link set radio0 txqueuelen 1000",
        "address add 100.64.0.2/32 dev radio0",
        "link set radio0 up",
        "route replace default dev radio0",
        "address add 192.168.10.1/24 dev lan0",
        "link set lan0 up",
    ]


@pytest.mark.parametrize(
    ("netns", "mine"),
    [
        ("lab-box", True),
        ("lab-net", True),
        ("lab-m0", True),
        ("lab-m31", True),
        ("lab-m", False),
        ("lab-2-box", False),  # of a lab called lab-2
        ("lab-m0-box", False),  # of a lab called lab-m0
        ("my-lab-box", False),
        ("lab", False),
    ],
)
def test_a_lab_knows_its_own_namespaces(netns: str, mine: bool) -> None:
    assert is_namespace_of("lab", netns) is mine


@pytest.mark.parametrize("name", ["", "-x", "Lab", "a b", "../x", "a/b", "x" * 33, "a;b", "läb"])
def test_a_name_that_could_do_harm_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a lab"):
        Lab(name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"devices": ["usb0", "usb0"]}, "'usb0' cannot name an uplink"),
        ({"devices": ["lo"]}, "'lo' cannot name an uplink"),
        ({"devices": ["usb0 type dummy"]}, "cannot name an uplink"),
        ({"devices": ["a-name-too-long-for-linux"]}, "15 characters at most"),
        ({"modems": 33}, "33 modems are not possible; choose from 1 to 32"),
        ({"modems": 2, "twins": ["usb1", "usb2"]}, "there is no uplink 'usb2'; there will be usb0, usb1"),
        ({"modems": 2, "twins": [1, 2]}, "there is no modem number 2; there are 2, counted from 0"),
        ({"links": {"usb7": ["rate=1"]}}, "there is no uplink 'usb7'"),
        ({"links": {"usb0": ["rate=x"]}}, "'rate=x' is not valid"),
        ({"links": {"usb0": ["carrier=off"]}}, "usb0: the initial carrier cannot be set"),
        ({"lease_seconds": 5}, "a lease of 5 s is not possible"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Lab("never", **arguments)  # type: ignore[arg-type]  # a table of keyword arguments
    assert says in str(caught.value)


def test_an_uplink_that_there_is_not_is_named_with_those_that_there_are() -> None:
    lab = plan("nb", ["usb0", "wlan0"])
    assert lab.modem("wlan0") is lab.modems[1]
    with pytest.raises(UsageError, match=r"lab 'nb' has no uplink 'usb9'; it has usb0, wlan0"):
        lab.modem("usb9")


def test_the_commands_of_the_internet() -> None:
    lab = plan("nb", ["usb0", "usb1"])
    lines = topology.net_commands(lab)
    assert f"address add {topology.RECEIVER}/32 dev lo" in lines
    for modem in lab.modems:
        assert f"tuntap add dev {modem.net_device} mode tun" in lines
        assert f"route add {modem.public}/32 dev {modem.net_device} src {topology.RECEIVER}" in lines
    assert len({modem.public for modem in lab.modems}) == 2
