"""Router mode as the agent runs it: a LAN client's flows, rivals, reloads, and a box without nft."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for
from tests.netns.lan import ECHO, FLOWS, SERVER, SERVER6, Process

pytestmark = pytest.mark.root

ROUTER = '[router]\nlan = ["eth1"]\n[sysctl]\nmultipath_hash = "flows"\n'
HEALTH = "[health]\ninterval = 0.3\ntimeout = 0.2\nhold_down = 0\n"


class Home(Box):
    """A Box with two uplinks to one server, and a LAN client; the agent does all the rest."""

    processes: list[Process]

    def prepare(self) -> None:
        self.processes = []
        self.client = f"{self.name}c"
        sh("ip", "netns", "add", self.client)
        for number in range(2):
            self.plug(f"usb{number}", number)
        for host in (SERVER, SERVER6):
            sh("ip", "-n", self.far, "addr", "add", host, "dev", "lo", *(["nodad"] if ":" in host else []))
        self.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", self.client)
        self.ip("addr", "add", "192.168.50.1/24", "dev", "eth1")
        self.ip("link", "set", "eth1", "up")
        client = ("ip", "-n", self.client)
        sh(*client, "addr", "add", "192.168.50.2/24", "dev", "eth0")
        sh(*client, "link", "set", "eth0", "up")
        sh(*client, "route", "add", "default", "via", "192.168.50.1")
        self.processes.append(Process(self.far, ECHO))
        self.flows = Process(self.client, FLOWS)
        self.processes.append(self.flows)

    def __exit__(self, *about: object) -> None:
        for process in self.processes:
            process.stop()
        sh("ip", "netns", "del", self.client, check=False)
        super().__exit__(*about)  # type: ignore[arg-type]  # handed on as they came

    def open(self, numbers: range) -> dict[int, str]:
        """New flows of the client, and by flow the address that the server sees."""
        for number in numbers:
            assert self.flows.ask(f"udp {number} {SERVER}") == "open"
        return self.seen(numbers)

    def seen(self, numbers: range | dict[int, str], verb: str = "ask") -> dict[int, str]:
        return {number: self.flows.ask(f"{verb} {number}") for number in numbers}

    def moved(self, flows: dict[int, str]) -> bool:
        """Whether all of them go by usb1 now; what is asked over a dead uplink gets no answer."""
        return self.seen(flows, "try") == dict.fromkeys(flows, "10.0.1.10")

    def reload(self, text: str) -> None:
        self.configure(text)
        assert self.agent is not None
        self.agent.send_signal(signal.SIGHUP)

    def table_there(self) -> bool:
        return "inet netbond" in self.run("nft", "list", "tables")

    def problems(self) -> list[str]:
        found: list[str] = self.status()["agent"]["problems"]
        return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home(tmp_path) as box:
        box.prepare()
        yield box


def test_flows_stay_and_leave_a_dead_uplink(home: Home) -> None:
    home.configure(ROUTER + HEALTH)
    home.start()
    first = home.open(range(24))
    assert set(first.values()) == {"10.0.0.10", "10.0.1.10"}
    assert home.seen(first) == first
    assert home.problems() == []

    # Made a backup, usb0 gets no new flows and keeps the old ones.
    home.reload(ROUTER + HEALTH + '[[uplink]]\nmatch = "usb0"\nbackup = true\n')
    wait_for(lambda: "usb0" not in home.table(222), 5, "usb0 waits")
    assert home.seen(first) == first
    assert set(home.open(range(24, 36)).values()) == {"10.0.1.10"}

    # Its gateway is silent, so it is dead, and its flows move.
    sh("ip", "-n", home.far, "link", "set", "p0", "arp", "off")
    wait_for(lambda: home.status()["uplinks"][0]["state"] == "dead", 15, "usb0 is dead")
    wait_for(lambda: home.moved(first), 30, "its flows are released")


def test_an_uplink_that_is_pulled_releases_its_flows(home: Home) -> None:
    home.configure(ROUTER)
    home.start()
    first = home.open(range(24))
    home.unplug("usb0")
    wait_for(lambda: "from 10.0.0.10" not in home.rules(), 5, "usb0 is gone")
    wait_for(lambda: home.moved(first), 30, "its flows go by usb1")


def test_a_flushed_ruleset_is_repaired(home: Home) -> None:
    home.configure(ROUTER)
    home.start()
    wait_for(home.table_there, 5, "the table")
    before = home.run("nft", "-s", "list", "table", "inet", "netbond")
    home.run("nft", "flush", "ruleset")
    took = wait_for(home.table_there, 5, "it is there again")
    print(f"repaired after {took * 1000:.0f} ms")
    assert took < 8  # not by the look that comes each 10 s
    wait_for(lambda: home.run("nft", "-s", "list", "table", "inet", "netbond") == before, 5, "as it was")
    assert home.open(range(4))


def test_reload_turns_it_on_and_off(home: Home) -> None:
    home.configure()
    home.start()
    assert not home.table_there()
    assert home.run("sysctl", "-n", "net.ipv4.conf.eth1.forwarding") == "0\n"
    home.reload(ROUTER)
    wait_for(home.table_there, 5, "on")
    assert home.open(range(4))
    wait_for(lambda: "fwmark" in home.rules(), 5, "the marks' rules")
    # Turned on by a reload, it hears of rivals as well.
    home.run("nft", "flush", "ruleset")
    wait_for(home.table_there, 5, "repaired")
    home.reload("")
    wait_for(lambda: not home.table_there(), 5, "off")
    wait_for(lambda: "fwmark" not in home.rules(), 5, "without the marks' rules")
    wait_for(
        lambda: home.run("sysctl", "-n", "net.ipv4.conf.eth1.forwarding") == "0\n", 5, "nor does it forward"
    )
    wait_for(lambda: home.problems() == [], 5, "nothing to say")


def test_without_nft_routing_goes_on(home: Home) -> None:
    """In a mount namespace where every place for programs is empty."""
    empty = home.folder / "empty"
    empty.mkdir()
    hide = f'for d in /usr/local/sbin /usr/sbin /sbin; do mount --bind {empty} $d; done; exec "$@"'
    python = os.path.realpath(sys.executable)
    assert not python.startswith("/usr/sbin")
    inside = home.command
    home.configure(ROUTER)

    def hidden(*words: str) -> list[str]:
        command = inside(*words)
        return [*command[:4], "unshare", "-m", "sh", "-c", hide, "sh", *command[4:]]

    home.command = hidden  # type: ignore[method-assign]  # the same, elsewhere
    home.start()
    problem = "router mode needs the program nft, which is not installed; install the package nftables"
    wait_for(lambda: home.problems() == [problem], 5, "it is said")
    assert "dev usb0" in home.table(222)
    home.unplug("usb0")
    wait_for(lambda: "dev usb0" not in home.table(222), 5, "routing goes on")
    assert home.log.read_text().count("needs the program nft") == 1
    assert home.stop() == 0


def test_nft_that_fails_while_the_agent_runs(home: Home) -> None:
    """As after a wrong update: routing goes on, it is said, and what was missed is made up for."""
    folder = home.folder / "bin"
    folder.mkdir()
    broken = folder / "broken"
    real = shutil.which("nft", path=os.environ["PATH"] + ":/usr/sbin")
    wrapper = folder / "nft"
    wrapper.write_text(
        f'#!/bin/sh\nif [ -e {broken} ]; then echo "nft: symbol lookup error" >&2; exit 127; fi\n'
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    home.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
    home.configure(ROUTER)
    home.start()
    wait_for(lambda: "netbond" in home.run("nft", "list", "tables"), 5, "the table is there")
    assert home.problems() == []
    broken.touch()
    home.run("nft", "flush", "ruleset")
    wait_for(lambda: any("symbol lookup error" in problem for problem in home.problems()), 15, "it is said")
    home.unplug("usb0")
    wait_for(lambda: "dev usb0" not in home.table(222), 5, "routing goes on")
    assert "dev usb1" in home.table(222)
    broken.unlink()
    wait_for(lambda: home.problems() == [], 20, "it is well again")
    assert "masquerade" in home.run("nft", "list", "ruleset")


def test_a_kernel_without_nftables_events_is_no_reason_not_to_route(home: Home) -> None:
    """Where netfilter's netlink cannot be had, the agent runs; what it costs is that drift is seen later."""
    with pytest.raises(OSError, match="not supported"):
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 31)  # so it fails there
    script = home.folder / "blind.py"
    script.write_text(
        "import socket, sys\n"
        "from netbond.router import nft\n"
        "nft._NETLINK_NETFILTER = 31\n"
        "from netbond.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    home.command = lambda *words: [  # type: ignore[method-assign]  # the same, with a poorer kernel
        *("ip", "netns", "exec", home.name),
        *(sys.executable, str(script), *words),
    ]
    home.start()
    assert "dev usb0" in home.table(222)
    assert home.problems() == []
    home.reload(ROUTER)
    wait_for(
        lambda: ["kernel" in each for each in home.problems()] == [True],
        5,
        "router mode cannot be had, and that is said",
    )
    assert "dev usb0" in home.table(222)
