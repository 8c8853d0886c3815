"""Policies with real packets, counted on each uplink: own traffic and a LAN's, of both families."""

from __future__ import annotations

import inspect
import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netbond.cli.plan import beyond_routes
from netbond.config.load import load
from netbond.desired import desired
from netbond.kernel.client import _takes_dscp
from netbond.plan import plan
from netbond.sources.once import ask_agent
from tests.netns.box import Box, sh, wait_for
from tests.netns.spaces import inside

pytestmark = pytest.mark.root

FAR, FAR6 = "203.0.113.1", "2001:db8:f::1"
OTHER, OTHER6 = "198.51.100.1", "2001:db8:e::1"
EACH = 6  # packets of a burst


def burst(host: str, port: int, count: int, mark: int = 0, dscp: int = 0, bind: str = "") -> list[str]:
    """Send packets from new sockets; return the source address of each, or the error."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    said = []
    for _ in range(count):
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            if mark:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            if dscp and family == socket.AF_INET:
                one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
            elif dscp:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
            if bind:
                one.bind((bind, 0))
            try:
                one.connect((host, port))
                one.send(b"x" * 1000)
                said.append(one.getsockname()[0])
            except OSError as error:
                said.append(error.strerror)
    return said


# The same as another user.
BURST = (
    f"import socket, sys\n{inspect.getsource(burst)}\n"
    "print(*burst(sys.argv[1], *map(int, sys.argv[2:6]), *sys.argv[6:]), sep='\\n')"
)


class Policies(Box):
    """A box with uplinks usb0 to usb2 of both families, a LAN client, and a far side that counts packets."""

    def prepare(self) -> None:
        self.client = f"{self.name}c"
        sh("ip", "netns", "add", self.client)
        for space in (self.name, self.far, self.client):
            sh("ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        far = ("ip", "-n", self.far)
        for address in (FAR, OTHER):
            sh(*far, "addr", "add", f"{address}/32", "dev", "lo")
        for address in (FAR6, OTHER6):
            sh(*far, "addr", "add", f"{address}/128", "dev", "lo", "nodad")
        for number in range(3):
            self.plug(f"usb{number}", number)
            sh(*far, "addr", "add", f"2001:db8:{number}::1/64", "dev", f"p{number}", "nodad")
            self.ip("addr", "add", f"2001:db8:{number}::10/64", "dev", f"usb{number}", "nodad")
            self.default6(number)
        self.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", self.client)
        self.ip("addr", "add", "192.168.50.1/24", "dev", "eth1")
        self.ip("addr", "add", "fd50::1/64", "dev", "eth1", "nodad")
        self.ip("link", "set", "eth1", "up")
        client = ("ip", "-n", self.client)
        sh(*client, "link", "set", "eth0", "up")
        sh(*client, "addr", "add", "192.168.50.2/24", "dev", "eth0")
        sh(*client, "addr", "add", "192.168.50.3/24", "dev", "eth0")
        sh(*client, "addr", "add", "fd50::2/64", "dev", "eth0", "nodad")
        sh(*client, "addr", "add", "fd50::3/64", "dev", "eth0", "nodad")
        sh(*client, "route", "add", "default", "via", "192.168.50.1")
        sh(*client, "route", "add", "default", "via", "fd50::1")
        for setting in ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1"):
            self.run("sysctl", "-qw", f"net.{setting}")
        # Count what arrives, by uplink and family; nothing is answered.
        rules = "".join(
            f'iifname "p{number}" meta nfproto ipv{version} meta l4proto udp counter drop\n'
            for number in range(3)
            for version in (4, 6)
        )
        hook = "type filter hook prerouting priority -300; policy accept;"
        text = f"table inet counts {{\nchain seen {{\n{hook}\n{rules}}}\n}}\n"
        command = ["ip", "netns", "exec", self.far, "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True)

    def default6(self, number: int) -> None:
        self.ip(
            *("-6", "route", "add", "default", "via", f"2001:db8:{number}::1", "dev", f"usb{number}"),
            *("metric", str(1000 + number)),
        )

    def __exit__(self, *what: object) -> None:
        sh("ip", "netns", "del", self.client, check=False)
        super().__exit__(*what)  # type: ignore[arg-type]

    def policy(self, *policies: str, more: str = "") -> None:
        """Start the agent with these policies."""
        text = "".join(f"\n[[policy]]\nname = 'p{n}'\n{policy}\n" for n, policy in enumerate(policies, 1))
        self.configure(f'[health]\nchecks = []\n[[uplink]]\nmatch = "eth1"\nenabled = false\n{more}{text}')
        self.start()
        wait_for(self.settled, 5, "nothing to do")

    def settled(self) -> bool:
        """Whether the kernel holds what the agent wants, as `netbond plan` finds out."""
        config = load(self.config_file)
        facts = ask_agent(config)
        goal = desired(facts, config)
        if plan(facts, goal, config.routing.protocol):
            return False
        with inside(self.name):
            return not beyond_routes(facts, goal, config)[1]

    def counts(self) -> dict[tuple[int, int], int]:
        """Packets so far, by uplink and family."""
        listed = sh("ip", "netns", "exec", self.far, "nft", "list", "chain", "inet", "counts", "seen")
        found = {}
        for line in listed.splitlines():
            if "counter packets" in line:
                number = int(line.split('iifname "p')[1][0])
                version = int(line.split("nfproto ipv")[1][0])
                found[number, version] = int(line.split("counter packets ")[1].split()[0])
        return found

    def send(
        self,
        host: str,
        *,
        port: int = 9,
        lan: bool = False,
        source: int = 2,
        user: str = "",
        mark: int = 0,
        dscp: int = 0,
        bind: str = "",
        count: int = EACH,
    ) -> str:
        """Send packets; return where they came out: "usb1", or "usb0 usb1" if by several; else the error.

        Own packets must have an address of the uplink that they leave by. The LAN client has two addresses.
        """
        before = self.counts()
        version = 6 if ":" in host else 4
        if lan:
            bind = f"192.168.50.{source}" if version == 4 else f"fd50::{source}"
        space = self.client if lan else self.name
        if user:
            as_user = ["setpriv", f"--reuid={user}", "--clear-groups", "/usr/bin/python3", "-c", BURST]
            words = (host, str(port), str(count), str(mark), str(dscp), *([bind] if bind else []))
            said = sh("ip", "netns", "exec", space, *as_user, *words).split("\n")
        else:
            with inside(space):
                said = burst(host, port, count, mark, dscp, bind)
        sent = count if lan else sum("." in word or ":" in word for word in said)
        gone = self.came(before, version, sent)
        if not lan:
            for number, packets in gone.items():
                six = str(ipaddress.ip_address(f"2001:db8:{number}::10"))
                assert said.count(f"10.0.{number}.10" if version == 4 else six) == packets, (said, gone)
        return " ".join(f"usb{number}" for number, packets in gone.items() if packets) or said[0]

    def came(self, before: dict[tuple[int, int], int], version: int, sent: int) -> dict[int, int]:
        """Packets since `before` by uplink, once all have come that were sent, or none will come any more."""
        for _ in range(100):
            after = self.counts()
            gone = {number: after[number, version] - before[number, version] for number in range(3)}
            if sum(gone.values()) >= sent:
                break
            time.sleep(0.005)
        return gone

    def comes_to(self, tiers: list[int], name: str = "p1") -> None:
        """Wait until these are in use, and the kernel and nftables hold what follows from that."""
        wait_for(lambda: self.tier(name) == tiers and self.settled(), 5, f"tiers {tiers} of {name}")

    def both(self, host: str = FAR, **how: Any) -> tuple[str, str]:
        """The same for IPv4 and IPv6."""
        return self.send(host, **how), self.send(FAR6 if host == FAR else OTHER6, **how)

    def netbond(self, command: str, *words: str) -> list[str]:
        """The command line of a netbond command, to be run in the box."""
        return [sys.executable, "-m", "netbond", command, "--config", str(self.config_file), *words]

    def lose(self, number: int) -> None:
        """Take the carrier of usbN away."""
        sh("ip", "-n", self.far, "link", "set", f"p{number}", "down")

    def regain(self, number: int) -> None:
        """Give it back; with IPv6, whose addresses a link that was down has lost."""
        sh("ip", "-n", self.far, "link", "set", f"p{number}", "up")
        sh("ip", "-n", self.far, "addr", "replace", f"2001:db8:{number}::1/64", "dev", f"p{number}", "nodad")

    def tier(self, name: str = "p1") -> list[int]:
        """The tier in use of a policy, for each family."""
        (found,) = [policy for policy in self.status()["policies"] if policy["name"] == name]
        return [way["tier"] for way in found["ways"]]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Policies]:
    with Policies(tmp_path) as box:
        box.prepare()
        yield box


def test_the_first_tier_that_works_through_failure_and_return(box: Policies) -> None:
    box.policy(
        'port = 9\nuplinks = ["usb1", ["usb0", "usb2"]]',
        f'destination = ["{OTHER}", "{OTHER6}"]\nuplinks = ["usb2"]\notherwise = "unreachable"',
    )
    for lan in (False, True):
        assert box.both(lan=lan) == ("usb1", "usb1")
        assert box.both(OTHER, port=10, lan=lan) == ("usb2", "usb2")
        assert box.both(OTHER, lan=lan) == ("usb1", "usb1")  # the first policy that fits counts

    box.lose(1)
    box.comes_to([2, 2])
    for lan in (False, True):
        assert "usb1" not in str(box.both(lan=lan))

    box.regain(1)
    box.comes_to([1, 1])
    for lan in (False, True):
        assert box.both(lan=lan) == ("usb1", "usb1")

    box.lose(2)
    box.comes_to([0, 0], "p2")
    assert box.both(OTHER, port=10) == ("No route to host", "No route to host")
    assert "usb" not in str(box.both(OTHER, port=10, lan=True))
    assert "usb" in str(box.both(OTHER, port=9))


def test_whose_traffic_it_is(box: Policies) -> None:
    # Rules of a wg-quick that was started before: no number is free ahead of main's.
    for family in ("-4", "-6"):
        box.ip(family, "rule", "add", "pref", "32765", "fwmark", "51820", "lookup", "51820")
    box.policy(
        'uid = ["nobody", 4000]\nuplinks = ["usb1"]',
        'mark = "0x10/0xff"\nuplinks = ["usb2"]',
        'source = ["192.168.50.3", "fd50::3"]\nuplinks = ["usb1"]',
        'interface = "eth*"\nport = [443, "500-600"]\nuplinks = ["usb2"]',
        'interface = "lo"\ndscp = "ef"\nuplinks = ["usb1"]',
        'uplinks = ["usb0"]',
    )
    assert box.both() == ("usb0", "usb0")
    assert box.both(user="nobody") == box.both(user="4000") == ("usb1", "usb1")
    assert box.both(mark=0x310) == ("usb2", "usb2")
    assert box.both(port=550) == ("usb0", "usb0")
    asks_dscp = _takes_dscp(os.uname().release)
    assert box.both(dscp=46) == (("usb1", "usb1") if asks_dscp else ("usb0", "usb0"))
    assert any("cannot tell DSCP" in line for line in box.status()["agent"]["problems"]) is not asks_dscp
    assert box.both(lan=True) == box.both(lan=True, dscp=46) == ("usb0", "usb0")
    assert box.both(lan=True, port=550) == ("usb2", "usb2")
    assert box.both(lan=True, source=3) == ("usb1", "usb1")
    # What is bound is never touched.
    assert box.send(FAR, user="nobody", bind="10.0.2.10") == "usb2"
    assert box.send(FAR6, user="nobody", bind="2001:db8:2::10") == "usb2"
    said = box.run(*box.netbond("explain", FAR, "--in", "eth1", "--from", "192.168.50.2", "--dport", "443"))
    assert said.splitlines()[-1] == "policy p4: usb2 (tier 1 of 1)"


def test_overflow(box: Policies) -> None:
    box.policy('uplinks = [["usb0", "usb1"], "usb2"]\noverflow = "200kbit/s"')
    time.sleep(1.1)  # the counters have been read
    assert "usb2" not in str(box.both() + box.both(lan=True))
    box.send(FAR, count=300)  # as much as 10 s may carry
    wait_for(lambda: box.tier() == [2, 2], 3, "the first tier overflows")
    began = time.monotonic()
    wait_for(box.settled, 3, "nothing to do")
    for lan in (False, True):
        assert box.both(lan=lan) == ("usb2", "usb2")
    (way, _) = box.status()["policies"][0]["ways"]
    assert (way["best"], way["reason"]) == (1, "tier 1 overflows")
    wait_for(lambda: box.tier() == [1, 1], 12, "the first tier has room")
    assert time.monotonic() - began > 5
    wait_for(box.settled, 3, "nothing to do")
    assert "usb2" not in str(box.both() + box.both(lan=True))


def test_a_pin_that_refuses_lets_nothing_out_by_another_uplink(box: Policies) -> None:
    pin = f'[[pin]]\ndestination = ["{OTHER}", "{OTHER6}"]\nuplinks = ["usb2"]\notherwise = "unreachable"\n'
    box.policy(more=pin)
    assert box.both(OTHER) == ("usb2", "usb2")
    box.lose(2)
    wait_for(lambda: "usb2" not in box.table(221) and box.settled(), 5, "no route by usb2")
    assert box.both(OTHER) == ("No route to host", "No route to host")
    assert "usb" in str(box.both())
