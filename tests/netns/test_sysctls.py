"""Kernel settings of a real kernel: set, in force, and put back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbond.kernel.sysctls import STORE
from tests.netns.box import Box, sh

pytestmark = pytest.mark.root

# In the box: what the agent does, for the uplinks and LAN interfaces named.
RUN = """
import ipaddress, json, sys
from pathlib import Path
from netbond import model
from netbond.config.load import parse
from netbond.kernel import sysctls
what = json.load(sys.stdin)
edge = sysctls.Sysctls(Path(what["state"]))
def uplink(device):
    address = model.Address(device, ipaddress.ip_interface("10.0.0.10/24"))
    return model.Uplink(device, address.interface, None, "test", table=100, addresses=(address,))
if what["restore"]:
    print(json.dumps(edge.restore()))
else:
    links = [model.Interface(name, 1) for name in what["links"]]
    changes = sysctls.wanted(map(uplink, what["uplinks"]), parse(what["config"]), edge.read,
                             lan=what["lan"], links=links)
    if what["commands"]:
        print(json.dumps([change.command() for change in changes]))
    else:
        print(json.dumps(edge.apply(changes)))
"""

# From a namespace: whether anything comes back from an address. Nobody listens there, which is an answer.
KNOCK = """
import socket, sys
one = socket.socket()
one.settimeout(float(sys.argv[3]))
one.bind((sys.argv[1], 0))
try:
    one.connect((sys.argv[2], 9))
except ConnectionRefusedError:
    print("answered")
except TimeoutError:
    print("nothing")
except OSError as error:
    print(error.strerror)
"""

QUIET = "[sysctl]\nsocket_buffers = 0\n"


class Settings(Box):
    """A Box with usb0, usb1, an interface with a dot in its name, and a way to ask for settings."""

    def prepare(self) -> None:
        for number in (0, 1):
            self.plug(f"usb{number}", number, default=False)
        self.ip("link", "add", "link", "usb1", "name", "usb1.5", "type", "macvlan")  # as a VLAN is called

    def sysctls(
        self,
        *uplinks: str,
        config: str = QUIET,
        lan: tuple[str, ...] = (),
        restore: bool = False,
        commands: bool = False,
        first: tuple[str, ...] = (),
    ) -> list[str]:
        """Set what is wanted (or put it back, or only say it); the problems (or the commands)."""
        what = {
            "state": str(self.folder),
            "uplinks": uplinks,
            "config": config,
            "lan": lan,
            "links": ["usb0", "usb1", "usb1.5"],
            "restore": restore,
            "commands": commands,
        }
        command = ["ip", "netns", "exec", self.name, *first, sys.executable, "-c", RUN]
        done = subprocess.run(command, input=json.dumps(what), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[str] = json.loads(done.stdout)
        return found

    def get(self, name: str) -> str:
        """A setting of the box, by its path."""
        return self.run("cat", f"/proc/sys/net/{name}").strip()

    def put(self, name: str, value: str) -> None:
        """Somebody else sets it."""
        self.run("sh", "-c", f'echo "{value}" >"/proc/sys/net/{name}"')


def knock(namespace: str, source: str, destination: str, seconds: float = 5.0) -> str:
    """What happens within so many seconds to a TCP connection between these addresses."""
    command = (sys.executable, "-c", KNOCK, source, destination, str(seconds))
    return sh("ip", "netns", "exec", namespace, *command).strip()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Settings]:
    with Settings(tmp_path) as found:
        found.prepare()
        yield found


def test_set_and_put_back_with_an_interface_that_went_and_one_that_came_back(box: Settings) -> None:
    devices = ("usb0", "usb1", "usb1.5")
    for device in devices:
        box.put(f"ipv4/conf/{device}/rp_filter", "1")
    config = f'{QUIET}multipath_hash = "flows"\n'
    assert box.sysctls(*devices, config=config) == []
    for device in devices:
        assert box.get(f"ipv4/conf/{device}/rp_filter") == "2"
        assert box.get(f"ipv4/conf/{device}/ignore_routes_with_linkdown") == "1"
        assert box.get(f"ipv6/conf/{device}/ignore_routes_with_linkdown") == "1"
    assert (box.get("ipv4/fib_multipath_hash_policy"), box.get("ipv6/fib_multipath_hash_policy")) == (
        "1",
        "1",
    )
    assert box.sysctls(*devices, config=config, commands=True) == []

    box.unplug("usb0")
    box.plug("usb0", 2, default=False)
    box.put("ipv4/conf/usb0/rp_filter", "1")  # a new interface, which nobody wrote 2 to
    box.put("ipv4/fib_multipath_hash_policy", "2")  # somebody else
    assert box.sysctls(restore=True) == []
    assert box.get("ipv4/conf/usb0/rp_filter") == "1"
    assert box.get("ipv4/conf/usb1.5/rp_filter") == "1"
    assert box.get("ipv4/conf/usb1/ignore_routes_with_linkdown") == "0"
    assert (box.get("ipv4/fib_multipath_hash_policy"), box.get("ipv6/fib_multipath_hash_policy")) == (
        "2",
        "0",
    )
    assert not (box.folder / STORE).exists()


def test_the_commands_do_the_same(box: Settings) -> None:
    """A VLAN's name has a dot, which sysctl(8) would take for a separator."""
    box.put("ipv4/conf/usb1.5/rp_filter", "1")
    commands = box.sysctls("usb1.5", commands=True)
    assert commands == [
        "sysctl -w net/ipv4/conf/usb1.5/rp_filter=2",
        "sysctl -w net/ipv4/conf/usb1.5/ignore_routes_with_linkdown=1",
        "sysctl -w net/ipv6/conf/usb1.5/ignore_routes_with_linkdown=1",
    ]
    for command in commands:
        box.run(*command.split())
    assert box.sysctls("usb1.5", commands=True) == []


def test_a_strict_filter_drops_what_a_loose_one_lets_in(box: Settings) -> None:
    """Of the effective value: `all` is strict here, and the interface has no value of its own."""
    box.put("ipv4/conf/all/rp_filter", "1")
    for device in ("usb0", "usb1"):
        box.put(f"ipv4/conf/{device}/rp_filter", "0")
    box.ip("route", "add", "203.0.113.0/24", "via", "10.0.0.1")
    sh("ip", "-n", box.far, "addr", "add", "203.0.113.1/32", "dev", "lo")
    # It comes in by usb1, and the way back is usb0.
    sh("ip", "-n", box.far, "route", "replace", "10.0.1.10/32", "dev", "p1")
    assert knock(box.far, "203.0.113.1", "10.0.1.10", 0.5) == "nothing"
    assert box.sysctls("usb0", "usb1") == []
    assert knock(box.far, "203.0.113.1", "10.0.1.10") == "answered"
    box.sysctls(restore=True)
    assert knock(box.far, "203.0.113.1", "10.0.1.10", 0.5) == "nothing"


def test_a_route_without_carrier_is_not_used(box: Settings) -> None:
    box.ip("route", "add", "203.0.113.0/24", "via", "10.0.0.1", "metric", "1")
    box.ip("route", "add", "203.0.113.0/24", "via", "10.0.1.1", "metric", "2")
    sh("ip", "-n", box.far, "link", "set", "p0", "down")
    assert box.way("203.0.113.1") == "usb0"
    box.sysctls("usb0", "usb1")
    assert box.way("203.0.113.1") == "usb1"


def test_router_advertisements_are_heard_while_the_box_forwards(box: Settings) -> None:
    config = f'{QUIET}[router]\nlan = ["usb1"]\nipv6 = "masquerade"'
    box.put("ipv6/conf/usb0/accept_ra", "1")
    # A default route that came with an advertisement: the kernel drops it when it begins to forward, unless
    # accept_ra is 2 by then.
    sh("ip", "-n", box.name, "-6", "route", "add", "default", "via", "fe80::1", "dev", "usb0", "proto", "ra",
       "expires", "600")  # fmt: skip
    assert box.sysctls("usb0", config=config, lan=("usb1",)) == []
    assert (box.get("ipv6/conf/all/forwarding"), box.get("ipv6/conf/usb0/accept_ra")) == ("1", "2")
    assert box.get("ipv6/conf/usb1/accept_ra") == "1"  # the LAN: not heard, as the box is the router there
    assert "via fe80::1 dev usb0" in box.ip("-6", "route", "show", "default")
    assert [box.get(f"ipv4/conf/{device}/forwarding") for device in ("usb0", "usb1", "usb1.5")] == [
        "1",
        "1",
        "0",
    ]
    assert box.get("ipv4/ip_forward") == "0"
    assert box.sysctls(restore=True) == []
    assert (box.get("ipv6/conf/all/forwarding"), box.get("ipv6/conf/usb0/accept_ra")) == ("0", "1")
    assert [box.get(f"ipv4/conf/{device}/forwarding") for device in ("usb0", "usb1")] == ["0", "0"]


def test_forwarding_on_two_interfaces_is_enough(box: Settings) -> None:
    """net.ipv4.ip_forward stays 0: it would open all the other interfaces of the box as well."""
    sh("ip", "-n", box.far, "addr", "add", "203.0.113.1/32", "dev", "lo")
    config = f'{QUIET}[router]\nlan = ["usb1"]'
    client = box.name + "c"
    sh("ip", "netns", "add", client)
    try:
        sh("ip", "-n", box.far, "link", "set", "p1", "netns", client)
        sh("ip", "-n", client, "addr", "add", "10.0.1.1/24", "dev", "p1")
        sh("ip", "-n", client, "link", "set", "p1", "up")
        sh("ip", "-n", client, "route", "add", "default", "via", "10.0.1.10")
        sh("ip", "-n", box.far, "route", "add", "10.0.1.0/24", "via", "10.0.0.10")
        box.ip("route", "add", "203.0.113.1", "via", "10.0.0.1")
        assert knock(client, "10.0.1.1", "203.0.113.1", 0.5) == "nothing"
        box.sysctls("usb0", config=config, lan=("usb1",))
        assert knock(client, "10.0.1.1", "203.0.113.1") == "answered"
    finally:
        sh("ip", "netns", "del", client)


def test_socket_buffers_where_they_belong_to_the_host(box: Settings) -> None:
    """In a namespace they are shown for reading only, or (on older kernels) not there: nothing to be done."""
    before = Path("/proc/sys/net/core/rmem_max").read_text()
    config = "[sysctl]\nsocket_buffers = 2147483647"
    assert not any("net.core" in command for command in box.sysctls("usb0", config=config, commands=True))
    assert box.sysctls("usb0", config=config) == []
    assert box.get("ipv4/conf/usb0/ignore_routes_with_linkdown") == "1"
    assert Path("/proc/sys/net/core/rmem_max").read_text() == before


def test_a_proc_that_is_mounted_read_only_is_one_line(box: Settings) -> None:
    """As in most containers."""
    command = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec"
    found = box.sysctls("usb0", "usb1", first=("sh", "-c", f'{command} "$@"', "sh"))
    assert len(found) == 1
    assert found[0].startswith(
        "kernel settings are read-only here (a container?):"
        " net.ipv4.conf.usb0.ignore_routes_with_linkdown stays 0 and 3 more; run on the host: sysctl -w net."
    )
    assert box.get("ipv4/conf/usb0/ignore_routes_with_linkdown") == "0"
    assert not (box.folder / STORE).exists()
