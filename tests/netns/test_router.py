"""Router mode with real flows."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import RouterConfig
from netbond.lan import mark_rules
from netbond.model import Address
from tests.netns.box import Box, sh, wait_for
from tests.netns.lan import AGENT, CONFIG, FLOWS, PONG, SERVER6, UPLINKS, Lan, Process, uplink

pytestmark = pytest.mark.root


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    with Lan(tmp_path) as box:
        box.prepare()
        yield box


def test_clients_share_the_uplinks_and_each_connection_stays_where_it_began(lan: Lan) -> None:
    lan.apply()
    first = lan.open("udp", range(24))
    assert set(first.values()) == {"10.0.0.10", "10.0.1.10"}  # spread, and translated

    lan.ecmp(1)  # the ECMP default is without usb0 now, which lives (a backup, say)
    assert lan.seen(first) == first
    assert set(lan.open("udp", range(24, 36)).values()) == {"10.0.1.10"}

    lan.ecmp(0, 1)
    assert lan.seen(first) == first


def test_without_the_marks_a_connection_would_not_stay(lan: Lan) -> None:
    """The test above can fail."""
    lan.apply(live=())
    first = lan.open("udp", range(24))
    lan.ecmp(1)
    assert lan.seen(first) != first


def test_a_dead_uplinks_connections_move(lan: Lan) -> None:
    lan.apply()
    first = lan.open("udp", range(24))
    lan.lose(0)
    lost = [number for number, address in first.items() if address == "10.0.0.10"]
    assert lan.seen(lost[:2], "try") == dict.fromkeys(lost[:2], "timeout")
    assert lan.connections(0) == len(lost)

    lan.ecmp(1)
    assert lan.apply(live=("usb1",), release=("usb0",)) is True
    assert lan.connections(0) == 0
    assert lan.connections(1) == len(first) - len(lost)  # the others were not touched
    assert lan.seen(first) == dict.fromkeys(first, "10.0.1.10")  # with their first packet


def test_a_dead_uplinks_tcp_connections_end_at_once(lan: Lan) -> None:
    """Rather than hang: the server does not know them from the new address, and says so."""
    lan.apply()
    first = lan.open("tcp", range(24))
    on = [number for number, address in first.items() if address == "10.0.0.10"]
    lan.lose(0)
    lan.ecmp(1)
    lan.apply(live=("usb1",), release=("usb0",))
    assert set(lan.seen(on).values()) == {"Connection reset by peer"}
    assert set(lan.open("tcp", range(24, 30)).values()) == {"10.0.1.10"}
    kept = {number: address for number, address in first.items() if number not in on}
    assert kept
    assert lan.seen(kept) == kept


def test_an_uplink_that_comes_back_gets_new_connections_only(lan: Lan) -> None:
    lan.ecmp(1)
    lan.apply(live=("usb1",))
    first = lan.open("udp", range(12))
    lan.ecmp(0, 1)
    lan.apply()
    assert lan.seen(first) == first
    assert "10.0.0.10" in lan.open("udp", range(12, 36)).values()


def test_answers_to_a_port_forward_leave_by_the_uplink_it_came_by(lan: Lan) -> None:
    lan.apply()
    lan.nft("add table ip own")
    lan.nft("add chain ip own forwards { type nat hook prerouting priority dstnat; }")
    lan.nft("add rule ip own forwards iifname usb0 udp dport 9000 dnat to 192.168.50.2")
    lan.ecmp(1)  # without the mark, the answer would leave by usb1
    answering = Process(lan.client_space, PONG)
    asking = Process(lan.far, FLOWS)
    try:
        asking.ask("udp 0 10.0.0.10 9000")
        assert asking.ask("ask 0") == "pong"
        assert lan.connections(0) == 1
        assert asking.ask("ask 0") == "pong"
    finally:
        answering.stop()
        asking.stop()


@pytest.mark.parametrize(("protect", "answer"), [(True, "timeout"), (False, "pong")])
def test_who_knows_an_address_of_the_lan_does_not_get_in(lan: Lan, protect: bool, answer: str) -> None:
    lan.apply(replace(CONFIG, protect_lan=protect))
    sh("ip", "-n", lan.far, "route", "add", "192.168.50.0/24", "via", "10.0.0.10")
    answering = Process(lan.client_space, PONG)
    asking = Process(lan.far, FLOWS)
    try:
        asking.ask("udp 0 192.168.50.2 9000")
        assert asking.ask("try 0" if protect else "ask 0") == answer
    finally:
        answering.stop()
        asking.stop()


def test_segments_fit_the_uplinks_mtu(lan: Lan) -> None:
    lan.ecmp(0)
    lan.ip("link", "set", "usb0", "mtu", "1400")
    lan.apply(replace(CONFIG, clamp_mss=False))
    lan.open("tcp", range(1))
    assert int(lan.flows.ask("ask 0 mss")) > 1400
    lan.apply()
    lan.open("tcp", range(1, 2))
    assert int(lan.flows.ask("ask 1 mss")) <= 1400 - 40


def test_other_peoples_mark_bits_are_kept(lan: Lan) -> None:
    lan.apply()
    lan.nft("add table inet own")
    lan.nft("add chain inet own early { type filter hook prerouting priority -160; }")
    lan.nft("add rule inet own early iifname eth1 meta mark set 0x00ab3f05")
    lan.nft("add chain inet own late { type filter hook postrouting priority 300; }")
    lan.nft("add rule inet own late oifname usb0 meta mark 0x64ab3f05 counter")
    lan.ecmp(0)
    lan.open("udp", range(1))
    lan.seen(range(1))  # the first packet's mark belongs to no uplink yet; this one's does
    assert "counter packets 1 " in lan.nft("list", "chain", "inet", "own", "late")


def test_ipv6_is_translated_only_on_request(lan: Lan) -> None:
    lan.ip("-6", "route", "add", "default", "table", "222", "via", "2001:db8:1::1", "dev", "usb1")
    lan.apply()
    both = [*UPLINKS, uplink(0, 6), uplink(1, 6)]
    assert lan.flows.ask(f"udp 0 {SERVER6}") == "open"
    assert lan.seen(range(1), "try") == {
        0: "timeout"
    }  # it left with the LAN's address, which has no way back
    lan.apply(replace(CONFIG, ipv6="masquerade"), uplinks=both)
    assert lan.open("udp", range(1, 2), SERVER6) == {1: "2001:db8:1::10"}
    lan.ip("-6", "route", "replace", "default", "table", "222", "via", "2001:db8:0::1", "dev", "usb0")
    assert lan.seen(range(1, 2)) == {1: "2001:db8:1::10"}


def test_one_family_of_an_uplink_dies_alone(lan: Lan) -> None:
    config = replace(CONFIG, ipv6="masquerade")
    both = [*UPLINKS, uplink(0, 6), uplink(1, 6)]
    lan.ip("-6", "route", "add", "default", "table", "222", "via", "2001:db8:1::1", "dev", "usb1")
    lan.ecmp(1)
    lan.apply(config, uplinks=both)
    assert lan.open("udp", range(1)) == {0: "10.0.1.10"}
    assert lan.open("udp", range(1, 2), SERVER6) == {1: "2001:db8:1::10"}

    lan.ip("-6", "route", "replace", "default", "table", "222", "via", "2001:db8:0::1", "dev", "usb0")
    lan.ecmp(0)
    lan.apply(config, live=("usb0", "usb1/4"), release=("usb1/6",), uplinks=both)
    assert lan.seen(range(2)) == {0: "10.0.1.10", 1: "2001:db8::10"}


def test_two_gateways_behind_one_interface(lan: Lan) -> None:
    """The device alone does not tell which uplink it is."""
    lan.ip("addr", "add", "10.0.9.10/24", "dev", "usb1")
    sh("ip", "-n", lan.far, "addr", "add", "10.0.9.1/24", "dev", "p1")
    lan.ip("route", "add", "default", "via", "10.0.9.1", "table", "131")
    address = Address("usb1", ipaddress.ip_interface("10.0.9.10/24"))
    first = replace(UPLINKS[1], gateway=ipaddress.ip_address("10.0.1.1"))
    second = replace(
        first,
        address=address.interface,
        gateway=ipaddress.ip_address("10.0.9.1"),
        table=131,
        addresses=(address,),
    )
    for rule in mark_rules([second], CONFIG, 78):
        words = f"rule add pref {rule.priority} fwmark {rule.mark:#x}/{rule.mask:#x} lookup {rule.table}"
        lan.ip(*words.split())
    legs = ["nexthop", "via", "10.0.1.1", "dev", "usb1", "nexthop", "via", "10.0.9.1", "dev", "usb1"]
    lan.ip("route", "replace", "default", "table", "222", *legs)
    lan.apply(uplinks=(first, second))
    seen = lan.open("udp", range(24))
    assert set(seen.values()) == {"10.0.1.10", "10.0.9.10"}
    by = {address: list(seen.values()).count(address) for address in seen.values()}
    assert by == {"10.0.1.10": lan.connections(1), "10.0.9.10": lan.connections(31)}
    lan.ip("route", "replace", "default", "table", "222", "via", "10.0.1.1", "dev", "usb1")
    assert lan.seen(seen) == seen
    # What comes in by either is marked by the address that it is sent to, if it is forwarded.
    lan.nft("add table ip own")
    lan.nft("add chain ip own forwards { type nat hook prerouting priority dstnat; }")
    lan.nft("add rule ip own forwards iifname usb1 udp dport 9 dnat to 192.168.50.2")
    sh("ip", "netns", "exec", lan.far, sys.executable, "-c",
       "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('10.0.9.10', 9))")  # fmt: skip

    def arrived() -> list[str]:
        return [line for line in lan.run("cat", "/proc/net/nf_conntrack").splitlines() if "dport=9 " in line]

    wait_for(lambda: [f"mark={131 << 24} " in line for line in arrived()] == [True], 2, "it has come, marked")


def test_the_table_is_replaced_when_needed_and_only_then(lan: Lan) -> None:
    lan.nft("add table inet own")
    assert lan.apply() is True
    assert lan.apply() is False  # by another process: what was applied is known from the state directory
    lan.nft("flush", "ruleset")  # as `systemctl restart nftables` does
    assert lan.apply() is True
    lan.nft("flush", "chain", "inet", "netbond", "prerouting")
    assert lan.apply() is True
    lan.nft("add table inet own")  # somebody else's affair
    assert lan.apply() is False
    assert (lan.folder / "nft.json").stat().st_mode & 0o777 == 0o600


def test_the_table_goes_and_nothing_else(lan: Lan) -> None:
    lan.nft("add table inet own")
    lan.apply()
    assert lan.apply(RouterConfig()) is True
    assert lan.nft("list", "tables").split("\n")[:-1] == ["table inet own"]
    assert lan.apply(RouterConfig()) is False
    assert not (lan.folder / "nft.json").exists()


def test_a_table_of_unknown_origin_is_replaced(lan: Lan) -> None:
    """kill -9, and a state directory that was lost."""
    lan.apply()
    (lan.folder / "nft.json").unlink()
    assert lan.apply(RouterConfig()) is True
    assert lan.nft("list", "tables") == ""


def test_the_agents_way(lan: Lan) -> None:
    """Drift is heard of, an uplink's end releases its connections, and stopping takes the table away."""
    agent = Process(lan.name, AGENT, str(lan.folder), '[router]\nlan = ["eth1"]')
    try:
        assert agent.ask("usb0 usb1") == "quiet # the LAN shares the uplinks"
        assert agent.ask("usb0 usb1") == "quiet nothing"
        first = lan.open("udp", range(24))
        lan.nft("flush", "ruleset")
        assert agent.ask("usb0 usb1") == "heard # the LAN shares the uplinks"
        assert lan.seen(first) == first

        lan.lose(0)
        lan.ecmp(1)
        assert agent.ask("usb1") == "quiet # uplinks or LAN interfaces changed"
        assert lan.connections(0) == 0
        assert lan.seen(first) == dict.fromkeys(first, "10.0.1.10")
        assert agent.process.stdin is not None
        agent.process.stdin.close()
        assert agent.process.wait(40) == 0
        assert lan.nft("list", "tables") == ""
    finally:
        agent.process.kill()
        agent.process.wait()
        assert agent.process.stdout is not None
        agent.process.stdout.close()


def test_a_successor_releases_what_died_while_nobody_looked(lan: Lan) -> None:
    """kill -9, an uplink dies, a new start."""
    lan.apply()
    lan.open("udp", range(24))
    assert lan.connections(0)
    lan.ecmp(1)
    agent = Process(lan.name, AGENT, str(lan.folder), '[router]\nlan = ["eth1"]')
    try:
        assert agent.ask("usb1") == "quiet # uplinks or LAN interfaces changed"
        assert lan.connections(0) == 0
        assert lan.connections(1)
    finally:
        agent.stop()


@pytest.mark.parametrize("how", ["link set usb0 down", "addr flush dev usb0", "link del usb0"])
def test_the_kernel_itself_releases_an_interface_that_went(lan: Lan, how: str) -> None:
    """Which netbond relies on: the marks of an interface that is gone are not known any more."""
    lan.apply()
    lan.open("udp", range(24))
    assert lan.connections(0)
    lan.ip(*how.split())
    wait_for(lambda: lan.connections(0) == 0, 2, "usb0's connections are deleted")
    assert lan.connections(1)


def test_twins_answer_by_the_one_that_was_asked(lan: Lan) -> None:
    """Two uplinks with one address: a socket that is bound to nothing would answer by the first."""
    lan.ip("addr", "flush", "dev", "usb1")
    lan.ip("addr", "add", "10.0.0.10/24", "dev", "usb1", "noprefixroute")
    lan.ip("route", "add", "10.0.0.1", "dev", "usb1", "table", "101")
    lan.ip("route", "replace", "default", "via", "10.0.0.1", "dev", "usb1", "table", "101", "onlink")
    lan.ip("rule", "add", "pref", "100", "from", "10.0.0.10", "lookup", "100")
    # The second modem's network: another one with the same numbers, behind another client.
    twin = f"{lan.name}t"
    sh("ip", "netns", "add", twin)
    try:
        sh("ip", "-n", lan.far, "link", "set", "p1", "netns", twin)
        sh("ip", "-n", twin, "addr", "add", "10.0.0.1/24", "dev", "p1")
        sh("ip", "-n", twin, "link", "set", "p1", "up")
        sh("ip", "-n", twin, "link", "set", "lo", "up")
        sh("ip", "-n", twin, "addr", "add", "198.51.100.9/32", "dev", "lo")
        sh("ip", "-n", twin, "route", "add", "10.0.0.10", "dev", "p1", "src", "198.51.100.9")
        answering = Process(lan.name, PONG)
        asking = Process(twin, FLOWS)
        try:
            asking.ask("udp 0 10.0.0.10 9000")
            assert asking.ask("try 0") == "timeout"
            second = replace(UPLINKS[0], device="usb1", table=101)
            second = replace(second, addresses=(Address("usb1", second.address),))
            lan.apply(uplinks=(UPLINKS[0], second))
            asking.ask("udp 1 10.0.0.10 9000")
            assert asking.ask("ask 1") == "pong"
        finally:
            answering.stop()
            asking.stop()
    finally:
        sh("ip", "netns", "del", twin)


FAIL = """
import asyncio, os, sys
from netbond.lan import Mark
from netbond.router import nft
from netbond.errors import NetbondError
if sys.argv[1] == "nobody":
    nft.program()
    os.setuid(65534)
for attempt in (
    lambda: asyncio.run(nft.feed(sys.argv[2])),
    lambda: nft.release([Mark(0x64000000, 4)], 0xFF000000),
    lambda: nft.generation(),
):
    try:
        attempt()
        print("done")
    except NetbondError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("who", "text", "expected"),
    [
        ("root", "table inet netbond {", ["NftError nft refused netbond's table: ", "done", "done"]),
        (
            "root",
            "table inet netbond\nadd rule inet netbond missing meta mark 1\n",
            ["NftError nft refused netbond's table: ", "done", "done"],
        ),
        (
            "nobody",
            "table inet netbond",
            [
                "NotPermittedError nft may not change the ruleset;",
                "NotPermittedError the kernel refuses to delete connections by their mark;",
                "NotPermittedError the kernel refuses to say whether nftables rules changed;",
            ],
        ),
    ],
)  # fmt: skip
def test_failures_are_told_in_one_line(box: Box, who: str, text: str, expected: list[str]) -> None:
    lines = box.run(sys.executable, "-c", FAIL, who, text).splitlines()
    assert [line.startswith(start) for line, start in zip(lines, expected, strict=True)] == [True] * 3, lines
    assert box.run("nft", "list", "tables") == ""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as found:
        yield found
