"""What the stock kernel has and a small one lacks: VRFs, and PPP with the real pppd.

Everything that is plugged in here leads into namespaces of the machine itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.box import Box
from tests.vm.qemu import Machine
from tests.vm.world import World

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

FAR, FAR6 = "198.51.100.1", "2001:db8:f::1"

# Answers each TCP connection to port 8000 with the namespace's name and the caller's address.
SERVE = """\
import socket, sys
name, device = sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else ""
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if device:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
server.bind(("::", int(sys.argv[2])))
server.listen()
while True:
    connection, peer = server.accept()
    with connection:
        connection.sendall(f"{name} {peer[0].removeprefix('::ffff:')}".encode())
"""

# Makes the connections that standard input lists; prints what each got for an answer, or why it failed.
CALL = """\
import json, socket, sys
def call(to, port=8000, device="", address=""):
    with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET) as caller:
        caller.settimeout(6)
        try:
            if device:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            if address:
                caller.bind((address, 0))
            caller.connect(socket.getaddrinfo(to, port)[0][4])
            return caller.recv(100).decode()
        except OSError as error:
            return error.strerror or str(error)
print(json.dumps([call(**each) for each in json.load(sys.stdin)]))
"""


def calls(box: Box, *wanted: dict[str, Any], namespace: str = "") -> list[str]:
    """What the connections are answered."""
    inside = f"ip netns exec {namespace} " if namespace else ""
    found = box.machine.run(f"{inside}python3 -IS /root/call.py", given=json.dumps(wanted))
    answers: list[str] = json.loads(found.out)
    return answers


@pytest.fixture(scope="module")
def box(state: Path, world: World) -> Iterator[Box]:
    with Machine(state / "box.qcow2", state / "boot", state / "kernel", namespace=world.namespace) as machine:
        machine.write("/root/serve.py", SERVE)
        machine.write("/root/call.py", CALL)
        machine.run(PLACES)
        yield Box(machine)
        (state / "kernel" / "journal.log").write_text(machine.out("journalctl -o short-monotonic"))


# --- VRFs --------------------------------------------------------------------------------------------------

# Two uplinks, and an office in a VRF: its network is the first uplink's, and so is the box's address there.
PLACES = f"""
set -e
sysctl -q -w net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
for place in isp office; do
    ip netns add $place
    ip -n $place link set lo up
    ip -n $place address add {FAR}/32 dev lo
    ip -n $place address add {FAR6}/128 dev lo
    ip netns exec $place sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
done
attach() {{  # device, its place and number
    ip link add $1 type veth peer name far-$1 netns $2
    ip -n $2 address add 10.0.$3.1/24 dev far-$1
    ip -n $2 address add 2001:db8:0:$3::1/64 dev far-$1
    ip -n $2 link set far-$1 up
    ip link set $1 up
}}
attach usb0 isp 0
attach usb1 isp 1
attach eth5 office 0
for number in 0 1; do
    ip address add 10.0.$number.10/24 dev usb$number
    ip address add 2001:db8:0:$number::10/64 dev usb$number
    ip route add default via 10.0.$number.1 dev usb$number metric 100$number
    ip -6 route add default via 2001:db8:0:$number::1 dev usb$number metric 100$number
done
for place in isp office; do
    ip netns exec $place python3 -IS /root/serve.py $place 8000 >/dev/null 2>&1 &
done
"""

VRF = """
set -e
ip link add vrf-mgmt type vrf table 1000
ip link set vrf-mgmt up
ip link set eth5 master vrf-mgmt
ip address replace 10.0.0.10/24 dev eth5
ip address replace 2001:db8:0:0::10/64 dev eth5
ip route replace default via 10.0.0.1 dev eth5 table 1000
ip -6 route replace default via 2001:db8:0:0::1 dev eth5 table 1000
python3 -IS /root/serve.py bound 8001 vrf-mgmt >/dev/null 2>&1 & echo $! >/run/bound.pid
"""


def office(box: Box) -> None:
    """What is in the VRF reaches the office, and the office reaches it."""
    there = [
        {"to": to, "device": device, "address": address}
        for to, address in (
            (FAR, ""), (FAR6, ""), ("10.0.0.1", ""), ("2001:db8::1", ""), (FAR, "10.0.0.10"),
            (FAR6, "2001:db8::10"),
        )
        for device in ("vrf-mgmt", "eth5")
    ]  # fmt: skip
    assert calls(box, *there) == ["office 10.0.0.10", "office 10.0.0.10",
        "office 2001:db8::10", "office 2001:db8::10"] * 3  # fmt: skip
    back = [{"to": to, "port": port} for port in (8001, 8002) for to in ("10.0.0.10", "2001:db8::10")]
    assert calls(box, *back, namespace="office") == [
        *("bound 10.0.0.1", "bound 2001:db8::1", "any 10.0.0.1", "any 2001:db8::1")
    ]


def uplinks(box: Box) -> None:
    """What is bound to an uplink goes by it; the rest by any; and the internet reaches the box."""
    bound = [
        {"to": to, "device": device, "address": address}
        for to, prefix in ((FAR, "10.0.%d.10"), (FAR6, "2001:db8:0:%d::10"))
        for number in range(2)
        for device, address in ((f"usb{number}", ""), ("", prefix % number))
    ]
    assert calls(box, *bound) == [
        *("isp 10.0.0.10", "isp 10.0.0.10", "isp 10.0.1.10", "isp 10.0.1.10"),
        *("isp 2001:db8::10", "isp 2001:db8::10", "isp 2001:db8:0:1::10", "isp 2001:db8:0:1::10"),
    ]
    rest = calls(box, *({"to": to} for to in (FAR, FAR6) for _ in range(4)))
    assert all(answer.startswith("isp ") for answer in rest), rest
    back = [{"to": to, "port": 8002} for to in ("10.0.0.10", "10.0.1.10", "2001:db8:0:1::10")]
    assert calls(box, *back, namespace="isp") == ["any 10.0.0.1", "any 10.0.1.1", "any 2001:db8:0:1::1"]


UP = {"usb0": "usb0 up", "usb1": "usb1 up"}
FIRST = "from all lookup [l3mdev-table] proto netbond"


def test_a_vrf_that_comes_later(box: Box) -> None:
    box.machine.run("sysctl -q -w net.ipv4.tcp_l3mdev_accept=1")
    box.machine.run("python3 -IS /root/serve.py any 8002 >/dev/null 2>&1 &")
    box.machine.run("systemctl start netbond")
    box.until(lambda: box.states() == UP)
    uplinks(box)
    box.machine.run(VRF)
    box.until(lambda: f"39: {FIRST}" in box.rules())
    office(box)
    uplinks(box)
    assert box.machine.out("netbond plan; echo $?").endswith("0\n")


def test_a_vrf_that_is_there_before(box: Box) -> None:
    box.machine.run("systemctl stop netbond")
    assert "proto netbond" not in box.rules()
    office(box)
    box.machine.run("systemctl start netbond")
    box.until(lambda: box.states() == UP and f"39: {FIRST}" in box.rules())
    office(box)
    uplinks(box)


def test_the_local_table_behind_the_vrfs(box: Box) -> None:
    """Where VyOS has it."""
    for family in ("-4", "-6"):
        box.machine.run(f"ip {family} rule add pref 32765 table local; ip {family} rule delete pref 0")
    box.until(lambda: f"38: {FIRST}\n39: from all lookup local proto netbond" in box.rules())
    office(box)
    uplinks(box)
    for family in ("-4", "-6"):
        box.machine.run(f"ip {family} rule add pref 0 table local; ip {family} rule delete pref 32765")
    box.until(lambda: f"39: {FIRST}" in box.rules())


IN_VRF = '[[uplink]]\nmatch = "eth5"\n'
WITH_GATEWAYS = f'{IN_VRF}gateway = ["10.0.0.1", "2001:db8::1"]\n'


def explained(box: Box, to: str, device: str) -> str:
    """Where `netbond explain` says that it goes; it agrees with the kernel."""
    said = box.machine.out(f"netbond explain {to} --dev {device}; echo $?")
    assert said.endswith("netbond intends the same.\n0\n"), said
    assert "differs" not in said, said
    return next(line.removeprefix("result: ") for line in said.splitlines() if line.startswith("result: "))


def test_an_uplink_in_a_vrf(box: Box) -> None:
    """Unbound traffic does not use it; what is bound to it does, by the VRF's table."""
    box.machine.write("/etc/netbond/netbond.toml", IN_VRF)
    box.machine.run("systemctl reload netbond")
    box.until(lambda: box.states() == {**UP, "eth5": "eth5 up"})
    of_eth5 = [each for each in box.glance()["uplinks"] if each["device"] == "eth5"]
    assert [(each["gateway"], each["in_ecmp"]) for each in of_eth5] == [
        ("10.0.0.1", False),
        ("2001:db8::1", False),
    ]
    assert {each["reason"].partition(":")[0] for each in of_eth5} == {"in VRF vrf-mgmt"}
    box.until(
        lambda: [h["state"] for h in box.glance().get("health", ()) if h["device"] == "eth5"] == 2 * ["up"]
    )
    office(box)
    uplinks(box)
    for to, gateway in ((FAR, "10.0.0.1"), (FAR6, "2001:db8::1")):
        for device in ("vrf-mgmt", "eth5"):
            assert explained(box, to, device) == f"via {gateway} dev eth5 (table 1000)"
    assert box.machine.out("netbond plan; echo $?").endswith("0\n")


def test_an_uplink_in_a_vrf_without_a_default(box: Box) -> None:
    """netbond's table has one, for what is bound to the uplink's interface."""
    box.machine.write("/etc/netbond/netbond.toml", WITH_GATEWAYS)
    box.machine.run("systemctl reload netbond")
    box.machine.run("ip route del default table 1000; ip -6 route del default table 1000")
    table = box.uplink("eth5")["table"]
    assert explained(box, FAR, "eth5") == f"via 10.0.0.1 dev eth5 (table {table})"
    assert explained(box, FAR6, "eth5") == f"via 2001:db8::1 dev eth5 (table {table})"
    assert calls(box, *({"to": to, "device": "eth5"} for to in (FAR, FAR6))) == [
        *("office 10.0.0.10", "office 2001:db8::10")
    ]
    uplinks(box)
    assert box.machine.out("netbond plan; echo $?").endswith("0\n")


# --- PPP ---------------------------------------------------------------------------------------------------

# The operator's end of a line, as the program that pppd talks to. Of both lines it has one address and one
# interface identifier, and it announces a prefix on each.
PEER = """\
#!/bin/sh
[ ! -e /run/cut$1 ] || exit 1
exec ip netns exec isp pppd notty nodetach noauth local nodefaultroute noccp novj \\
    ifname line$1 linkname line$1 \\
    10.64.64.64:10.64.1.$1 +ipv6 ipv6 ::64,::$1 lcp-echo-interval 1 lcp-echo-failure 5
"""
OF_LINE = """\
#!/bin/sh
case $1 in line?) ;; *) exit 0 ;; esac
ip address add 2001:db8:1:${1#line}::ff/64 dev $1
setsid python3 -IS /root/serve.py $1 810${1#line} $1 </dev/null >/dev/null 2>&1 &
"""
DIAL = """\
pppd pty "/root/peer %(number)d" ifname ppp%(number)d linkname ppp%(number)d noauth noipdefault noccp novj \\
    ipcp-accept-local ipcp-accept-remote +ipv6 ipv6 ::%(number)d,::64 persist maxfail 0 holdoff 1 \\
    </dev/null >/var/log/ppp%(number)d.log 2>&1 &
"""
ADVERTISE = """\
ip netns exec isp dnsmasq --port=0 --pid-file=/run/advertise.pid --bind-dynamic --interface=line* \\
    --enable-ra --dhcp-range=::,constructor:line*,ra-only --ra-param=line*,5
"""
CONFIG = """\
[[uplink]]
match = "ppp*"
gateway = "10.64.64.64"
"""
LINES = ("ppp1", "ppp2")
BOTH = {name: f"{name} up" for name in LINES}
ALL = {"-4": set(LINES), "-6": set(LINES)}


def by_line(box: Box, number: int) -> None:
    """What is bound to a line leaves by it: to the peer, into its network, and beyond."""
    address, port = f"10.64.1.{number}", 8100 + number
    of_line = f"2001:db8:1:{number}:"
    address6 = next(
        word.partition("/")[0]
        for word in box.machine.out(f"ip -6 address show dev ppp{number}").split()
        if word.startswith(of_line)
    )
    ways = [
        *({"to": to, "address": address} for to in ("10.64.64.64", "10.99.0.1", FAR)),
        *({"to": to, "device": f"ppp{number}"} for to in ("10.64.64.64", "10.99.0.1", FAR)),
        {"to": FAR6, "address": address6},
        {"to": FAR6, "device": f"ppp{number}"},
        {"to": f"fe80::64%ppp{number}"},
    ]
    # Only what comes in by this line is answered at its port.
    answers = calls(box, *({**way, "port": port} for way in ways))
    assert answers[:6] == [f"line{number} {address}"] * 6
    assert answers[6:8] == [f"line{number} {address6}"] * 2
    assert answers[8].startswith(f"line{number} fe80::{number}")


def test_two_ppp_lines_with_one_peer(box: Box) -> None:
    box.machine.run("systemctl stop netbond; ip link delete usb0; ip link delete usb1; ip link delete eth5")
    box.machine.write("/etc/netbond/netbond.toml", CONFIG)
    box.machine.write("/root/peer", PEER)
    box.machine.write("/etc/ppp/ipv6-up.d/line", OF_LINE)
    box.machine.run(f"chmod +x /root/peer /etc/ppp/ipv6-up.d/line; {ADVERTISE}")
    box.machine.run("ip -n isp address add 10.99.0.1/32 dev lo")
    for number in (1, 2):
        box.machine.run(DIAL % {"number": number})
    box.machine.run("systemctl start netbond")
    box.until(lambda: box.states() == BOTH and shared(box) == ALL)
    for number in (1, 2):  # both announce a network
        box.machine.run(f"ip route append 10.99.0.0/16 dev ppp{number} metric {number}")
    by_line(box, 1)
    by_line(box, 2)
    assert box.machine.out("netbond plan; echo $?").endswith("0\n")


def shared(box: Box) -> dict[str, set[str]]:
    """The devices of the shared default, by family."""
    found = {}
    for family in ("-4", "-6"):
        table = box.machine.run(f"ip {family} route show table netbond", check=False).out.split()
        found[family] = {word for word in table if word in LINES}
    return found


def test_a_line_that_is_cut_and_comes_back(box: Box) -> None:
    box.machine.run("touch /run/cut1; kill $(head -n 1 /run/ppp-line1.pid)")
    box.until(lambda: box.states() == {"ppp2": "ppp2 up"})
    assert shared(box) == {"-4": {"ppp2"}, "-6": {"ppp2"}}
    by_line(box, 2)
    rest = calls(box, *({"to": to, "port": 8102} for to in ("10.64.64.64", "10.99.0.1", FAR, FAR6)))
    assert all(answer.startswith("line2 ") for answer in rest), rest
    box.machine.run("rm /run/cut1")
    box.until(lambda: box.states() == BOTH and shared(box) == ALL)
    box.machine.run("ip route append 10.99.0.0/16 dev ppp1 metric 1")
    by_line(box, 1)
    by_line(box, 2)


def test_lines_without_a_gateway(box: Box) -> None:
    """Unbound IPv6 is shared, too, although the kernel takes no leg without a gateway beside others."""
    many = [f"2001:db8:f::{number}" for number in range(1, 13)]
    box.machine.run("; ".join(f"ip -n isp address replace {to}/128 dev lo" for to in many))
    box.machine.write("/etc/netbond/netbond.toml", CONFIG.replace('"10.64.64.64"', '"none"'))
    box.machine.run("systemctl reload netbond")
    box.until(lambda: {each["gateway"] for each in box.glance().get("uplinks", ())} == {None})
    box.until(lambda: shared(box) == ALL)
    by_line(box, 1)
    by_line(box, 2)
    # What leaves by a line is answered at its port, to its address.
    found = calls(box, *({"to": to, "port": port} for to in many for port in (8101, 8102)))
    by = [" ".join(found[place : place + 2]) for place in range(0, len(found), 2)]
    for number in (1, 2):
        assert any(f"line{number} 2001:db8:1:{number}:" in each for each in by), by
    assert all(each.count("Connection refused") == 1 for each in by), by
    assert box.machine.out("netbond plan; echo $?").endswith("0\n")


def test_the_journal_is_clean(box: Box) -> None:
    assert "Traceback" not in box.machine.out("journalctl -u netbond -o cat")
