"""What a lab consists of, before anything of it is made."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from netbond.cli import lab as lab_command
from netbond.cli.parser import Parser
from netbond.config import load
from netbond.errors import UsageError
from netbond.lab import boxfiles, netns, topology
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


def options(*argv: str) -> Lab:
    parser = Parser(prog="netbond lab")
    lab_command.configure(parser)
    return lab_command.lab_from(parser.parse_args(["up", *argv]))


def test_command_line_of_up() -> None:
    lab = options("--names", "wlan0,usb0,usb1", "--twins", "2", "--link", "wlan0:rate=6,up.delay=40")
    assert [(m.device, m.twin, m.words) for m in lab.topology.modems] == [
        ("wlan0", False, ("rate=6", "up.delay=40")),
        ("usb0", True, topology.DEFAULT_WORDS),
        ("usb1", True, topology.DEFAULT_WORDS),
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--twins", "5"], "--twins 5 is not possible; choose from 2 to 4"),
        (["--twins", "1"], "--twins 1 is not possible"),
        (["--names", "a", "--modems", "2"], "--names and --modems exclude each other"),
        (["--link", "usb0"], "--link usb0: no colon"),
        (["--modems", "0"], "0 modems are not possible"),
    ],
)
def test_a_wrong_option_of_up_is_named(argv: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        options(*argv)


def test_the_written_configuration_is_one_that_netbond_reads() -> None:
    lab = plan("nb", ["usb0"])
    text = boxfiles.config_text(lab, Path("/run/netbond-lab/nb"), sender=True)
    read = load.parse(text)
    assert str(read.agent.control_socket) == "/run/netbond-lab/nb/box/control.sock"
    assert str(read.sender[0].receiver) == "bond.lab:5000"
    assert load.parse(boxfiles.config_text(lab, Path("/x"), sender=False)).sender == ()


def test_the_box_keeps_nothing_in_the_machines_own_folders() -> None:
    """A lab on a real box must not add what its usb0 carried to the data plan of the real one."""
    text = boxfiles.config_text(plan("nb", ["usb0"]), Path("/run/netbond-lab/nb"), sender=True)
    agent = load.parse(text).agent
    places = {
        field.name: value for field in fields(agent) if isinstance(value := getattr(agent, field.name), Path)
    }
    assert places.pop("iproute2_dir").is_relative_to("/etc/netns/nb-box")
    assert {"control_socket", "state_dir", "data_dir", "ip_list"} <= places.keys()
    assert all(place.is_relative_to("/run/netbond-lab/nb") for place in places.values())


def test_without_root_it_says_so() -> None:
    code = """
import os, sys
import netbond.cli, netbond.cli.lab, netbond.lab.lab
if os.geteuid() == 0:
    os.setuid(65534)  # after the imports: the checkout may be closed to others
sys.exit(netbond.cli.main(["lab", "up"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 77
    assert "needs root" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_recycled_process_number_is_somebody_else() -> None:
    me = netns.identify(os.getpid())
    assert me.alive
    assert not netns.Process(me.pid, me.started - 1).alive
    netns.stop([netns.Process(me.pid, me.started - 1)])  # or this test would end here
