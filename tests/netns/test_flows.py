"""Forwarded flows keep their uplink, of containers and hotspots that no [router] names."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for
from tests.netns.lan import ECHO, FLOWS, PONG, SERVER, SERVER6, Process

pytestmark = pytest.mark.root

FLOWS_BY_PORT = "[sysctl]\nmultipath_hash = 'flows'\n"
HEALTH = "[health]\ninterval = 0.3\ntimeout = 0.2\nhold_down = 0\n"

# What Docker makes, and what NetworkManager makes for a connection with `ipv4.method shared`.
DOCKER = """
table ip docker {
	chain post { type nat hook postrouting priority 100; ip saddr 172.17.0.0/16 oifname != "in0" masquerade; }
	chain pre {
		type nat hook prerouting priority -100;
		fib daddr type local udp dport 8000 dnat to 172.17.0.2:9000
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		oifname "in0" ct state established,related accept
		oifname "in0" ct status dnat accept
		iifname "in0" accept
	}
}
"""
SHARED = """
table ip nm-shared-in0 {
	chain nat_postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip saddr 172.17.0.0/16 ip daddr != 172.17.0.0/16 masquerade
	}
	chain filter_forward {
		type filter hook forward priority 0; policy accept;
		ip daddr 172.17.0.0/16 oifname "in0" ct state { established, related } accept
		ip saddr 172.17.0.0/16 iifname "in0" accept
		iifname "in0" oifname "in0" accept
		iifname "in0" reject
		oifname "in0" reject
	}
}
"""
NAT66 = """
table ip6 docker6 {
	chain post { type nat hook postrouting priority 100; ip6 saddr fd17::/64 oifname != "in0" masquerade; }
}
"""


class Host(Box):
    """A Box with modems, a server behind them, and a container or a hotspot's client behind in0."""

    def prepare(self, *, bridge: bool = True, rules: str = DOCKER, modems: int = 2) -> None:
        self.processes: list[Process] = []
        self.client = f"{self.name}c"
        sh("ip", "netns", "add", self.client)
        for space in (self.name, self.far, self.client):
            sh("ip", "netns", "exec", space, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        for host in (SERVER, SERVER6):
            sh("ip", "-n", self.far, "addr", "add", host, "dev", "lo", *(["nodad"] if ":" in host else []))
        for number in range(modems):
            self.modem(number)
        port = "veth0" if bridge else "in0"
        if bridge:
            self.ip("link", "add", "in0", "type", "bridge")
        self.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.client)
        if bridge:
            self.ip("link", "set", port, "master", "in0", "up")
        self.ip("addr", "add", "172.17.0.1/16", "dev", "in0")
        self.ip("addr", "add", "fd17::1/64", "dev", "in0", "nodad")
        self.ip("link", "set", "in0", "up")
        client = ("ip", "-n", self.client)
        sh(*client, "link", "set", "eth0", "up")
        for address, gateway in (("172.17.0.2/16", "172.17.0.1"), ("fd17::2/64", "fd17::1")):
            sh(*client, "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            sh(*client, "route", "add", "default", "via", gateway)
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.fib_multipath_hash_policy=1")
        self.run("sysctl", "-qw", "net.ipv6.fib_multipath_hash_policy=1")
        self.load(rules)
        # Agents start slowly on a busy machine, and connections must not end meanwhile.
        self.run("sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=600")
        self.processes.append(Process(self.far, ECHO))
        self.flows = Process(self.client, FLOWS)
        self.processes.append(self.flows)
        self.configure(FLOWS_BY_PORT)

    def __exit__(self, *about: object) -> None:
        for process in self.processes:
            process.stop()
        sh("ip", "netns", "del", self.client, check=False)
        super().__exit__(*about)  # type: ignore[arg-type]  # handed on as they came

    def modem(self, number: int) -> None:
        """Plug in a modem with addresses of both families."""
        device, six = f"usb{number}", f"2001:db8:{number}"
        self.plug(device, number)
        sh("ip", "-n", self.far, "addr", "add", f"{six}::1/64", "dev", f"p{number}", "nodad")
        self.ip("addr", "add", f"{six}::10/64", "dev", device, "nodad")
        metric = str(1000 + number)
        self.ip("route", "add", "default", "via", f"{six}::1", "dev", device, "metric", metric)

    def load(self, text: str) -> None:
        """Load rules of nftables, as another program."""
        file = self.folder / "rules.nft"
        file.write_text(text)
        self.run("nft", "-f", str(file))

    def open(self, numbers: range, host: str = SERVER, kind: str = "udp") -> dict[int, str]:
        """New flows of the client, and by flow the address that the server sees."""
        for number in numbers:
            assert self.flows.ask(f"{kind} {number} {host}") == "open"
        return self.seen(numbers)

    def seen(self, numbers: Collection[int], verb: str = "ask") -> dict[int, str]:
        return {number: self.flows.ask(f"{verb} {number}") for number in numbers}

    def legs(self, *numbers: int) -> None:
        """Wait until these modems share the default."""
        wanted = {f"usb{number}" for number in numbers}
        wait_for(lambda: set(re.findall(r"dev (\w+)", self.table(222))) == wanted, 5, f"{wanted} share")

    def ours(self) -> bool:
        return "inet netbond" in self.run("nft", "list", "tables")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path) as box:
        yield box


@pytest.mark.parametrize(("bridge", "rules"), [(True, DOCKER), (False, SHARED)], ids=["container", "hotspot"])
def test_flows_stay_when_a_leg_comes_and_when_another_one_goes(host: Host, bridge: bool, rules: str) -> None:
    host.prepare(bridge=bridge, rules=rules)
    theirs = host.run("nft", "list", "ruleset")
    host.start()
    assert host.ours()
    first = host.open(range(16)) | host.open(range(16, 22), kind="tcp")
    assert set(first.values()) == {"10.0.0.10", "10.0.1.10"}

    host.modem(2)
    host.legs(0, 1, 2)
    assert host.seen(first) == first
    assert "10.0.2.10" in host.open(range(22, 40)).values()

    host.unplug("usb1")
    host.legs(0, 2)
    kept = {number: address for number, address in first.items() if address == "10.0.0.10"}
    assert host.seen(kept) == kept
    torn = [number for number in range(16) if number not in kept]
    wait_for(lambda: "10.0.1.10" not in host.seen(torn[:2], "try").values(), 5, "UDP goes on elsewhere")

    assert host.status()["flows"] == [{"family": 4, "held_by": "connection marks"}]
    wait_for(lambda: host.still_wrong() == [], 5, "nothing to say")
    assert host.stop() == 0
    assert host.run("nft", "list", "ruleset") == theirs
    assert "fwmark" not in host.rules()


def test_a_dead_uplinks_flows_begin_anew_and_others_stay(host: Host) -> None:
    host.prepare(modems=3)
    host.configure(FLOWS_BY_PORT + HEALTH)
    host.start()
    first = host.open(range(16))
    sh("ip", "-n", host.far, "link", "set", "p0", "arp", "off")
    host.ip("neigh", "flush", "dev", "usb0")
    wait_for(lambda: "usb0" not in host.table(222), 15, "usb0 is dead")
    kept = {number: address for number, address in first.items() if address != "10.0.0.10"}
    assert 0 < len(kept) < 16
    assert host.seen(kept) == kept
    lost = [number for number in first if number not in kept]
    wait_for(
        lambda: all(each.startswith("10.0") for each in host.seen(lost, "try").values()),
        10,
        "they are released",
    )
    # It comes back and gets new flows only.
    now = host.seen(first)
    assert "10.0.0.10" not in now.values()
    sh("ip", "-n", host.far, "link", "set", "p0", "arp", "on")
    wait_for(lambda: "usb0" in host.table(222), 15, "usb0 is back")
    assert host.seen(now) == now


def test_flows_that_are_older_than_the_table_stay(host: Host) -> None:
    """With one modem there is nothing to hold, and so no table; its flows stay when a second one comes."""
    host.prepare(modems=1)
    host.start()
    assert not host.ours()
    assert "fwmark" not in host.rules()
    assert host.status()["flows"] == []
    first = host.open(range(16))
    assert set(first.values()) == {"10.0.0.10"}
    host.modem(1)
    host.legs(0, 1)
    assert host.seen(first) == first
    assert "10.0.1.10" in host.open(range(16, 30)).values()


def test_flows_stay_when_netbond_starts(host: Host) -> None:
    """Before, all of them went by main's default."""
    host.prepare()
    first = host.open(range(16))
    assert set(first.values()) == {"10.0.0.10"}
    host.start()
    host.legs(0, 1)
    assert host.seen(first) == first


def test_answers_of_a_published_port_leave_by_the_uplink_that_was_asked(host: Host) -> None:
    host.prepare()
    host.processes.append(Process(host.client, PONG))
    host.start()
    # The server's own address, so that the answer takes a default.
    script = f"""
import socket, sys
for number in range(16):
    one = socket.socket(type=socket.SOCK_DGRAM)
    one.bind(({SERVER!r}, 0))
    one.settimeout(20)
    one.sendto(b"x", (f"10.0.{{number % 2}}.10", 8000))
    print(one.recvfrom(99)[1][0])
"""

    answers = sh("ip", "netns", "exec", host.far, sys.executable, "-c", script).split()
    assert answers == ["10.0.0.10", "10.0.1.10"] * 8


def test_ipv6_is_held_where_it_is_forwarded(host: Host) -> None:
    host.prepare(rules=DOCKER + NAT66)
    for device in ("usb0", "usb1"):
        host.run("sysctl", "-qw", f"net.ipv6.conf.{device}.accept_ra=2")
    host.start()
    assert host.status()["flows"] == [{"family": 4, "held_by": "connection marks"}]
    host.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    wait_for(lambda: len(host.status()["flows"]) == 2, 5, "it is heard of")
    first = host.open(range(16), SERVER6)
    assert set(first.values()) == {"2001:db8::10", "2001:db8:1::10"}
    host.modem(2)
    wait_for(lambda: "usb2" in host.ip("-6", "route", "show", "table", "222"), 5, "usb2 shares")
    assert host.seen(first) == first
    host.unplug("usb1")
    wait_for(lambda: "usb1" not in host.ip("-6", "route", "show", "table", "222"), 5, "usb1 is gone")
    kept = {number: address for number, address in first.items() if address == "2001:db8::10"}
    assert host.seen(kept) == kept


def test_packets_with_another_programs_mark_follow_its_rule(host: Host) -> None:
    """`fwmark 1` asks for all 32 bits, so a mark of netbond's would keep the rule from matching."""
    host.prepare()
    host.load(
        "table inet theirs {\nchain pre {\ntype filter hook prerouting priority -160\n"
        'iifname "in0" udp dport 7 meta mark set 1\n}\n}\n'
    )
    host.ip("route", "add", "default", "via", "10.0.1.1", "dev", "usb1", "table", "77")
    host.ip("rule", "add", "pref", "300", "fwmark", "1", "lookup", "77")
    host.start()
    first = host.open(range(12))
    assert set(first.values()) == {"10.0.1.10"}
    assert host.seen(first) == first
    host.ip("route", "replace", "default", "via", "10.0.0.1", "dev", "usb0", "table", "77")
    wait_for(lambda: set(host.seen(first, "try").values()) == {"10.0.0.10"}, 5, "they follow")


def test_flows_go_into_a_full_tunnel_that_comes_up(host: Host) -> None:
    """They would go on beside it, in clear; the rule is that of a wg-quick which was started first."""
    host.prepare()
    host.start()
    first = host.open(range(8))
    host.plug("wg0", 9, default=False)
    host.ip("route", "add", "default", "via", "10.0.9.1", "dev", "wg0", "table", "51820")
    rule = ("pref", "32764", "not", "fwmark", "0xca6c", "lookup", "51820")
    host.ip("rule", "add", *rule)
    tunnel = dict.fromkeys(first, "10.0.9.10")
    wait_for(lambda: host.seen(first, "try") == tunnel, 5, "they are in the tunnel")
    host.ip("rule", "del", *rule)
    wait_for(lambda: host.status()["agent"]["problems"] == [], 5, "the rule is gone")
    assert set(host.open(range(8, 16)).values()) <= {"10.0.0.10", "10.0.1.10"}


def test_nothing_is_made_where_nothing_is_forwarded(host: Host) -> None:
    host.prepare()
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    host.start()
    assert not host.ours()
    assert "fwmark" not in host.rules()
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")  # Docker is started
    wait_for(host.ours, 5, "the table")
    host.run("nft", "flush", "ruleset")
    wait_for(host.ours, 5, "the table again")
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    wait_for(lambda: not host.ours(), 5, "the table goes")
    wait_for(lambda: "fwmark" not in host.rules(), 5, "its rules go")


def test_without_nft_resilient_groups_hold(host: Host) -> None:
    """In a mount namespace where every place for programs is empty."""
    host.prepare()
    if "resilient" not in sh("sh", "-c", "ip nexthop help 2>&1 || true"):
        pytest.skip("this iproute2 does not know resilient groups")
    empty = host.folder / "empty"
    empty.mkdir()
    hide = f'for d in /usr/local/sbin /usr/sbin /sbin; do mount --bind {empty} $d; done; exec "$@"'
    assert not os.path.realpath(sys.executable).startswith("/usr/sbin")
    inside = host.command

    def hidden(*words: str) -> list[str]:
        command = inside(*words)
        return [*command[:4], "unshare", "-m", "sh", "-c", hide, "sh", *command[4:]]

    host.command = hidden  # type: ignore[method-assign]  # the same, elsewhere
    host.start()
    assert host.status()["flows"] == [{"family": 4, "held_by": "resilient nexthop group"}]
    assert host.status()["agent"]["problems"] == []
    assert "fwmark" not in host.rules()
    first = host.open(range(16))
    assert set(first.values()) == {"10.0.0.10", "10.0.1.10"}
    host.modem(2)
    host.legs(0, 1, 2)
    assert host.seen(first) == first
    host.unplug("usb1")
    host.legs(0, 2)
    kept = {number: address for number, address in first.items() if address == "10.0.0.10"}
    assert host.seen(kept) == kept
    assert host.stop() == 0
    assert host.ip("nexthop", "show") == ""
