"""The agent and real DHCP clients: several at once, and leases that change while others carry a flow."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.buses import PrivateBus
from tests.netns.agents import Agent
from tests.netns.box import sh, wait_for
from tests.netns.dhcpbox import NETBOND, ROOT, DhcpBox
from tests.netns.lan import Process
from tests.netns.nm import NetworkManagerBox

pytestmark = pytest.mark.root

SERVER = "198.51.100.1"

# A numbered datagram every 5 ms over one connected socket, from the time it says "ready" until it is asked.
SEND = f"""
import select, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 0))
sock.connect(({SERVER!r}, 9))
sent = errors = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.005)[0]:
    try:
        sock.send(b"%d" % sent)
        sent += 1
    except OSError:
        errors += 1
print(sent, errors, flush=True)
"""

COUNT = f"""
import select, socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE: beyond net.core.rmem_max
sock.bind(({SERVER!r}, 9))
seen, sources = set(), set()
print("ready", flush=True)
expected = None  # how many were sent, once that is known; they may be under way for a while
while expected is None or len(seen) < expected and time.monotonic() < deadline:
    readable = select.select([sock, sys.stdin], [], [], 0.1)[0]
    if sock in readable:
        data, source = sock.recvfrom(100)
        seen.add(data)
        sources.add(source[0])
    elif sys.stdin in readable:
        expected, deadline = int(sys.stdin.readline()), time.monotonic() + 30
print(len(seen), *sources, flush=True)
"""

CLIENT = """
timeout 5;
retry 1;
initial-interval 1;
backoff-cutoff 1;
request subnet-mask, routers;
supersede dhcp-renewal-time 2;
supersede dhcp-rebinding-time 100;
"""


@contextmanager
def another_uplink(stack: ExitStack, namespace: str, device: str, network: str) -> Iterator[str]:
    """A static uplink whose far end has the server, and a default in main; the name of its modem."""
    modem = f"{namespace}x"
    sh("ip", "netns", "add", modem)
    stack.callback(sh, "ip", "netns", "del", modem, check=False)
    for words in (
        f"-n {namespace} link add {device} type veth peer name lan netns {modem}",
        f"-n {namespace} link set {device} up",
        f"-n {namespace} addr add {network}.10/24 dev {device}",
        f"-n {namespace} route add default via {network}.1 dev {device} metric 500",
        f"-n {modem} addr add {network}.1/24 dev lan",
        f"-n {modem} addr add {SERVER} dev lo",
        f"-n {modem} link set lan up",
        f"-n {modem} link set lo up",
    ):
        sh("ip", *words.split())
    yield modem


@contextmanager
def flow(namespace: str, modem: str, source: str) -> Iterator[None]:
    """Within, datagrams go from `source` to the server; each of them has to arrive."""
    count = Process(modem, COUNT)
    try:
        send = Process(namespace, SEND, source)
        try:
            yield
            sent, errors = map(int, send.ask("stop").split())
            seen, *sources = count.ask(str(sent)).split()
        finally:
            send.stop()
    finally:
        count.stop()
    print(f"{sent} datagrams sent, {seen} arrived, {errors} errors")
    assert errors == 0
    assert sent > 20
    assert int(seen) == sent
    assert sources == [source]


@contextmanager
def dhclient(box: DhcpBox) -> Iterator[subprocess.Popen[bytes]]:
    """A real one on usb0, which renews its lease each two seconds."""
    conf = box.folder / "dhclient.conf"
    conf.write_text(CLIENT)
    names = ["-cf", str(conf), "-pf", f"{box.folder}/dhclient.pid", "-lf", f"{box.folder}/dhclient.leases"]
    with (box.folder / "dhclient.log").open("wb") as log:
        client = subprocess.Popen(box.inside("dhclient", "-4", "-d", *names, "usb0"), stdout=log, stderr=log)
    try:
        yield client
    finally:
        client.terminate()
        client.wait(40)


def test_leases_that_change(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A new gateway, a new address, a shrunk subnet: each time, what was goes and what is comes."""
    with ExitStack() as stack:
        box = stack.enter_context(DhcpBox(tmp_path_factory.mktemp("d")))
        modem = stack.enter_context(another_uplink(stack, box.name, "usb1", "10.1.0"))
        agent = stack.enter_context(Agent(box.folder, box.name, box.inside))
        agent.configure()
        agent.start()
        box.serve("--dhcp-option=3,192.168.8.1")
        stack.enter_context(dhclient(box))

        def routed(address: str, gateway: str, network: str) -> bool:
            rules = [
                rule for rule in agent.rules().splitlines() if "lookup 100" in rule and "oif" not in rule
            ]
            return (
                len(rules) == 1
                and f"from {address} lookup 100" in rules[0]
                and f"default via {gateway} dev usb0" in agent.table(100)
                and f"{network} dev usb0" in agent.table(100)
                and f"via {gateway} dev usb0" in agent.table(222)
            )

        def comes(address: str, gateway: str, network: str) -> None:
            wait_for(
                lambda: routed(address, gateway, network),
                25,
                f"{address} via {gateway}: {agent.rules()}; {agent.table(100)}",
            )

            def as_main() -> bool:
                """One default, and what main has: dhclient leaves the network of the mask before there."""
                networks = agent.ip("-4", "route", "show", "dev", "usb0", "proto", "kernel").splitlines()
                return agent.table(100).count("dev usb0") == 1 + len(networks)

            wait_for(as_main, 5, f"one default, and main's networks: {agent.table(100)}")
            wait_for(
                lambda: agent.uplinks().get("usb0", {}).get("gateway_source") == "dhclient",
                10,
                "the hook's word",
            )

        comes("192.168.8.100", "192.168.8.1", "192.168.8.0/24")
        with flow(box.name, modem, "10.1.0.10"):
            # A renewal with another gateway, which is there: dhclient leaves the old default in main, and it
            # stays in use as long as the new one is silent.
            sh("ip", "-n", box.modem, "addr", "add", "192.168.8.9/32", "dev", "eth0")
            box.serve("--dhcp-option=3,192.168.8.9")
            comes("192.168.8.100", "192.168.8.9", "192.168.8.0/24")
            box.serve("--dhcp-option=3,192.168.8.1", address="192.168.8.120")  # refused, then another address
            comes("192.168.8.120", "192.168.8.1", "192.168.8.0/24")
            box.serve(
                "--dhcp-option=3,192.168.8.1", "--dhcp-option=1,255.255.255.128", address="192.168.8.20"
            )
            comes("192.168.8.20", "192.168.8.1", "192.168.8.0/25")
            # The same address in another network: dhclient sets it beside the one it has.
            for mask, network in (("192", "192.168.8.0/26"), ("0", "192.168.8.0/24")):
                box.serve(
                    *("--dhcp-option=3,192.168.8.1", f"--dhcp-option=1,255.255.255.{mask}"),
                    address="192.168.8.20",
                )
                comes("192.168.8.20", "192.168.8.1", network)
        assert "192.168.8.120" not in agent.rules()
        wait_for(lambda: agent.problems() == [], 5, "nothing to say")


def test_networkmanager_dhclient_and_static_at_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        bus = stack.enter_context(PrivateBus())
        nm = stack.enter_context(NetworkManagerBox(tmp_path, bus, "x"))
        modem = stack.enter_context(another_uplink(stack, nm.namespace, "eth2", "10.32.0"))
        sh("ip", "-n", nm.namespace, "route", "del", "default")  # its gateway is configured

        # What /etc has in this namespace: dhclient's hooks, and where netbond is.
        etc = Path("/etc/netns", nm.namespace)
        stack.callback(shutil.rmtree, etc, ignore_errors=True)
        (etc / "dhcp/dhclient-exit-hooks.d").mkdir(parents=True)
        shutil.copy(ROOT / "contrib/dhclient-hooks/netbond", etc / "dhcp/dhclient-exit-hooks.d/netbond")
        (etc / "default").mkdir()
        (etc / "resolv.conf").touch()
        folder = tmp_path / "agent"
        folder.mkdir()
        (etc / "default/netbond").write_text(f"NETBOND={NETBOND}\nNETBOND_CONFIG={folder}/netbond.toml\n")

        def inside(*words: str) -> list[str]:
            return ["ip", "netns", "exec", nm.namespace, *words]

        agent = stack.enter_context(
            Agent(folder, nm.namespace, inside, {"DBUS_SYSTEM_BUS_ADDRESS": bus.address})
        )
        agent.configure('[[uplink]]\nmatch = "eth2"\ngateway = "10.32.0.1"\n')
        nm.profile("usb0", "never-default=true\n")
        nm.start()
        agent.start()
        with flow(nm.namespace, modem, "10.32.0.10"):
            nm.plug("usb0", "10.30.0")
            nm.plug("eth1", "10.31.0")
            files = ["-pf", f"{tmp_path}/dh.pid", "-lf", f"{tmp_path}/dh.leases"]
            with (tmp_path / "dh.log").open("wb") as log:
                client = subprocess.Popen(
                    inside("dhclient", "-4", "-d", *files, "eth1"), stdout=log, stderr=log
                )
            try:

                def sources() -> dict[str, str]:
                    return {d: f"{u['gateway']} {u['gateway_source']}" for d, u in agent.uplinks().items()}

                expected = {
                    "usb0": "10.30.0.1 NetworkManager",
                    "eth1": "10.31.0.1 dhclient",
                    "eth2": "10.32.0.1 configuration",
                }
                wait_for(lambda: sources() == expected, 25, f"{sources()}")
            finally:
                client.terminate()
                client.wait(40)
        for device, table, gateway in (("usb0", 100, 30), ("eth1", 111, 31), ("eth2", 112, 32)):
            assert f"default via 10.{gateway}.0.1 dev {device}" in agent.table(table)
            assert f"dev {device}" in agent.table(222)
            assert f"oif {device} lookup {table}" in agent.rules()
        wait_for(lambda: agent.problems() == [], 5, "nothing to say")
