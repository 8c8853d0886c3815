"""IPv6 as a full citizen: the same layout, with what the kernel does differently."""

from __future__ import annotations

import collections
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netbond.lab.cable import open_tun
from netbond.lab.netns import call_in
from tests.netns.box import Box, sh, wait_for
from tests.netns.spaces import inside

pytestmark = pytest.mark.root

RULES = """\
0:	from all lookup local
40:	from all oif usb0 lookup 100 proto 78
40:	from all oif usb1 lookup 101 proto 78
50:	from all lookup main suppress_prefixlength 0 proto 78
100:	from 2001:db8::10 lookup 100 proto 78
101:	from 2001:db8:0:1::10 lookup 101 proto 78
222:	from all lookup 222 proto 78
32766:	from all lookup main"""

CLASSIC_RULES = """\
0:	from all lookup local
40:	from all oif usb0 lookup 100 proto 78
40:	from all oif usb1 lookup 101 proto 78
50:	from all lookup main proto 78
201:	from 2001:db8::/64 lookup 100 proto 78
202:	from 2001:db8:0:1::/64 lookup 101 proto 78
222:	from all lookup 222 proto 78
32766:	from all lookup main"""

TABLES = """\
2001:db8::/64 dev usb0 table 100 proto 78 src 2001:db8::10 metric 1024 pref medium
default via 2001:db8::1 dev usb0 table 100 proto 78 src 2001:db8::10 metric 1024 pref medium
REFUSE default dev lo table 100 proto 78 metric 4294967295 pref medium
2001:db8:0:1::/64 dev usb1 table 101 proto 78 src 2001:db8:0:1::10 metric 1024 pref medium
default via 2001:db8:0:1::1 dev usb1 table 101 proto 78 src 2001:db8:0:1::10 metric 1024 pref medium
REFUSE default dev lo table 101 proto 78 metric 4294967295 pref medium
default table 222 proto 78 metric 1024 pref medium
	nexthop via 2001:db8::1 dev usb0 weight 1
	nexthop via 2001:db8:0:1::1 dev usb1 weight 1
2001:db8::/64 dev usb0 proto kernel metric 256 pref medium
2001:db8:0:1::/64 dev usb1 proto kernel metric 256 pref medium"""

MAIN_DEFAULTS = """
default via 2001:db8::1 dev usb0 metric 1000 pref medium
default via 2001:db8:0:1::1 dev usb1 metric 1001 pref medium"""


def plug6(box: Box, device: str, number: int) -> None:
    """Give a modem a global address and a default, as a router's advertisement leaves them."""
    prefix = f"2001:db8:0:{number}::"
    sh("ip", "-n", box.far, "addr", "add", f"{prefix}1/64", "dev", f"p{number}", "nodad")
    box.ip("addr", "add", f"{prefix}10/64", "dev", device, "nodad")
    metric = str(1000 + number)
    box.ip("-6", "route", "add", "default", "via", f"{prefix}1", "dev", device, "metric", metric)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box with two modems that have both families."""
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
            plug6(box, f"usb{number}", number)
        yield box


def tables(box: Box) -> str:
    """`ip -6 route show table all` without what the kernel makes by itself."""
    lines = box.ip("-6", "route", "show", "table", "all").splitlines()
    own = (" table local ", "fe80::/64", "ff00::/8", "multicast")
    return "\n".join(line for line in lines if not any(word in line for word in own))


def test_the_default_layout_as_text(box: Box) -> None:
    box.start()
    assert box.ip("-6", "rule") == RULES
    assert tables(box) == TABLES.replace("REFUSE", "unreachable") + MAIN_DEFAULTS
    assert (box.folder / "ips").read_text() == "10.0.0.10\n10.0.1.10\n"


def test_the_classic_layout_as_text(box: Box) -> None:
    box.configure('[routing]\nlayout = "classic"\ntake_over_default = true')
    before = tables(box)
    box.start()
    assert box.ip("-6", "rule") == CLASSIC_RULES
    assert tables(box) == TABLES.replace("REFUSE", "prohibit")
    assert box.stop() == 0
    assert tables(box) == before


def test_bound_traffic_leaves_by_its_own_modem_and_nowhere_else(box: Box) -> None:
    box.start()
    for number in range(2):
        for words in (["from", f"2001:db8:0:{number}::10"], ["oif", f"usb{number}"]):
            assert box.way("2001:4860:4860::8888", *words) == f"usb{number}"


def test_link_down_takes_the_addresses_along(box: Box) -> None:
    box.start()
    box.ip("link", "set", "usb1", "down")
    wait_for(lambda: "usb1" not in box.ip("-6", "rule"), 1.0, "the rules are gone")
    assert "usb1" not in box.ip("-6", "route", "show", "table", "222")
    # IPv4 keeps its address, and so its rule and the route that refuses.
    assert "101:	from 10.0.1.10" in box.rules()
    wait_for(lambda: "2001:db8:0:1::10" not in str(box.status()["uplinks"]), 1.0, "nor is it an uplink")


def test_switched_off(box: Box) -> None:
    box.configure("[routing]\nipv6 = false")
    box.start()
    assert "proto 78" not in box.ip("-6", "rule")
    assert box.ip("-6", "route", "show", "table", "all", "proto", "78") == ""


def test_a_kernel_without_ipv6_addresses_is_no_trouble(tmp_path: Path) -> None:
    with Box(tmp_path) as box:
        box.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        box.plug("usb0", 0)
        box.start()
        assert box.way("8.8.8.8", "from", "10.0.0.10") == "usb0"
        assert box.status()["agent"]["problems"] == []


def test_listed_if_asked_for(box: Box) -> None:
    box.configure(agent="ip_list_ipv6 = true")
    box.start()
    assert (box.folder / "ips").read_text() == "10.0.0.10\n10.0.1.10\n2001:db8::10\n2001:db8:0:1::10\n"


def test_removed_on_stop(box: Box) -> None:
    def held() -> tuple[str, list[str], str]:
        routes = box.ip("-6", "route", "show", "table", "all").splitlines()
        # The interfaces' own link-local addresses appear when they are proven to be unique.
        return box.ip("-6", "rule"), [r for r in routes if "fe80:" not in r], box.ip("nexthop")

    before = held()
    box.start()
    assert held() != before
    assert box.stop() == 0
    assert held() == before


def test_what_a_router_advertises(tmp_path: Path) -> None:
    """A real router's advertisement: a link-local gateway, an address of one's own making, with privacy."""
    with Box(tmp_path) as box:
        box.run("sysctl", "-qw", "net.ipv6.conf.default.use_tempaddr=2")
        # Its neighbour advertisements carry the router flag only where it forwards, and the kernel drops the
        # advertised default route at the first one without (RFC 4861, 7.2.5; rt6_clean_tohost()).
        sh("ip", "netns", "exec", box.far, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        box.plug("usb0", 0)
        sh("ip", "-n", box.far, "addr", "add", "2001:db8:7::1/64", "dev", "p0", "nodad")
        box.start()
        # In the foreground: it is ours to end.
        command = ["ip", "netns", "exec", box.far, "dnsmasq", "--keep-in-foreground", "--port=0"]
        command += ["--conf-file=/dev/null", "--interface=p0", "--enable-ra", "--ra-param=p0,low,4,60"]
        command += ["--dhcp-range=2001:db8:7::,ra-only,64,120", f"--pid-file={tmp_path}/dnsmasq.pid"]
        command += [f"--dhcp-leasefile={tmp_path}/leases"]
        command += ["--log-facility=-", "--log-dhcp"]

        def proven() -> bool:
            """Its own address is not tentative any more: a router cannot advertise before."""
            return "tentative" not in sh("ip", "-n", box.far, "-6", "addr", "show", "dev", "p0")

        wait_for(proven, 10, "the router's own address")
        with (tmp_path / "dnsmasq.log").open("w") as log:
            router = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(lambda: box.ip("-6", "rule").count("from 2001:db8:7:") == 2, 20, "rules for both")
        finally:
            print(f"router: {router.poll()}", (tmp_path / "dnsmasq.log").read_text())
            print(box.ip("-6", "addr"), box.ip("-6", "route"))
            router.terminate()
            router.wait(40)

        def uplinks6() -> list[dict[str, Any]]:
            return [u for u in box.status()["uplinks"] if u["family"] == 6]

        def shown(words: str) -> str:
            return box.ip("-6", "addr", "show", "dev", "usb0", "scope", "global", words)

        # The temporary one may come a moment earlier.
        wait_for(lambda: [u["address"] in shown("-temporary") for u in uplinks6()] == [True], 5, "the uplink")
        (uplink,) = uplinks6()
        assert uplink["gateway"].startswith("fe80::")
        assert uplink["gateway_source"] == "main default"
        assert uplink["address"] not in shown("temporary")
        assert box.way("2001:4860:4860::8888", "from", uplink["address"]) == "usb0"
        assert f"via {uplink['gateway']} dev usb0" in box.ip("-6", "route", "show", "table", "100")


# --- twins -------------------------------------------------------------------------------------------------

FAR = "2001:4860:4860::8888"
SEND = f"""
import socket, sys
for source in ("2001:db8::100", "::"):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
    s.bind((source, 0))
    for n in range(10):
        s.sendto(sys.argv[1].encode(), ("{FAR}", 9))
"""


def heard(packets: socket.socket, least: int) -> dict[tuple[bytes, str], int]:
    """What came for the far end: payload and source address of UDP packets, counted.

    It waits for the `least` number of them, and for more that should not come.
    """
    found: collections.Counter[tuple[bytes, str]] = collections.Counter()
    while True:
        packets.settimeout(0.5 if found.total() >= least else 10)
        try:
            packet = packets.recv(2048)
        except TimeoutError:
            return dict(found)
        if packet[20] == socket.IPPROTO_UDP and packet[38:54] == socket.inet_pton(socket.AF_INET6, FAR):
            found[packet[62:], socket.inet_ntop(socket.AF_INET6, packet[22:38])] += 1


@pytest.mark.parametrize("advertised", [False, True])
def test_twins_with_one_address_one_mac_and_one_gateway(advertised: bool, tmp_path: Path) -> None:
    """Advertised: two defaults with one gateway, which the kernel makes one multipath route of."""
    with Box(tmp_path) as box:
        modems = [f"{box.name}t{number}" for number in range(2)]
        try:
            for number, modem in enumerate(modems):
                device = f"usb{number}"
                sh("ip", "netns", "add", modem)
                box.ip("link", "add", device, "address", "0c:5b:8f:27:9a:64", "type", "veth",
                       "peer", "name", "lan", "netns", modem)  # fmt: skip
                sh("ip", "-n", modem, "link", "set", "lan", "up")
                sh("ip", "-n", modem, "addr", "add", "fe80::1/64", "dev", "lan", "nodad")
                box.ip("link", "set", device, "up")
                box.ip("addr", "add", "2001:db8::100/64", "dev", device, "nodad")
                if advertised:
                    box.ip("-6", "route", "append", "default", "via", "fe80::1", "dev", device,
                           "proto", "ra", "metric", "1024")  # fmt: skip
            box.configure("" if advertised else '[[uplink]]\nmatch = "usb*"\ngateway = "fe80::1"')
            box.start()
            sockets = []
            for modem in modems:
                with inside(modem):
                    sockets.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)))
            for number in range(2):
                for words in (["oif", f"usb{number}"], ["from", "2001:db8::100", "oif", f"usb{number}"]):
                    way = box.ip("-6", "route", "get", FAR, *words)
                    assert f"via fe80::1 dev usb{number} table 10{number} " in way
                box.run(sys.executable, "-c", SEND, f"usb{number}")
            for number, packets in enumerate(sockets):
                assert heard(packets, 20) == {(f"usb{number}".encode(), "2001:db8::100"): 20}
                packets.close()
            # One goes: what is bound to the address alone, and to the other device, has the other.
            box.ip("link", "set", "usb0", "down")
            wait_for(lambda: "lookup 100" not in box.ip("-6", "rule"), 5.0, "the first one's rules are gone")
            for asked in ((FAR, "from", "2001:db8::100"), (FAR, "oif", "usb1"), (FAR,)):
                wait_for(lambda asked=asked: box.way(*asked) == "usb1", 2.0, f"{asked}: by usb1")  # type: ignore[misc]
        finally:
            for modem in modems:
                sh("ip", "netns", "del", modem, check=False)


SENDERS = """
import socket
from collections import Counter
taken = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
taken.setblocking(False)
UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
for kind, act in ((UDP, "sendto"), (UDP, "connect"), (TCP, "connect")):
    found = Counter()
    for number in range(1, 60):
        to = (f"2001:db8:ffff::{number:x}", 9)
        sender = socket.socket(socket.AF_INET6, kind)
        sender.setblocking(False)
        if act == "connect":
            sender.connect_ex(to)
        if kind == UDP:
            sender.sendto(b"x", to)
        try:
            while True:
                data, (device, _, direction, *_) = taken.recvfrom(2000)
                if direction == 4 and data[24:30] == bytes.fromhex("20010db8ffff"):  # PACKET_OUTGOING
                    found[f"{device} {socket.inet_ntop(socket.AF_INET6, data[8:24])}"] += 1
        except BlockingIOError:
            pass
    print(kind, act, *sorted(found), sep=",")
"""


def test_what_is_shared_has_the_address_of_the_uplink_that_it_leaves_by(box: Box) -> None:
    """Also where the kernel knows nexthop groups: with one it would take the first member's."""
    for number in range(2):
        neighbour = ("lladdr", "02:00:00:00:00:01", "dev", f"usb{number}", "nud", "permanent")
        box.ip("-6", "neigh", "replace", f"2001:db8:0:{number}::1", *neighbour)
    box.start()
    assert sent_unbound(box) == ["usb0 2001:db8::10", "usb1 2001:db8:0:1::10"]


def sent_unbound(box: Box) -> list[str]:
    """The devices by which unbound traffic leaves, each with its source address: the same for all kinds."""
    kinds = {line.split(",", 2)[2] for line in box.run(sys.executable, "-c", SENDERS).splitlines()}
    assert len(kinds) == 1
    return kinds.pop().split(",")


@pytest.mark.parametrize("kind", ["point-to-point", "raw IP"])
def test_legs_without_a_gateway_are_shared_like_others(kind: str, tmp_path: Path) -> None:
    """PPP and TUN, or modems such as cdc_mbim (NOARP): the kernel takes no such leg beside others."""
    with contextlib.ExitStack() as stack:
        box = stack.enter_context(Box(tmp_path))
        for number in range(2):
            device = f"ppp{number}"
            if kind == "raw IP":
                box.ip("link", "add", device, "type", "veth", "peer", "name", f"w{number}", "netns", box.far)
                sh("ip", "-n", box.far, "link", "set", f"w{number}", "up")
                box.ip("link", "set", device, "arp", "off", "up")
            else:
                box.ip("tuntap", "add", device, "mode", "tun")
                end = call_in(box.name, partial(open_tun, device))  # it has carrier while somebody holds it
                stack.enter_context(os.fdopen(end, "rb"))
                box.ip("link", "set", device, "up")
            box.ip("addr", "add", f"2001:db8:9:{number}::10/64", "dev", device, "nodad")
            box.ip("-6", "route", "add", "default", "dev", device, "metric", str(2000 + number))
        box.plug("usb0", 0)
        plug6(box, "usb0", 0)
        sh("ip", "-n", box.far, "link", "set", "p0", "address", "02:00:00:00:00:01")
        box.ip("-6", "neigh", "replace", "2001:db8::1", "lladdr", "02:00:00:00:00:01", "dev", "usb0", "nud",
               "permanent")  # fmt: skip
        box.configure("[health]\nchecks = []\n")
        box.start()
        both = ["ppp0 2001:db8:9::10", "ppp1 2001:db8:9:1::10"]
        assert sent_unbound(box) == [*both, "usb0 2001:db8::10"]
        assert box.status()["agent"]["problems"] == []
        used = {(u["device"], u["family"]) for u in box.status()["uplinks"] if u["in_ecmp"]}
        assert used == {("ppp0", 6), ("ppp1", 6), ("usb0", 4), ("usb0", 6)}
        box.unplug("usb0")
        wait_for(lambda: "usb0" not in box.ip("-6", "route", "show", "table", "222"), 5.0, "it is gone")
        assert sent_unbound(box) == both
        box.ip("link", "set", "ppp0", "down")
        wait_for(lambda: "ppp0" not in box.ip("-6", "route", "show", "table", "222"), 5.0, "one is left")
        assert sent_unbound(box) == both[1:]
        assert "refuse" not in box.log.read_text()


def has_route(box: Box, table: int, route: str) -> bool:
    return route in box.ip("-6", "route", "show", "table", str(table), check=False)


def test_gateways_of_one_link_local_address_with_their_zones(tmp_path: Path) -> None:
    """Two modems whose routers have the same address; netbond must know its own routes again."""
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number, default=False)
            box.ip("addr", "add", f"2001:db8:{number}::10/64", "dev", f"usb{number}", "nodad")
        box.configure(
            "".join(f'[[uplink]]\nmatch = "usb{n}"\ngateway = "fe80::1%usb{n}"\n' for n in range(2))
        )
        box.start()
        for number in range(2):
            route = f"default via fe80::1 dev usb{number}"
            wait_for(partial(has_route, box, 100 + number, route), 10, route)
        changes = box.status()["agent"]["changes"]
        for number in range(2):  # an event is a reason to look
            box.ip("addr", "add", f"2001:db8:ff::{number + 1}/128", "dev", "lo")
            box.ip("link", "add", f"x{number}", "type", "veth", "peer", "name", f"y{number}")
        wait_for(lambda: box.status()["agent"]["uptime_s"] > 4, 10, "some passes")
        status = box.status()
        assert (status["agent"]["changes"], status["agent"]["problems"]) == (changes, [])
