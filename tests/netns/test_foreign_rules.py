"""netbond beside the rules that VPNs and people add, on the real kernel: each way is asked of the kernel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for
from tests.netns.test_bound_sockets import nothing_to_do
from tests.netns.test_ipv6 import plug6

pytestmark = pytest.mark.root

GOOGLE6 = "2001:4860:4860::8888"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Two modems with both families, and a tunnel with a table of its own."""
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
            plug6(box, f"usb{number}", number)
        box.ip("link", "add", "wg0", "type", "veth", "peer", "name", "wg9")
        box.ip("addr", "add", "10.66.0.2/32", "dev", "wg0")
        box.ip("link", "set", "wg0", "up")
        box.ip("link", "set", "wg9", "up")
        for family in ("-4", "-6"):
            box.ip(family, "route", "add", "default", "dev", "wg0", "table", "51820")
        box.configure('[[uplink]]\nmatch = "wg*"\nenabled = false')
        yield box


def wg_quick(box: Box, verb: str, family: str = "-4") -> None:
    """The rules of a tunnel that takes everything, as wg-quick adds and deletes them."""
    box.ip(family, "rule", verb, "not", "fwmark", "0xca6c", "table", "51820")
    box.ip(family, "rule", verb, "table", "main", "suppress_prefixlength", "0")


def way6(box: Box, *words: str) -> str:
    """As Box.way()."""
    said = box.ip("-6", "route", "get", *words, check=False)
    return "".join(said.partition(" dev ")[2].split()[:1])


def problems(box: Box) -> list[str]:
    found = box.status()["agent"]["problems"]
    assert isinstance(found, list)
    return [problem for problem in found if "another program's rule" in problem]


def foreign_rules(box: Box) -> list[str]:
    return [line for line in box.rules().splitlines() if "proto 78" not in line]


def test_a_vpn_that_starts_later_gets_unbound_traffic_alone(box: Box) -> None:
    box.start()
    before = box.rules()
    for _ in range(2):  # each time its rules get ahead anew
        wg_quick(box, "add")
        theirs = foreign_rules(box)
        wait_for(lambda: box.way("1.1.1.1", "from", "10.0.1.10") == "usb1", 1.0, "the address's uplink")
        wait_for(lambda: box.way("1.1.1.1", "oif", "usb1") == "usb1", 1.0, "the device")
        assert box.way("1.1.1.1") == "wg0"
        assert box.way("1.1.1.1", "mark", "0xca6c").startswith("usb")
        assert foreign_rules(box) == theirs
        wait_for(lambda: "not from all fwmark 0xca6c" in str(problems(box)), 1.0, "status names it")
        wg_quick(box, "del")
        wait_for(lambda: box.rules() == before, 1.0, "no copies without need")
        wait_for(lambda: not problems(box), 1.0, "nothing to name")


def test_refusals_and_destinations_of_ipv6_and_an_uplink_that_comes_later(box: Box) -> None:
    box.start()
    box.ip("-6", "rule", "add", "to", "2001:4860::/32", "table", "51820")
    box.ip("-6", "rule", "add", "unreachable")
    box.plug("usb2", 2)
    plug6(box, "usb2", 2)
    for number in range(3):
        wait_for(
            lambda n=number: (  # type: ignore[misc] # mypy infers no lambda with a default
                f"dev usb{n}"
                in box.ip("-6", "route", "get", GOOGLE6, "from", f"2001:db8:0:{n}::10", check=False)
            ),
            1.0,
            f"the address of usb{number}",
        )
        wait_for(lambda n=number: way6(box, GOOGLE6, "oif", f"usb{n}") == f"usb{n}", 1.0, "the device")  # type: ignore[misc]
    assert "dev" not in box.ip("-6", "route", "get", GOOGLE6, check=False)
    wait_for(lambda: len(problems(box)) == 2, 1.0, "both are named")


def test_however_many_rules_get_ahead(box: Box) -> None:
    """Each takes the copies further down, in the end to 0, where the kernel puts such a rule behind them."""
    box.start()
    before = box.rules()
    for number in range(16):
        box.ip("rule", "add", "to", f"198.51.100.{number}", "table", "51820")
        wait_for(lambda n=number: box.way(f"198.51.100.{n}", "from", "10.0.1.10") == "usb1", 1.0, "bound")  # type: ignore[misc]
        assert box.way(f"198.51.100.{number}") == "wg0"
    for number in range(16):
        for device in ("usb0", "usb1"):
            assert box.way(f"198.51.100.{number}", "from", f"10.0.{device[-1]}.10") == device
            assert box.way(f"198.51.100.{number}", "oif", device) == device
    wait_for(lambda: "0:\tfrom 10.0.1.10 goto 50 proto 78" in box.rules(), 1.0, "down to 0")
    for number in range(16):
        box.ip("rule", "del", "to", f"198.51.100.{number}", "table", "51820")
    wait_for(lambda: box.rules() == before, 1.0, "no copies without need")


def test_without_room_it_is_said_and_left(box: Box) -> None:
    """As nothing can be asked before priority 0."""
    box.start()
    box.ip("rule", "add", "priority", "0", "to", "1.1.1.1", "table", "51820")
    wait_for(lambda: "for want of a lower priority" in str(problems(box)), 1.0, "status says it")
    assert box.way("1.1.1.1", "from", "10.0.1.10") == "wg0"
    assert box.way("9.9.9.9", "from", "10.0.1.10") == "usb1"
    sh("ip", "-n", box.name, "rule", "del", "priority", "0", "to", "1.1.1.1", "table", "51820")
    wait_for(lambda: not problems(box), 1.0, "gone")
    assert box.way("1.1.1.1", "from", "10.0.1.10") == "usb1"


# --- rules behind netbond's --------------------------------------------------------------------------------

TAILSCALE = (
    "fwmark 0x80000/0xff0000 lookup main priority 5210",
    "fwmark 0x80000/0xff0000 lookup default priority 5230",
    "fwmark 0x80000/0xff0000 unreachable priority 5250",
    "lookup 52 priority 5270",
)
MULLVAD = (
    "lookup main suppress_prefixlength 0 priority 5208",
    "not fwmark 0x6d6f6c65 lookup 51820 priority 5209",
)


def add_rules(box: Box, family: str, rules: tuple[str, ...]) -> None:
    for rule in rules:
        box.ip(family, "rule", "add", *rule.split())


@pytest.mark.parametrize("first", ["netbond", "tailscale"])
def test_a_tailnet_works_whoever_is_first_and_survives_an_uplink(box: Box, first: str) -> None:
    if first == "netbond":
        box.start()
    add_rules(box, "-4", TAILSCALE)
    for network in ("100.100.100.100", "100.64.1.2", "192.168.77.0/24"):
        box.ip("route", "add", network, "dev", "wg0", "table", "52")
    if first == "tailscale":
        box.start()
    theirs = foreign_rules(box)
    wait_for(lambda: box.way("100.64.1.2") == "wg0", 1.0, "a peer")
    wait_for(lambda: "\n222:" not in box.rules(), 1.0, "the shared default is behind")
    assert {box.way(ip) for ip in ("100.100.100.100", "192.168.77.5")} == {"wg0"}
    assert box.way("100.64.1.2", "from", "10.66.0.2") == "wg0"
    assert box.way("1.1.1.1", "from", "10.0.1.10") == box.way("1.1.1.1", "oif", "usb1") == "usb1"
    wait_for(lambda: "5271:\tfrom all lookup 222 proto 78" in box.rules(), 1.0, "there")
    # Its own packets are led to main, whose first default is of an uplink that dies.
    sh("ip", "-n", box.far, "link", "set", "p0", "down")
    wait_for(lambda: box.way("1.1.1.1", "mark", "0x80000") == "usb1", 1.0, "the uplink that is left")
    wait_for(lambda: box.way("1.1.1.1") == "usb1", 1.0, "for unbound traffic, too")
    assert foreign_rules(box) == theirs
    assert problems(box) == []


def test_a_full_tunnel_that_was_first_does_not_leak(box: Box) -> None:
    """wg-quick's rules stand at 32764 and 32765 then, next to main's."""
    wg_quick(box, "add")
    box.start()
    assert "32765:\tnot from all fwmark 0xca6c lookup 51820\n32765:\tfrom all lookup 222" in box.rules()
    assert box.way("1.1.1.1") == "wg0"
    assert box.way("1.1.1.1", "mark", "0xca6c").startswith("usb")
    assert box.way("1.1.1.1", "from", "10.0.1.10") == "usb1"
    assert "routing.others_first = false" in str(problems(box))
    # As wg-quick does to stop, `while` included: netbond's rule for main looks like its own.
    for words, shown in (
        ("table 51820", "lookup 51820"),
        ("table main suppress_prefixlength 0", "from all lookup main suppress_prefixlength 0"),
    ):
        for _ in range(200):
            if shown not in box.rules():
                break
            box.ip("rule", "del", *words.split())
        else:
            pytest.fail(f"wg-quick would never end: {box.rules()}")
    wait_for(lambda: box.way("1.1.1.1").startswith("usb"), 1.0, "shared again")
    wait_for(lambda: "\n222:" in box.rules(), 1.0, "at its usual place")


@pytest.mark.skipif(
    not (shutil.which("wg-quick") and shutil.which("wireguard-go")),
    reason="needs wireguard-tools and wireguard-go",
)
@pytest.mark.parametrize("first", ["netbond", "wg-quick"])
def test_the_real_wg_quick(box: Box, first: str) -> None:
    name = f"wgt{os.getpid() % 10**6}"
    file = box.folder / f"{name}.conf"
    file.touch(mode=0o600)
    file.write_text(
        f"[Interface]\nPrivateKey = {KEY}\nAddress = 10.67.0.2/32, fd00:67::2/128\n"
        f"[Peer]\nPublicKey = {KEY}\nEndpoint = 10.0.1.1:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n"
    )
    for family in ("-4", "-6"):  # wg-quick takes the first table without routes
        box.ip(family, "route", "del", "default", "dev", "wg0", "table", "51820")
    if first == "netbond":
        box.start()
    try:
        box.run("wg-quick", "up", str(file))
        if first == "wg-quick":
            box.start()
        wait_for(lambda: box.way("1.1.1.1", "from", "10.0.1.10") == "usb1", 1.0, "the address's uplink")
        wait_for(
            lambda: way6(box, GOOGLE6, "from", "2001:db8:0:1::10") == "usb1", 1.0, "the address's uplink"
        )
        for family, address in (("-4", "1.1.1.1"), ("-6", GOOGLE6)):
            assert f"dev {name} " in box.ip(family, "route", "get", address)
            assert "dev usb1 " in box.ip(family, "route", "get", address, "oif", "usb1")
            assert "dev usb" in box.ip(family, "route", "get", address, "mark", "51820")
    finally:
        box.run("wg-quick", "down", str(file))  # its program ends with its socket
    assert "51820" not in box.rules()
    wait_for(lambda: box.way("1.1.1.1").startswith("usb"), 1.0, "shared again")
    wait_for(lambda: "\n222:" in box.rules(), 5.0, "as before")
    wait_for(lambda: "\n50:" in box.rules(), 5.0, "what wg-quick took for its own")


KEY = "YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="


def test_what_cannot_both_hold_is_named_by_status_plan_and_explain(box: Box) -> None:
    """Mullvad's rules of IPv6, and a configuration that keeps the shared default ahead of them."""
    box.configure('[[uplink]]\nmatch = "wg*"\nenabled = false\n')
    box.start()
    add_rules(box, "-6", MULLVAD)
    wait_for(lambda: way6(box, GOOGLE6) == "wg0", 1.0, "the tunnel")
    assert way6(box, GOOGLE6, "mark", "0x6d6f6c65").startswith("usb")
    assert way6(box, GOOGLE6, "from", "2001:db8:0:1::10") == "usb1"
    wait_for(lambda: netbond(box, "plan").returncode == 0, 2.0, "nothing to do")
    assert netbond(box, "explain", GOOGLE6).returncode == 0
    box.configure('[routing]\nothers_first = false\n[[uplink]]\nmatch = "wg*"\nenabled = false\n')
    assert box.agent is not None
    box.agent.send_signal(signal.SIGHUP)
    wait_for(lambda: way6(box, GOOGLE6).startswith("usb"), 1.0, "ahead, as configured")
    says = "priority 5209 not from all fwmark 0x6d6f6c65/0xffffffff lookup 51820; routing.others_first = true"
    wait_for(lambda: says in str(problems(box)), 1.0, "status says it")
    planned, explained = netbond(box, "plan"), netbond(box, "explain", GOOGLE6)
    assert (planned.returncode, explained.returncode) == (2, 2)
    assert says in planned.stderr
    assert says in explained.stdout
    assert netbond(box, "explain", GOOGLE6, "--from", "2001:db8:0:1::10").returncode == 0


def netbond(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    command = box.command(*words, "--config", str(box.config_file))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_own_addresses_are_reached_where_their_rule_was_moved(box: Box) -> None:
    """As VyOS has it: what belongs to a VRF first, and never elsewhere; then the local table."""
    for family in ("-4", "-6"):
        box.ip(family, "rule", "add", "l3mdev", "priority", "1000")
        box.ip(family, "rule", "add", "l3mdev", "unreachable", "priority", "2000")
        box.ip(family, "rule", "add", "table", "local", "priority", "32765")
        box.ip(family, "rule", "del", "table", "local", "priority", "0")
    box.start()
    assert box.way("10.0.0.10", "from", "10.0.0.10") == "lo"
    assert box.way("10.0.0.10", "from", "10.0.1.10") == "lo"
    assert box.way("127.0.0.1") == "lo"
    assert way6(box, "2001:db8:0:1::10", "from", "2001:db8:0:1::10") == "lo"
    assert box.way("10.0.0.10", "from", "10.0.0.1", "iif", "usb0") == "lo"  # comes in
    assert way6(box, "2001:db8:0:1::10", "from", GOOGLE6, "iif", "usb1") == "lo"
    assert box.way("8.8.8.8", "from", "10.0.1.10") == "usb1"
    assert box.rules().splitlines()[:3] == [
        "37:\tfrom all lookup [l3mdev-table] proto 78",
        "38:\tfrom all lookup [l3mdev-table] unreachable proto 78",
        "39:\tfrom all lookup local proto 78",
    ]
    assert nothing_to_do(box)
    box.ip("rule", "add", "table", "local", "priority", "0")
    wait_for(lambda: "39:\tfrom all lookup [l3mdev-table] unr" in box.rules(), 1.0, "one is enough")
    assert box.stop() == 0
    assert "proto 78" not in box.rules() + box.ip("-6", "rule")
