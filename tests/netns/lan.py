"""Makes a box in router mode, with a LAN client and a server that reports its peer's address. Needs root."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from netbond.config.schema import RouterConfig
from netbond.lan import mark_rules, mark_value
from netbond.model import Address, Uplink, UplinkState
from netbond.router.ruleset import ruleset
from tests.netns.box import Box, sh

SERVER, SERVER6 = "203.0.113.1", "2001:db8:f::1"
CONFIG = RouterConfig(lan=("eth1",))


def uplink(number: int, version: int = 4) -> Uplink:
    """Return the uplink usbN with 10.0.N.10 (2001:db8:N::10) and table 100 + N."""
    text = f"10.0.{number}.10/24" if version == 4 else f"2001:db8:{number}::10/64"
    interface = ipaddress.ip_interface(text)
    address = Address(f"usb{number}", interface)
    return Uplink(f"usb{number}", interface, None, "test", table=100 + number, addresses=(address,))


def named(uplink: Uplink, names: Collection[str]) -> bool:
    """Whether one of the names is its device's: "usb0", or "usb0/6" for only that family."""
    return uplink.device in names or f"{uplink.device}/{uplink.address.version}" in names


UPLINKS = (uplink(0), uplink(1))

# The server: it answers each datagram, and each line of a TCP connection, with the sender's address.
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
                pass  # there is no route back to the sender
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

# The client: "udp N HOST" and "tcp N HOST" open flow N, "ask N [WORD]" asks the server over it, and "try N"
# does so when no answer is expected.
FLOWS = """
import socket, sys
flows = {}
print("ready", flush=True)
for line in sys.stdin:
    verb, number, *rest = line.split()
    try:
        if verb in ("ask", "try"):
            flows[number].settimeout(5 if verb == "ask" else 0.5)
            flows[number].send((rest or ["who"])[0].encode())
            print(flows[number].recv(2000).decode() or "closed", flush=True)
        else:
            family = socket.AF_INET6 if ":" in rest[0] else socket.AF_INET
            kind = socket.SOCK_DGRAM if verb == "udp" else socket.SOCK_STREAM
            one = flows[number] = socket.socket(family, kind)
            one.settimeout(5)
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

# In the box: what the agent does when the set of live uplinks has changed.
APPLY = """
import asyncio, json, sys
from pathlib import Path
from netbond.lan import Mark
from netbond.router import nft
what = json.load(sys.stdin)
table = nft.Table(Path(what["state"]))
async def main():
    changed = await table.apply(what["text"])
    nft.release([Mark(*each) for each in what["release"]], what["mask"])
    print(json.dumps(changed))
asyncio.run(main())
"""

# In the box: the agent's router mode itself. Each line names the live uplinks; the answer says whether
# another program has changed rules since the line before, and which changes the table needed.
AGENT = """
import asyncio, ipaddress, sys
from pathlib import Path
from netbond import model
from netbond.config.load import parse
from netbond.lan import Lan
from netbond.router import nft
settings = parse(sys.argv[2]).router
def uplink(number, live):
    address = model.Address(f"usb{number}", ipaddress.ip_interface(f"10.0.{number}.10/24"))
    device, interface, table = address.device, address.interface, 100 + number
    state = "up" if device in live else "dead"
    return model.Uplink(device, interface, None, "test", table=table, addresses=(address,), state=state)
async def main():
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()
    router = nft.Router(Path(sys.argv[1]))
    inside = Lan(("eth1",))
    print("ready", flush=True)
    with nft.watch(heard.set):
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            news = "heard" if heard.is_set() else "quiet"
            uplinks = [uplink(number, line.split()) for number in (0, 1)]
            text = await router.pending(uplinks, inside, settings)
            assert await router.sync(uplinks, inside, settings) == []
            assert await router.pending(uplinks, inside, settings) == ""
            await asyncio.sleep(0.05)
            heard.clear()
            print(news, text.partition(chr(10))[0] or "nothing", flush=True)
    await router.remove()
asyncio.run(main())
"""


class Process:
    """A Python script in a namespace that is controlled by lines of text."""

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
        """Make the namespaces and start the scripts."""
        sh("ip", "netns", "add", self.client_space)
        # link-local addresses at once, without duplicate address detection
        for space in (self.name, self.far, self.client_space):
            sh("ip", "netns", "exec", space, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        self.plug("usb0", 0, default=False)
        self.plug("usb1", 1, default=False)
        far, client = ("ip", "-n", self.far), ("ip", "-n", self.client_space)
        sh(*far, "addr", "add", f"{SERVER}/32", "dev", "lo")
        sh(*far, "addr", "add", f"{SERVER6}/128", "dev", "lo", "nodad")
        self.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", self.client_space)
        self.ip("addr", "add", "192.168.50.1/24", "dev", "eth1")
        self.ip("addr", "add", "fd50::1/64", "dev", "eth1", "nodad")
        self.ip("link", "set", "eth1", "up")
        sh(*client, "link", "set", "eth0", "up")
        sh(*client, "addr", "add", "192.168.50.2/24", "dev", "eth0")
        sh(*client, "addr", "add", "fd50::2/64", "dev", "eth0", "nodad")
        sh(*client, "route", "add", "default", "via", "192.168.50.1")
        sh(*client, "route", "add", "default", "via", "fd50::1")
        for number in (0, 1):
            self.ip("addr", "add", f"2001:db8:{number}::10/64", "dev", f"usb{number}", "nodad")
            sh(*far, "addr", "add", f"2001:db8:{number}::1/64", "dev", f"p{number}", "nodad")
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
        for rule in mark_rules(
            [*UPLINKS, uplink(0, 6), uplink(1, 6)], replace(CONFIG, ipv6="masquerade"), 78
        ):
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
        """Set the default of table 222 to these uplinks, with equal weights."""
        legs = [word for n in numbers for word in f"nexthop via 10.0.{n}.1 dev usb{n}".split()]
        self.ip("route", "replace", "default", "table", "222", *legs)

    def apply(
        self,
        config: RouterConfig = CONFIG,
        live: Collection[str] = ("usb0", "usb1"),
        release: Collection[str] = (),
        uplinks: Sequence[Uplink] = UPLINKS,
    ) -> bool:
        """Apply the rules, and delete the connections of the uplinks `release`; return if rules changed."""
        what = {
            "state": str(self.folder),
            "text": ruleset(
                [replace(u, state=UplinkState.UP if named(u, live) else UplinkState.DEAD) for u in uplinks],
                ["eth1"],
                config,
            ),
            "release": [
                (mark_value(uplink.table, config.mark_mask), uplink.address.version)
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
        """Open new flows of the client; return the source addresses that the server sees."""
        for number in numbers:
            assert self.flows.ask(f"{kind} {number} {host}") == "open"
        return self.seen(numbers)

    def seen(self, numbers: Collection[int], verb: str = "ask") -> dict[int, str]:
        """Return the source address that the server sees, by flow."""
        return {number: self.flows.ask(f"{verb} {number}") for number in numbers}

    def lose(self, number: int) -> None:
        """Let the uplink keep carrier and address, but carry nothing, like a modem without signal."""
        hook = f"{{ type filter hook ingress device p{number} priority 0; policy drop; }}"
        self.far_nft(f"add table netdev loss\nadd chain netdev loss p{number} {hook}\n")

    def far_nft(self, text: str) -> None:
        """Run nft text in the internet's namespace."""
        command = ["ip", "netns", "exec", self.far, "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True)

    def nft(self, *words: str) -> str:
        """Run nft in the box."""
        return self.run("nft", *words)

    def connections(self, number: int) -> int:
        """Return the number of connections in the box with the mark of usbN."""
        value = mark_value(100 + number, CONFIG.mark_mask)
        table = self.run("cat", "/proc/net/nf_conntrack").splitlines()
        return sum(f"mark={value} " in line for line in table)
