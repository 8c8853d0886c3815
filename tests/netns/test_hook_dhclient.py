"""The dhclient hook with a real dhclient and a real DHCP server, in namespaces of their own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from netbond.dhcp.store import LeaseStore
from netbond.system import clock
from tests import ready
from tests.netns.box import PATIENCE
from tests.netns.dhcpbox import dhcp_server

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
NETBOND = Path(sys.executable).parent / "netbond"


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@dataclass
class Box:
    """A namespace with usb0, and a modem with a DHCP server at its other end."""

    name: str
    folder: Path
    server: subprocess.Popen[bytes] | None = None

    @property
    def modem(self) -> str:
        return f"{self.name}m"

    @property
    def store(self) -> LeaseStore:
        return LeaseStore(self.folder / "state" / "leases")

    def serve(self, first: str, last: str, *options: str, seconds: int = 120) -> None:
        self.stop_serving()
        self.server = dhcp_server(self.modem, f"{first},{last},{seconds}", *options)

    def patience(self, seconds: int) -> None:
        """How long dhclient waits for a server, from its next start on."""
        text = f"timeout {seconds};\nreboot 1;\nrequest subnet-mask, routers;\n"
        Path("/etc/netns", self.name, "dhcp", "dhclient.conf").write_text(text)

    def stop_serving(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(20)
            self.server = None

    def dhclient(self, *options: str) -> None:
        names = {"-pf": "dhclient.pid", "-lf": "dhclient.leases", "-sf": "script"}
        files = [word for option, name in names.items() for word in (option, str(self.folder / name))]
        sh("ip", "netns", "exec", self.name, "dhclient", "-4", *files, *options, "usb0")

    def stop_client(self) -> None:
        """Kill what runs in the box; a pid file would not do, as dhclient writes it only once it is bound."""
        deadline = time.monotonic() + 5 * PATIENCE
        listing = ["ip", "netns", "pids", self.name]
        while pids := subprocess.run(listing, capture_output=True, text=True).stdout.split():
            assert time.monotonic() < deadline, f"{pids} do not end"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.02)

    def leases(self) -> list[tuple[str, str, str, tuple[IPv4Address | IPv6Address, ...]]]:
        return [(x.device, x.source, str(x.address), x.routers) for x in self.store.load()]


@pytest.fixture
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("b")
    box = Box(f"nbhook{os.getpid()}", folder)
    etc = Path("/etc/netns") / box.name
    hooks = etc / "dhcp" / "dhclient-exit-hooks.d"
    hooks.mkdir(parents=True)
    shutil.copy(ROOT / "contrib/dhclient-hooks/netbond", hooks / "netbond")
    # A hook after ours sees what ours left of the client's shell.
    (hooks / "zz-after").write_text(f'echo "$reason $interface $new_routers" >>"{folder}/after"\n')
    box.patience(20)
    (etc / "resolv.conf").touch()
    (etc / "default").mkdir()
    # dhclient-script tries an old lease by ping, which a small machine may lack.
    script = folder / "script"
    script.write_text(f'#!/bin/sh\nPATH="$PATH:{folder}"\n. /sbin/dhclient-script\n')
    script.chmod(0o755)
    # dhclient-script asks the router once and grants it a second, which on a busy machine is not enough.
    (folder / "ping").write_text(
        '#!/bin/sh\nfor i in 1 2 3 4; do busybox ping -W 1 "$@" && exit 0; done\nexit 1\n'
    )
    (folder / "ping").chmod(0o755)
    config = folder / "netbond.toml"
    config.write_text(
        f'[agent]\nstate_dir = "{folder}/state"\ndata_dir = "{folder}/data"\n'
        f'control_socket = "{folder}/c.sock"\n'
        f'ip_list = "{folder}/ips"\nmetrics = ""\niproute2_dir = ""\n'
    )
    (etc / "default" / "netbond").write_text(f"NETBOND={NETBOND}\nNETBOND_CONFIG={config}\n")
    try:
        sh("ip", "netns", "add", box.name)
        sh("ip", "netns", "add", box.modem)
        words = ["type", "veth", "peer", "name", "eth0", "netns", box.modem]
        sh("ip", "-n", box.name, "link", "add", "usb0", *words)
        sh("ip", "-n", box.modem, "address", "add", "192.168.8.1/24", "dev", "eth0")
        sh("ip", "-n", box.modem, "link", "set", "eth0", "up")
        yield box
    finally:
        box.stop_client()
        box.stop_serving()
        for name in (box.name, box.modem):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
        shutil.rmtree(etc)


def test_bound_and_released_without_an_agent(box: Box) -> None:
    box.serve("192.168.8.100", "192.168.8.100")
    box.dhclient("-1")
    assert box.leases() == [("usb0", "dhclient", "192.168.8.100/24", (IPv4Address("192.168.8.1"),))]
    assert abs(box.store.load()[0].received - clock.now()) < 60
    box.dhclient("-r")
    assert box.leases() == []
    after = (box.folder / "after").read_text().splitlines()
    assert after[:2] == ["PREINIT usb0 ", "BOUND usb0 192.168.8.1"]
    assert "RELEASE usb0 " in after


def test_several_routers_keep_their_order(box: Box) -> None:
    box.serve("192.168.8.100", "192.168.8.100", "--dhcp-option=3,192.168.8.9,192.168.8.1")
    box.dhclient("-1")
    routers = (IPv4Address("192.168.8.9"), IPv4Address("192.168.8.1"))
    assert box.leases() == [("usb0", "dhclient", "192.168.8.100/24", routers)]


def test_classless_routes_go_ahead_of_routers(box: Box) -> None:
    (Path("/etc/netns") / box.name / "dhcp/dhclient.conf").write_text(
        "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n"
        "request subnet-mask, routers, rfc3442-classless-static-routes;\n"
    )
    box.serve(
        "192.168.8.100", "192.168.8.100", "--dhcp-option=3,192.168.8.9",
        "--dhcp-option=121,10.0.0.0/8,192.168.8.7,0.0.0.0/0,192.168.8.1",
    )  # fmt: skip
    box.dhclient("-1")
    assert box.leases() == [("usb0", "dhclient", "192.168.8.100/24", (IPv4Address("192.168.8.1"),))]


def test_a_server_without_a_router(box: Box) -> None:
    box.serve("192.168.8.100", "192.168.8.100", "--dhcp-option=3")
    box.dhclient("-1")
    assert box.leases() == [("usb0", "dhclient", "192.168.8.100/24", ())]


def test_renumbering_leaves_one_lease(box: Box) -> None:
    box.serve("192.168.8.100", "192.168.8.100")
    box.dhclient("-1")
    box.stop_client()
    box.serve("192.168.8.200", "192.168.8.200")
    box.dhclient("-1")
    assert [address for _, _, address, _ in box.leases()] == ["192.168.8.200/24"]


def test_a_lease_that_does_not_answer_is_not_kept(box: Box) -> None:
    box.serve("192.168.8.100", "192.168.8.100")
    box.dhclient("-1")
    box.stop_client()
    box.stop_serving()
    assert len(box.leases()) == 1
    box.patience(2)
    sh("ip", "-n", box.modem, "address", "flush", "dev", "eth0")  # nothing answers: TIMEOUT, ping, FAIL
    with pytest.raises(AssertionError):
        box.dhclient("-1")
    assert "TIMEOUT usb0 192.168.8.1" in (box.folder / "after").read_text()
    assert box.leases() == []


def test_a_lease_whose_router_answers_is_kept_without_a_server(box: Box) -> None:
    box.serve("192.168.8.100", "192.168.8.100")
    box.dhclient("-1")
    box.stop_client()
    box.stop_serving()
    store = box.store
    store.forget("usb0")
    box.patience(2)
    box.dhclient("-1")
    assert "TIMEOUT usb0 192.168.8.1" in (box.folder / "after").read_text()
    assert box.leases() == [("usb0", "dhclient", "192.168.8.100/24", (IPv4Address("192.168.8.1"),))]


def test_an_agent_is_told_and_a_hanging_one_holds_up_nobody(box: Box) -> None:
    lines: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(box.folder / "c.sock"))
        server.listen(5)
        server.settimeout(60)

        def agent() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as reader:
                lines.append(reader.readline())
                reader.read()  # never a word; until the hook goes

        thread = threading.Thread(target=agent)
        thread.start()
        box.serve("192.168.8.100", "192.168.8.100")
        box.dhclient("-1")
        thread.join(60)
        assert [json.loads(line) for line in lines] == [
            {"command": "hook", "source": "dhclient", "device": "usb0"}
        ]
        assert len(box.leases()) == 1
        # Nobody accepts any more.
        started = time.monotonic()
        box.dhclient("-r")
        assert time.monotonic() - started < 5 * PATIENCE
        assert box.leases() == []


def test_a_real_agent_has_the_gateway_that_only_the_hook_knows(box: Box) -> None:
    """The default is among the classless routes, and nothing puts those into main here."""
    (Path("/etc/netns") / box.name / "dhcp/dhclient.conf").write_text(
        "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n"
        "request subnet-mask, routers, rfc3442-classless-static-routes;\n"
    )
    box.serve("192.168.8.100", "192.168.8.100", "--dhcp-option=121,0.0.0.0/0,192.168.8.1")

    def table(number: str) -> str:
        listing = ["ip", "-n", box.name, "route", "show", "table", number]
        return subprocess.run(listing, capture_output=True, text=True, timeout=40).stdout

    def wait_for_default(wanted: bool) -> float:
        started = time.monotonic()
        while ("default via 192.168.8.1 dev usb0" in table("100")) != wanted:
            assert time.monotonic() - started < 5 * PATIENCE, (box.folder / "agent.log").read_text()
            time.sleep(0.02)
        return time.monotonic() - started

    with (box.folder / "agent.log").open("wb") as written:
        agent = subprocess.Popen(
            ["ip", "netns", "exec", box.name, NETBOND, "run", "--config", box.folder / "netbond.toml"],
            stderr=written,
        )
    try:
        log = box.folder / "agent.log"
        ready.wait(lambda: "running: " in log.read_text(), "the agent runs", agent, log)
        box.dhclient("-1")
        assert wait_for_default(wanted=True) < 1 * PATIENCE
        assert "default" not in table("main")
        box.dhclient("-r")
        assert wait_for_default(wanted=False) < 1 * PATIENCE
    finally:
        agent.terminate()
        agent.wait(40)


def test_an_interface_knows_its_own_addresses(box: Box) -> None:
    """What TIMEOUT relies on; the same address on another interface does not count."""
    script = (
        "from ipaddress import IPv4Address as A; from netbond.cli.hook import has_address as h;"
        "print(*(h(d, A(a)) for d, a in [('usb0','10.1.0.1'), ('usb0','10.2.0.1'), ('usb0','10.1.0.2'),"
        " ('lo','10.1.0.1')]))"
    )
    for address in ("10.1.0.1/24", "10.2.0.1/24"):
        sh("ip", "-n", box.name, "address", "add", address, "dev", "usb0")
    assert sh("ip", "netns", "exec", box.name, sys.executable, "-c", script) == "True True False False\n"
