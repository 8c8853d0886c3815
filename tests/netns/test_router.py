"""Router mode with real flows: a LAN client, a box with two uplinks, and a server that says whom it sees."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest

from netbond.config import RouterConfig
from netbond.model import Address, Uplink
from netbond.router import mark, mark_rules, ruleset
from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

SERVER, SERVER6 = "203.0.113.1", "2001:db8:f::1"
CONFIG = RouterConfig(lan=("eth1",))


def uplink(number: int, version: int = 4) -> Uplink:
    """usbN with 10.0.N.10 (2001:db8:N::10) and table 100 + N."""
    text = f"10.0.{number}.10/24" if version == 4 else f"2001:db8:{number}::10/64"
    interface = ipaddress.ip_interface(text)
    address = Address(f"usb{number}", interface)
    return Uplink(f"usb{number}", interface, None, "test", table=100 + number, addresses=(address,))


def named(uplink: Uplink, names: Collection[str]) -> bool:
    """Whether one of the names is its device's: "usb0", or "usb0/6" for that family alone."""
    return uplink.device in names or f"{uplink.device}/{uplink.address.version}" in names


UPLINKS = (uplink(0), uplink(1))

# The server's side: each datagram, or each line of a TCP connection, is answered with the sender's address.
ECHO = f"""
import selectors, socket, sys
found = selectors.DefaultSelector()
for family, host in ((socket.AF_INET, {SERVER!r}), (socket.AF_INET6, {SERVER6!r})):
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((host, 7))
    found.register(udp, 1, "udp")
    tcp = socket.create_server((host, 7), family=family)
    found.register(tcp, 1, "listen")
print("ready", flush=True)
while True:
    for key, _ in found.select():
        one = key.fileobj
        if key.data == "udp":
            data, peer = one.recvfrom(2000)
            try:
                one.sendto(peer[0].encode(), peer)
            except OSError:
                pass  # no way back to where it came from
        elif key.data == "listen":
            connection, peer = one.accept()
            connection.setblocking(True)
            found.register(connection, 1, peer[0])
        else:
            try:
                data = one.recv(2000)
            except OSError:
                data = b""
            if data == b"mss":
                one.send(str(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)).encode())
            elif data:
                one.send(key.data.encode())
            else:
                found.unregister(one)
                one.close()
"""

# The client's side: "udp N HOST" and "tcp N HOST" open flow N, "ask N [WORD]" asks the server over it.
FLOWS = """
import socket, sys
flows = {}
print("ready", flush=True)
for line in sys.stdin:
    verb, number, *rest = line.split()
    try:
        if verb == "ask":
            flows[number].send((rest or ["who"])[0].encode())
            print(flows[number].recv(2000).decode() or "closed", flush=True)
        else:
            family = socket.AF_INET6 if ":" in rest[0] else socket.AF_INET
            kind = socket.SOCK_DGRAM if verb == "udp" else socket.SOCK_STREAM
            one = flows[number] = socket.socket(family, kind)
            one.settimeout(0.5)
            one.connect((rest[0], int(rest[1]) if rest[1:] else 7))
            print("open", flush=True)
    except TimeoutError:
        print("timeout", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""

# The client as a server.
PONG = """
import socket
one = socket.socket(type=socket.SOCK_DGRAM)
one.bind(("", 9000))
print("ready", flush=True)
while True:
    one.sendto(b"pong", one.recvfrom(2000)[1])
"""

# In the box: what the agent does when the uplinks that live have changed.
APPLY = """
import asyncio, json, sys
from pathlib import Path
from netbond import nft, router
what = json.load(sys.stdin)
table = nft.Table(Path(what["state"]))
async def main():
    changed = await table.apply(what["text"])
    nft.release([router.Mark(*each) for each in what["release"]], what["mask"])
    print(json.dumps(changed))
asyncio.run(main())
"""

# In the box: the agent's router mode itself. Each line names the uplinks that live; the answer is whether
# somebody's change of rules was heard of since the line before, and what the table needed.
AGENT = """
import asyncio, ipaddress, sys
from pathlib import Path
from netbond import config, model, nft
settings = config.parse(sys.argv[2])
def uplink(number):
    address = model.Address(f"usb{number}", ipaddress.ip_interface(f"10.0.{number}.10/24"))
    device, interface, table = address.device, address.interface, 100 + number
    return model.Uplink(device, interface, None, "test", table=table, addresses=(address,))
async def main():
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()
    router = nft.Router(Path(sys.argv[1]))
    uplinks, links = [uplink(0), uplink(1)], [model.Link("eth1", 9)]
    print("ready", flush=True)
    with nft.watch(heard.set):
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            news = "heard" if heard.is_set() else "quiet"
            lives = lambda uplink: uplink.device in line.split()
            text = await router.pending(uplinks, links, settings, lives)
            assert await router.sync(uplinks, links, settings, lives) == []
            assert await router.pending(uplinks, links, settings, lives) == ""
            await asyncio.sleep(0.05)
            heard.clear()
            print(news, text.partition(chr(10))[0] or "nothing", flush=True)
    await router.remove()
asyncio.run(main())
"""


class Process:
    """A Python script in a namespace, spoken to by lines."""

    def __init__(self, namespace: str, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


class Lan(Box):
    """A Box whose far side is the internet with one server, and a third namespace with a LAN client."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.client_space = f"{self.name}c"
        self.processes: list[Process] = []

    def prepare(self) -> None:
        """Make it all."""
        sh("ip", "netns", "add", self.client_space)
        # IPv6 addresses at once, without duplicate address detection
        for space in (self.name, self.far, self.client_space):
            sh("ip", "netns", "exec", space, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        self.plug("usb0", 0, default=False)
        self.plug("usb1", 1, default=False)
        far, client = ("ip", "-n", self.far), ("ip", "-n", self.client_space)
        sh(*far, "addr", "add", f"{SERVER}/32", "dev", "lo")
        sh(*far, "addr", "add", f"{SERVER6}/128", "dev", "lo")
        self.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", self.client_space)
        self.ip("addr", "add", "192.168.50.1/24", "dev", "eth1")
        self.ip("addr", "add", "fd50::1/64", "dev", "eth1")
        self.ip("link", "set", "eth1", "up")
        sh(*client, "link", "set", "eth0", "up")
        sh(*client, "addr", "add", "192.168.50.2/24", "dev", "eth0")
        sh(*client, "addr", "add", "fd50::2/64", "dev", "eth0")
        sh(*client, "route", "add", "default", "via", "192.168.50.1")
        sh(*client, "route", "add", "default", "via", "fd50::1")
        for number in (0, 1):
            self.ip("addr", "add", f"2001:db8:{number}::10/64", "dev", f"usb{number}")
            sh(*far, "addr", "add", f"2001:db8:{number}::1/64", "dev", f"p{number}")
            table = str(100 + number)
            self.ip("route", "add", "default", "via", f"10.0.{number}.1", "table", table)
            self.ip("-6", "route", "add", "default", "via", f"2001:db8:{number}::1", "table", table)
        for setting in (
            "ipv4.fib_multipath_hash_policy=1",
            "ipv4.ip_forward=1",
            "ipv6.conf.all.forwarding=1",
        ):
            self.run("sysctl", "-qw", f"net.{setting}")
        for family, main in (("-4", "50"), ("-6", "50")):
            self.ip(family, "rule", "add", "pref", main, "lookup", "main", "suppress_prefixlength", "0")
            self.ip(family, "rule", "add", "pref", "222", "lookup", "222")
        for rule in mark_rules([*UPLINKS, uplink(0, 6), uplink(1, 6)], replace(CONFIG, ipv6="masquerade")):
            words = f"rule add pref {rule.priority} fwmark {rule.mark:#x}/{rule.mask:#x} lookup {rule.table}"
            self.ip(f"-{rule.family}", *words.split())
        self.ecmp(0, 1)
        self.processes.append(Process(self.far, ECHO))
        self.flows = Process(self.client_space, FLOWS)
        self.processes.append(self.flows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.stop()
        sh("ip", "netns", "del", self.client_space, check=False)
        super().__exit__(kind, error, trace)

    def ecmp(self, *numbers: int) -> None:
        """The default of table 222: these uplinks, with equal weights."""
        legs = [word for n in numbers for word in f"nexthop via 10.0.{n}.1 dev usb{n}".split()]
        self.ip("route", "replace", "default", "table", "222", *legs)

    def apply(
        self,
        config: RouterConfig = CONFIG,
        live: Collection[str] = ("usb0", "usb1"),
        release: Collection[str] = (),
        uplinks: Sequence[Uplink] = UPLINKS,
    ) -> bool:
        """Put the rules there, and delete the connections of the uplink `release`; whether they changed."""
        what = {
            "state": str(self.folder),
            "text": ruleset(uplinks, ["eth1"], config, lambda uplink: named(uplink, live)),
            "release": [
                (mark(uplink.table, config.mark_mask), uplink.address.version)
                for uplink in uplinks
                if named(uplink, release)
            ],
            "mask": config.mark_mask,
        }
        command = ["ip", "netns", "exec", self.name, sys.executable, "-c", APPLY]
        done = subprocess.run(command, input=json.dumps(what), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return bool(json.loads(done.stdout))

    def open(self, kind: str, numbers: range, host: str = SERVER) -> dict[int, str]:
        """New flows of the client, and the addresses that the server sees them come from."""
        for number in numbers:
            assert self.flows.ask(f"{kind} {number} {host}") == "open"
        return self.seen(numbers)

    def seen(self, numbers: Collection[int]) -> dict[int, str]:
        """By flow, the address that the server sees it come from."""
        return {number: self.flows.ask(f"ask {number}") for number in numbers}

    def lose(self, number: int) -> None:
        """The uplink keeps its carrier and address, and nothing comes through: a modem without signal."""
        hook = f"{{ type filter hook ingress device p{number} priority 0; policy drop; }}"
        self.far_nft(f"add table netdev loss\nadd chain netdev loss p{number} {hook}\n")

    def far_nft(self, text: str) -> None:
        """nft text for the internet's namespace."""
        command = ["ip", "netns", "exec", self.far, "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True)

    def nft(self, *words: str) -> str:
        """nft in the box."""
        return self.run("nft", *words)

    def connections(self, number: int) -> int:
        """How many connections in the box have the mark of usbN."""
        value = mark(100 + number, CONFIG.mark_mask)
        table = self.run("cat", "/proc/net/nf_conntrack").splitlines()
        return sum(f"mark={value} " in line for line in table)


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
    assert lan.seen(lost[:2]) == dict.fromkeys(lost[:2], "timeout")
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
        assert asking.ask("ask 0") == answer
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
    assert lan.seen(range(1)) == {0: "timeout"}  # it left with the LAN's address, which has no way back
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
    for rule in mark_rules([second], CONFIG):
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
    # What comes in by either is marked by the address that it is sent to.
    sh("ip", "netns", "exec", lan.far, sys.executable, "-c",
       "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('10.0.9.10', 9))")  # fmt: skip
    arrived = [line for line in lan.run("cat", "/proc/net/nf_conntrack").splitlines() if "dport=9 " in line]
    assert [f"mark={131 << 24} " in line for line in arrived] == [True]


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
        assert agent.process.wait(10) == 0
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
            assert asking.ask("ask 0") == "timeout"
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
from netbond import nft, router
from netbond.errors import NetbondError
if sys.argv[1] == "nobody":
    nft.program()
    os.setuid(65534)
for attempt in (
    lambda: asyncio.run(nft.feed(sys.argv[2])),
    lambda: nft.release([router.Mark(0x64000000, 4)], 0xFF000000),
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
        ("root", "table inet netbond {", ["NftError nft refused the rules of router mode: ", "done", "done"]),
        (
            "root",
            "table inet netbond\nadd rule inet netbond missing meta mark 1\n",
            ["NftError nft refused the rules of router mode: ", "done", "done"],
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
