"""Every layout as text, and what fills it: several gateways, twins, VLANs, pins, others' defaults."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for
from tests.netns.spaces import inside

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box with two modems that have defaults in main."""
    with Box(tmp_path) as box:
        # Addresses that the kernel makes up by itself would stand in the tables.
        box.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        for number in range(2):
            box.plug(f"usb{number}", number)
        yield box


def tables(box: Box) -> str:
    """`ip route show table all` without the kernel's local table."""
    lines = box.ip("-4", "route", "show", "table", "all").splitlines()
    return "\n".join(line for line in lines if " table local " not in line)


DEFAULT_RULES = """\
0:	from all lookup local
40:	from all oif usb0 lookup 100 proto 78
40:	from all oif usb1 lookup 101 proto 78
50:	from all lookup main suppress_prefixlength 0 proto 78
100:	from 10.0.0.10 lookup 100 proto 78
101:	from 10.0.1.10 lookup 101 proto 78
220:	from all lookup 221 proto 78
222:	from all lookup 222 proto 78
32766:	from all lookup main
32767:	from all lookup default"""

DEFAULT_TABLES = """\
default via 10.0.0.1 dev usb0 table 100 proto 78 src 10.0.0.10
unreachable default table 100 proto 78 metric 4294967295
10.0.0.0/24 dev usb0 table 100 proto 78 scope link src 10.0.0.10
default via 10.0.1.1 dev usb1 table 101 proto 78 src 10.0.1.10
unreachable default table 101 proto 78 metric 4294967295
10.0.1.0/24 dev usb1 table 101 proto 78 scope link src 10.0.1.10
198.51.100.7 via 10.0.1.1 dev usb1 table 221 proto 78 src 10.0.1.10
unreachable 198.51.100.7 table 221 proto 78 metric 4294967295
203.0.113.0/24 via 10.0.0.1 dev usb0 table 221 proto 78 src 10.0.0.10
default nhid 7800222 table 222 proto 78
	nexthop via 10.0.0.1 dev usb0 weight 1
	nexthop via 10.0.1.1 dev usb1 weight 1
default via 10.0.0.1 dev usb0 metric 1000
default via 10.0.1.1 dev usb1 metric 1001
10.0.0.0/24 dev usb0 proto kernel scope link src 10.0.0.10
10.0.1.0/24 dev usb1 proto kernel scope link src 10.0.1.10"""

NEXTHOPS = """\
id 7800100 via 10.0.0.1 dev usb0 scope link proto 78
id 7800101 via 10.0.1.1 dev usb1 scope link proto 78
id 7800222 group 7800100/7800101 proto 78"""

PINS = """
[[pin]]
destination = ["203.0.113.0/24"]
uplinks = ["eth*", "usb0", "usb1"]
[[pin]]
destination = ["198.51.100.7"]
uplinks = ["usb1"]
otherwise = "unreachable"
"""


def test_the_default_layout_with_pins(box: Box) -> None:
    box.configure(PINS)
    box.start()
    assert box.rules() == DEFAULT_RULES
    assert tables(box) == DEFAULT_TABLES
    assert box.ip("nexthop") == NEXTHOPS
    assert box.way("203.0.113.9") == "usb0"
    assert box.way("198.51.100.7") == "usb1"
    assert box.way("198.51.100.7", "from", "10.0.0.10") == "usb0"


def test_pins_fall_back_and_return(box: Box) -> None:
    box.configure(PINS)
    box.start()
    sh("ip", "-n", box.far, "link", "set", "p0", "down")
    wait_for(lambda: box.way("203.0.113.9") == "usb1", 1.0, "the next in order")
    sh("ip", "-n", box.far, "link", "set", "p0", "up")
    wait_for(lambda: box.way("203.0.113.9") == "usb0", 1.0, "the first again")
    box.unplug("usb1")
    wait_for(lambda: "usb1" not in box.state(), 1.0, "usb1 is gone")
    refused = box.run("ip", "route", "get", "198.51.100.7", check=False)
    assert "dev" not in refused


CLASSIC_RULES = """\
0:	from all lookup local
40:	from all oif usb0 lookup 100 proto 78
40:	from all oif usb1 lookup 101 proto 78
50:	from all lookup main proto 78
201:	from 10.0.0.0/24 lookup 100 proto 78
202:	from 10.0.1.0/24 lookup 101 proto 78
222:	from all lookup 222 proto 78
32766:	from all lookup main
32767:	from all lookup default"""

CLASSIC_TABLES = """\
default via 10.0.0.1 dev usb0 table 100 proto 78 src 10.0.0.10
prohibit default table 100 proto 78 metric 4294967295
10.0.0.0/24 dev usb0 table 100 proto 78 scope link src 10.0.0.10
default via 10.0.1.1 dev usb1 table 101 proto 78 src 10.0.1.10
prohibit default table 101 proto 78 metric 4294967295
10.0.1.0/24 dev usb1 table 101 proto 78 scope link src 10.0.1.10
default nhid 7800222 table 222 proto 78
	nexthop via 10.0.0.1 dev usb0 weight 1
	nexthop via 10.0.1.1 dev usb1 weight 1
10.0.0.0/24 dev usb0 proto kernel scope link src 10.0.0.10
10.0.1.0/24 dev usb1 proto kernel scope link src 10.0.1.10"""

CLASSIC = '[routing]\nlayout = "classic"\ntake_over_default = true'


def test_the_classic_layout(box: Box) -> None:
    box.configure(CLASSIC)
    main = box.table("main")
    box.start()
    assert box.rules() == CLASSIC_RULES
    assert tables(box) == CLASSIC_TABLES
    assert box.status()["agent"]["problems"] == []
    for number in range(2):
        assert box.way("8.8.8.8", "from", f"10.0.{number}.10") == f"usb{number}"
        assert box.way("8.8.8.8", "oif", f"usb{number}") == f"usb{number}"
    # A DHCP client puts its default back: it goes again.
    box.ip("route", "add", "default", "via", "10.0.1.1", "dev", "usb1", "metric", "1001")
    wait_for(lambda: "default" not in box.table("main"), 1.0, "taken again")
    assert box.stop() == 0
    assert box.table("main") == main
    assert "proto 78" not in box.rules()


def test_taken_defaults_survive_a_kill(box: Box) -> None:
    box.configure(CLASSIC)
    main = box.table("main")
    box.start()
    before = box.state()
    box.stop(signal.SIGKILL)
    assert "default" not in box.table("main")
    box.start()
    assert box.state() == before
    # Another configuration gives them back, while netbond runs.
    box.configure()
    assert box.agent is not None
    box.agent.send_signal(signal.SIGHUP)
    wait_for(lambda: box.table("main") == main, 3.0, "given back")
    wait_for(
        lambda: "50:	from all lookup main suppress_prefixlength 0" in box.rules(),
        1.0,
        "the default layout",
    )
    wait_for(lambda: box.rules().count("lookup main proto 78") == 0, 1.0, "without the other's rule")


def test_a_taken_default_of_a_modem_that_is_gone_is_not_put_back(box: Box) -> None:
    box.configure(CLASSIC)
    box.start()
    box.unplug("usb0")
    wait_for(lambda: "usb0" not in box.state(), 1.0, "usb0 is gone")
    assert box.stop() == 0
    assert [line for line in box.table("main").splitlines() if "default" in line] == [
        "default via 10.0.1.1 dev usb1 metric 1001"
    ]


def test_a_default_that_hides_the_ecmp_table_is_named(box: Box) -> None:
    box.configure('[routing]\nlayout = "classic"')
    box.start()
    assert box.status()["agent"]["problems"] == [
        f"the default in main via 10.0.{n}.1 dev usb{n} hides the ECMP table: delete it,"
        " or set routing.take_over_default = true"
        for n in range(2)
    ]
    assert box.table("main").count("default") == 2


def test_without_nexthop_objects(box: Box) -> None:
    box.configure("[routing]\nnexthop_base = 0")
    box.start()
    assert box.ip("nexthop") == ""
    assert box.table(222).splitlines()[0] == "default proto 78"
    assert box.table(222).count("nexthop via") == 2


def test_foreign_nexthops_make_way_for_a_plain_route(box: Box) -> None:
    box.ip("nexthop", "add", "id", "7800101", "via", "10.0.0.1", "dev", "usb0")
    box.start()
    assert box.table(222).splitlines()[0] == "default proto 78"
    (problem,) = box.status()["agent"]["problems"]
    assert problem.startswith("another program uses the nexthop id 7800101")
    box.ip("nexthop", "del", "id", "7800101")
    wait_for(lambda: "nhid 7800222" in box.table(222), 1.0, "the group after all")
    wait_for(lambda: box.status()["agent"]["problems"] == [], 1.0, "nothing to say")


def test_what_others_have_there_is_named_once(box: Box) -> None:
    box.ip("rule", "add", "from", "192.0.2.1", "lookup", "55", "priority", "100")
    box.ip("rule", "add", "from", "192.0.2.2", "lookup", "101", "priority", "7000")
    for number in range(3):
        box.ip("route", "add", f"198.51.100.{number}", "via", "10.0.0.1", "table", "222")
    box.start()
    assert box.status()["agent"]["problems"] == [
        "another program's rule has one of netbond's priorities:"
        " priority 100 from 192.0.2.1 lookup 55 protocol 0",
        "another program's rule looks up one of netbond's tables:"
        " priority 7000 from 192.0.2.2 lookup 101 protocol 0",
        "another program's route is in table 222, which is netbond's:"
        " 198.51.100.0/32 via 10.0.0.1 dev usb0 table 222 proto 3, and 2 more",
    ]
    box.ip("rule", "del", "priority", "101")
    wait_for(lambda: "101:" in box.rules(), 1.0, "repaired")
    assert box.log.read_text().count("another program's rule has one of netbond's priorities") == 1


def test_a_lease_that_wants_half_of_the_internet_is_named(box: Box) -> None:
    box.ip("addr", "add", "192.168.1.99/1", "dev", "usb1")
    box.ip("route", "add", "0.0.0.0/1", "via", "10.0.0.1", "dev", "usb0", "proto", "dhcp")
    box.start()
    why = "past the ECMP table, as a wrong netmask, a VPN or a hostile DHCP server does"
    assert box.status()["agent"]["problems"] == [
        f"a route in main takes much of the internet {why}: 0.0.0.0/1 via 10.0.0.1 dev usb0 table main"
        " proto 16",
        f"a route in main takes much of the internet {why}: 128.0.0.0/1 dev usb1 table main proto 2"
        " scope link src 192.168.1.99",
    ]
    assert box.way("198.51.100.7") == "usb1"  # so it is
    box.ip("addr", "del", "192.168.1.99/1", "dev", "usb1")
    box.ip("route", "del", "0.0.0.0/1")
    wait_for(lambda: box.status()["agent"]["problems"] == [], 5.0, "all is well")


def test_names_that_are_no_text_are_left_out(box: Box) -> None:
    """The kernel takes any bytes but slashes, colons and blanks."""
    box.configure('[[uplink]]\nmatch = "usb*"\n[[uplink]]\nmatch = "*"', agent='metrics = ""')
    names = ["usb\udcff\udcfe", "usb\udcff\udcfd", "usb\x1b[31m", "\udc80"]
    for number, device in enumerate(names):
        box.plug(device, 5 + number)
    box.start()
    box.ip("link", "set", names[0], "down")
    box.ip("link", "set", names[0], "up")
    status = box.status()
    assert [u["device"] for u in status["uplinks"]] == ["usb0", "usb1"]
    assert status["agent"]["problems"] == []
    left_out = [each["device"] for each in status["excluded"] if each["reason"] == "its name is not text"]
    assert left_out == ["usb\\x1b[31m", "usb\ufffd\ufffd", "\ufffd"]  # two look the same
    for words in (["status"], ["status", "--all"], ["plan"], ["explain", "8.8.8.8"]):
        done = subprocess.run(
            box.command(*words, "--config", str(box.config_file)), capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 2), done.stdout + done.stderr
        assert "\x1b[31m" not in done.stdout
    assert box.stop() == 0


def test_a_default_of_a_scope_without_a_name_is_taken_and_given_back(box: Box) -> None:
    box.configure(CLASSIC)
    box.ip("route", "add", "default", "via", "10.0.1.1", "dev", "usb1", "scope", "123", "metric", "7")
    before = box.table("main")
    assert "scope 123" in before
    box.start()
    assert "default" not in box.table("main")
    assert box.status()["agent"]["problems"] == []
    assert box.stop() == 0
    assert box.table("main") == before


# --- several gateways on one interface ---------------------------------------------------------------------


def test_two_networks_with_a_gateway_each(box: Box) -> None:
    sh("ip", "-n", box.far, "addr", "add", "10.1.0.1/24", "dev", "p0")
    box.ip("addr", "add", "10.1.0.10/24", "dev", "usb0")
    box.configure('[[uplink]]\nmatch = "usb0"\ngateway = ["10.0.0.1", "10.1.0.1"]')
    box.start()
    (second,) = (u for u in box.status()["uplinks"] if u["name"] == "usb0+10.1.0.1")
    assert second["table"] in range(130, 220)
    assert f"from 10.1.0.10 lookup {second['table']}" in box.rules()
    assert "via 10.1.0.1 dev usb0" in box.ip("route", "get", "8.8.8.8", "from", "10.1.0.10")
    assert "via 10.0.0.1 dev usb0" in box.ip("route", "get", "8.8.8.8", "from", "10.0.0.10")
    assert box.table(222).count("nexthop via") == 3
    assert (box.folder / "ips").read_text() == "10.0.0.10\n10.0.1.10\n10.1.0.10\n"
    before = box.state()
    box.stop(signal.SIGKILL)
    box.start()
    assert box.state() == before


def test_networks_that_main_knows_the_gateways_of(box: Box) -> None:
    sh("ip", "-n", box.far, "addr", "add", "10.1.0.1/24", "dev", "p0")
    box.ip("addr", "add", "10.1.0.10/24", "dev", "usb0")
    box.ip("route", "add", "default", "via", "10.1.0.1", "dev", "usb0", "metric", "2000")
    box.start()
    assert [u["name"] for u in box.status()["uplinks"]] == ["usb0", "usb1", "usb0+10.1.0.1"]


def test_several_addresses_of_one_network(box: Box) -> None:
    box.ip("addr", "add", "10.0.0.11/24", "dev", "usb0")
    box.start()
    assert "100:	from 10.0.0.11 lookup 100" in box.rules()
    assert box.way("8.8.8.8", "from", "10.0.0.11") == "usb0"
    assert [u["name"] for u in box.status()["uplinks"]] == ["usb0", "usb1"]


def test_two_uplinks_on_the_same_subnet(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        box.plug("usb0", 0, "192.168.8.10/24")
        box.plug("usb1", 1, "192.168.8.11/24")
        box.start()
        assert box.way("8.8.8.8", "from", "192.168.8.10") == "usb0"
        assert box.way("8.8.8.8", "from", "192.168.8.11") == "usb1"
        assert box.way("192.168.8.77", "from", "192.168.8.11", "oif", "usb1") == "usb1"


def test_a_vlan(box: Box) -> None:
    kinds = subprocess.run(
        ["ip", "-n", box.name, "link", "add", "link", "usb0", "name", "usb0.5", "type", "vlan", "id", "5"],
        capture_output=True,
    )
    if kinds.returncode:
        # The name is what matters here: dots must go through every part.
        box.plug("usb0.5", 5)
    else:
        sh("ip", "-n", box.far, "link", "add", "link", "p0", "name", "p0.5", "type", "vlan", "id", "5")
        sh("ip", "-n", box.far, "link", "set", "p0.5", "up")
        sh("ip", "-n", box.far, "addr", "add", "10.0.5.1/24", "dev", "p0.5")
        box.ip("link", "set", "usb0.5", "up")
        box.ip("addr", "add", "10.0.5.10/24", "dev", "usb0.5")
        box.ip("route", "add", "default", "via", "10.0.5.1", "dev", "usb0.5", "metric", "5000")
    box.start()
    assert box.way("8.8.8.8", "from", "10.0.5.10") == "usb0.5"
    assert box.way("8.8.8.8", "oif", "usb0.5") == "usb0.5"
    box.unplug("usb0.5")
    wait_for(lambda: "usb0.5" not in box.state(), 1.0, "gone")


def test_point_to_point_without_a_word_of_configuration(box: Box) -> None:
    box.run("ip", "tuntap", "add", "wwan0", "mode", "tun")
    box.ip("link", "set", "wwan0", "up")
    box.ip("addr", "add", "10.64.1.2", "peer", "10.64.0.1", "dev", "wwan0")
    box.ip("route", "add", "default", "dev", "wwan0", "metric", "700")
    box.start()
    (uplink,) = (u for u in box.status()["uplinks"] if u["device"] == "wwan0")
    assert (uplink["gateway"], uplink["gateway_source"]) == (None, "main default")
    # Nobody holds the other end of the tunnel: it has no carrier, so it keeps its table and is not shared.
    assert uplink["state"] == "no carrier"
    assert "default dev wwan0 proto 78 scope link src 10.64.1.2" in box.table(uplink["table"])
    # So what is bound to it fails at once, and does not leave by another modem.
    assert "dev usb" not in box.ip("route", "get", "8.8.8.8", "from", "10.64.1.2", check=False)
    explained = subprocess.run(
        box.command("explain", "8.8.8.8", "--from", "10.64.1.2", "--config", str(box.config_file)),
        capture_output=True,
        text=True,
    )
    assert explained.returncode == 0, explained.stdout


def test_a_backup_works_while_nothing_else_does(box: Box) -> None:
    box.configure('[[uplink]]\nmatch = "usb1"\nbackup = true')
    box.start()
    assert "usb1" not in box.table(222)
    assert [u["state"] for u in box.status()["uplinks"]] == ["up", "standby"]
    assert box.way("8.8.8.8", "from", "10.0.1.10") == "usb1"
    assert (box.folder / "ips").read_text() == "10.0.0.10\n"
    sh("ip", "-n", box.far, "link", "set", "p0", "down")
    wait_for(lambda: "usb1" in box.table(222), 1.0, "the backup takes over")
    wait_for(lambda: (box.folder / "ips").read_text() == "10.0.1.10\n", 1.0, "senders are told")
    sh("ip", "-n", box.far, "link", "set", "p0", "up")
    wait_for(lambda: "usb1" not in box.table(222), 1.0, "and hands back")


SHARED_RULES = """\
0:	from all lookup local
40:	from all oif usb0 lookup 100 proto 78
40:	from all oif usb1 lookup 101 proto 78
40:	from all oif usb2 lookup 102 proto 78
40:	from all oif usb3 lookup 103 proto 78
41:	from 10.0.0.10 to 10.0.0.0/24 lookup 100 proto 78
41:	from 10.0.0.10 to 10.0.0.64/26 lookup 100 proto 78
41:	from 10.0.0.11 to 10.0.0.0/24 lookup 101 proto 78
41:	from 10.0.0.11 to 10.0.0.64/26 lookup 101 proto 78
41:	from 10.0.0.77 to 10.0.0.64/26 lookup 103 proto 78
50:	from all lookup main proto 78
201:	from 10.0.0.10 lookup 100 proto 78
202:	from 10.0.0.11 lookup 101 proto 78
203:	from 10.0.2.0/24 lookup 102 proto 78
204:	from 10.0.0.77 lookup 103 proto 78
222:	from all lookup 222 proto 78
32766:	from all lookup main
32767:	from all lookup default"""

SHARED_TABLES = """\
default via 10.0.0.1 dev usb0 table 100 proto 78 src 10.0.0.10
prohibit default table 100 proto 78 metric 4294967295
10.0.0.0/24 dev usb0 table 100 proto 78 scope link src 10.0.0.10
default via 10.0.0.1 dev usb1 table 101 proto 78 src 10.0.0.11
prohibit default table 101 proto 78 metric 4294967295
10.0.0.0/24 dev usb1 table 101 proto 78 scope link src 10.0.0.11
default via 10.0.2.1 dev usb2 table 102 proto 78 src 10.0.2.10
prohibit default table 102 proto 78 metric 4294967295
10.0.2.0/24 dev usb2 table 102 proto 78 scope link src 10.0.2.10
default via 10.0.0.65 dev usb3 table 103 proto 78 src 10.0.0.77
prohibit default table 103 proto 78 metric 4294967295
10.0.0.64/26 dev usb3 table 103 proto 78 scope link src 10.0.0.77
default nhid 7800222 table 222 proto 78
	nexthop via 10.0.0.1 dev usb0 weight 1
	nexthop via 10.0.0.1 dev usb1 weight 1
	nexthop via 10.0.2.1 dev usb2 weight 1
	nexthop via 10.0.0.65 dev usb3 weight 1
10.0.0.0/24 dev usb0 proto kernel scope link src 10.0.0.10
10.0.0.0/24 dev usb1 proto kernel scope link src 10.0.0.11
10.0.0.64/26 dev usb3 proto kernel scope link src 10.0.0.77
10.0.2.0/24 dev usb2 proto kernel scope link src 10.0.2.10"""


def test_the_classic_layout_with_uplinks_in_one_network(tmp_path: Path) -> None:
    """Two in the very same one, one in a part of it, and one that has its own."""
    with Box(tmp_path) as box:
        box.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        for number, address in enumerate(("10.0.0.10/24", "10.0.0.11/24", "10.0.2.10/24", "10.0.0.77/26")):
            box.plug(f"usb{number}", number, address, default=False)
        box.configure(
            "".join(
                f'[[uplink]]\nmatch = "usb{number}"\ngateway = "{gateway}"\n'
                for number, gateway in enumerate(("10.0.0.1", "10.0.0.1", "10.0.2.1", "10.0.0.65"))
            )
            + '[routing]\nlayout = "classic"'
        )
        box.start()
        assert box.rules() == SHARED_RULES
        assert tables(box) == SHARED_TABLES
        for number, address in enumerate(("10.0.0.10", "10.0.0.11", "10.0.2.10", "10.0.0.77")):
            assert box.way("8.8.8.8", "from", address) == f"usb{number}"
        # Alone again, the first has its network back.
        box.unplug("usb1")
        box.unplug("usb3")
        wait_for(lambda: "201:	from 10.0.0.0/24 lookup 100" in box.rules(), 5.0, "the network's rule")
        wait_for(lambda: box.rules().count("lookup 100") == 2, 5.0, "and the device's")


# --- twins -------------------------------------------------------------------------------------------------

SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
s.bind(("192.168.8.100", 0))
for n in range(20):
    s.sendto(sys.argv[1].encode(), ("198.51.100.7", 9))
"""


def capture(namespace: str) -> socket.socket:
    """A raw socket in a modem's namespace: what really arrives there."""
    with inside(namespace):
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))


def test_twins_with_one_address_and_one_mac_leave_by_their_own_modem(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        modems = [f"{box.name}t{number}" for number in range(2)]
        try:
            for number, modem in enumerate(modems):
                sh("ip", "netns", "add", modem)
                device = f"usb{number}"
                box.ip("link", "add", device, "address", "0c:5b:8f:27:9a:64", "type", "veth",
                       "peer", "name", "lan", "netns", modem)  # fmt: skip
                sh("ip", "-n", modem, "addr", "add", "192.168.8.1/24", "dev", "lan")
                sh("ip", "-n", modem, "link", "set", "lan", "up")
                box.ip("link", "set", device, "up")
                box.ip("addr", "add", "192.168.8.100/24", "dev", device)
            box.configure('[[uplink]]\nmatch = "usb*"\ngateway = "192.168.8.1"')
            box.start()
            sockets = [capture(modem) for modem in modems]
            for number in range(2):
                way = box.ip("route", "get", "198.51.100.7", "from", "192.168.8.100", "oif", f"usb{number}")
                assert f"via 192.168.8.1 dev usb{number}" in way
                box.run(sys.executable, "-c", SEND, f"usb{number}")
            for number, heard in enumerate(sockets):
                found: set[bytes] = set()
                count = 0
                while True:
                    heard.settimeout(0.5 if count >= 20 else 10)  # what should come, and what should not
                    try:
                        packet = heard.recv(2048)
                    except TimeoutError:
                        break
                    if packet[30:34] == socket.inet_aton("198.51.100.7") and packet[23] == 17:
                        length = struct.unpack_from("!H", packet, 38)[0] - 8
                        found.add(packet[42 : 42 + length])
                        count += 1
                heard.close()
                assert found == {f"usb{number}".encode()}
                assert count == 20
        finally:
            for modem in modems:
                sh("ip", "netns", "del", modem, check=False)


def refused(box: Box, family: str, *words: str) -> bool:
    return "dev" not in box.ip(family, "route", "get", *words, check=False)


def named(box: Box) -> list[str]:
    found = box.status()["agent"]["problems"]
    return [problem for problem in found if "a default in main refuses" in problem]


def test_a_default_that_refuses_gets_the_others_back_into_main(box: Box) -> None:
    """A kill switch that is set while netbond has taken the defaults before it."""
    box.configure('[routing]\nlayout = "classic"\ntake_over_default = true')
    box.start()
    wait_for(lambda: "default" not in box.table("main"), 1.0, "the defaults are taken")
    box.ip("route", "add", "blackhole", "default", "metric", "4278198272")
    wait_for(lambda: box.table("main").count("default via") == 2, 1.0, "they are back")
    wait_for(lambda: box.rules().count("suppress_prefixlength 0") == 1, 1.0, "and passed over")
    assert box.way("1.1.1.1", "from", "10.0.1.10") == "usb1"
    assert box.way("1.1.1.1", "from", "10.0.0.10") == "usb0"
    assert not refused(box, "-4", "1.1.1.1")
    wait_for(lambda: len(named(box)) == 1, 1.0, "it is named")
    changes = box.status()["agent"]["changes"]
    box.ip("route", "replace", "192.0.2.7", "dev", "lo")  # a reason for another pass
    assert box.status()["agent"]["changes"] == changes  # nothing goes to and fro
    box.ip("route", "del", "blackhole", "default", "metric", "4278198272")
    wait_for(lambda: "default" not in box.table("main"), 1.0, "taken again")
    box.stop()
    assert box.table("main").count("default via") == 2


def test_a_default_of_ipv6_that_refuses_is_named_and_explained(box: Box) -> None:
    """Behind another default it is harmless; alone it refuses what is not bound to a device."""
    box.run("sysctl", "-qw", "net.ipv6.conf.usb0.disable_ipv6=0")
    box.ip("-6", "addr", "add", "2001:db8::10/64", "dev", "usb0", "nodad")
    box.ip("-6", "route", "add", "default", "via", "2001:db8::1", "dev", "usb0", "metric", "512")
    box.ip("-6", "route", "add", "prohibit", "default", "metric", "2000")
    box.configure('[[uplink]]\nmatch = "usb0"\ngateway = ["10.0.0.1", "2001:db8::1"]')
    box.start()
    asked = "2001:4860:4860::8888"
    assert not refused(box, "-6", asked)
    assert "once no other default is before it" in named(box)[0]
    box.ip("-6", "route", "del", "default", "via", "2001:db8::1", "dev", "usb0", "metric", "512")
    wait_for(lambda: "2000: refuses all traffic" in str(named(box)), 1.0, "it refuses now")
    assert refused(box, "-6", asked)
    assert refused(box, "-6", asked, "from", "2001:db8::10")
    assert not refused(box, "-6", asked, "oif", "usb0")
    for words in ((), ("--from", "2001:db8::10"), ("--dev", "usb0")):
        found = subprocess.run(
            box.command("explain", asked, *words, "--config", str(box.config_file)),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ("prohibit default" in found.stdout) is ("--dev" not in words)
        assert "(this differs)" not in found.stdout
