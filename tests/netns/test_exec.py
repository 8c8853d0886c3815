"""`netbond exec` on the real kernel: by which uplink a command's packets leave, counted at each modem."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.box import sh, wait_for
from tests.netns.health_net import HOST, HOST6, Modem, Net

pytestmark = pytest.mark.root

RESOLVERS = f'[health]\nresolvers = ["{HOST}"]\n'


@dataclass
class Bed:
    """A box with an agent and two modems, and the internet behind each."""

    net: Net
    modems: tuple[Modem, Modem]
    agent: Agent

    def command(self, *words: str) -> list[str]:
        return self.agent.command("exec", "--config", str(self.agent.config_file), *words)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=60, check=False, env=more or None
        )

    def by(self, uplink: str, *command: str) -> str:
        """What the command says, run through this uplink."""
        found = self.run(uplink, "--", *command)
        assert found.stderr == ""
        return found.stdout

    def counts(self) -> list[int]:
        """Packets to the hosts of the internet that came to each modem."""
        found = []
        for modem in self.modems:
            shown = sh("ip", "netns", "exec", modem.name, "nft", "list", "chain", "inet", "t", "input")
            found.append(sum(map(int, re.findall(r"packets (\d+)", shown))))
        return found


def bed(folder: Path, *addresses: str) -> Iterator[Bed]:
    with Net() as net:
        modems = tuple(net.modem(address) for address in addresses)
        for number, modem in enumerate(modems):
            modem.nft(f"add rule inet t input ip daddr {HOST} counter")
            modem.nft(f"add rule inet t input ip6 daddr {HOST6} counter")
            modem.http(201 + number)
            modem.http(201 + number, HOST6)
            modem.dnsmasq(
                f"--address=/which.example/192.0.2.{100 + number}", f"--host-record=www.example,{HOST}"
            )
        with Agent(folder, net.name, lambda *words: ["ip", "netns", "exec", net.name, *words]) as agent:
            agent.configure(RESOLVERS)
            agent.start()
            yield Bed(net, (modems[0], modems[1]), agent)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    yield from bed(tmp_path_factory.mktemp("two"), "10.0.0.10/24", "10.0.1.10/24")


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Bed]:
    """Two modems that hand out the same address."""
    yield from bed(tmp_path, "192.168.8.100/24", "192.168.8.100/24")


CURL = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "5")
PING = ("ping", "-c", "1", "-W", "2")
UDP = f"""
import socket
for family, host in ((socket.AF_INET, "{HOST}"), (socket.AF_INET6, "{HOST6}")):
    for bind in (False, True):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        if bind:
            sock.bind(("", 0))
        sock.sendto(b"x", (host, 9))
"""
CHILDREN = f"""
import os, socket, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.sendto(b"x", ("{HOST}", 9))
        os._exit(0)
time.sleep(0.3)
"""


@pytest.mark.parametrize("number", [0, 1])
def test_all_that_a_command_sends_leaves_by_its_uplink(two: Bed, number: int) -> None:
    uplink, code = f"usb{number}", str(201 + number)
    before = two.counts()
    commands = [shlex.join([*CURL, f"http://{host}/"]) for host in (HOST, f"[{HOST6}]", "www.example")]
    commands += [shlex.join([*PING, host]) for host in (HOST, HOST6)]
    commands.append("getent ahostsv4 which.example")
    said = two.by(uplink, "sh", "-c", "; echo; echo END; ".join(commands)).split("\nEND\n")
    assert said[:3] == [code] * 3
    assert [" 0% packet loss" in each for each in said[3:5]] == [True, True]
    assert said[5].split()[0] == f"192.0.2.{100 + number}"
    for program, packets in ((UDP, 4), (CHILDREN, 3)):
        wanted = two.counts()[number] + packets
        two.by(uplink, sys.executable, "-c", program)
        # Those of its children may come when it has ended.
        wait_for(lambda wanted=wanted: two.counts()[number] >= wanted, 5, "all have come")  # type: ignore[misc]
        assert two.counts()[number] == wanted
    after = two.counts()
    assert after[1 - number] == before[1 - number]
    assert after[number] - before[number] >= 20


def test_twins(twins: Bed) -> None:
    """Modems that hand out the same address: the interface alone tells them apart."""
    for number in (0, 1):
        before = twins.counts()
        assert twins.by(f"usb{number}", *CURL, "http://www.example/") == str(201 + number)
        assert " 0% packet loss" in twins.by(f"usb{number}", *PING, HOST)
        assert twins.counts()[1 - number] == before[1 - number]


def test_as_an_ordinary_user(two: Bed) -> None:
    before = two.counts()
    found = two.run("--user", "nobody", "usb1", "--", "sh", "-c", f"id -un; {' '.join(PING)} {HOST}")
    assert found.stdout.startswith("nobody\n")
    assert " 0% packet loss" in found.stdout
    assert two.counts()[0] == before[0]


def test_as_the_user_who_called_sudo(two: Bed) -> None:
    found = two.run("usb1", "--", "sh", "-c", "id -un; echo $HOME", SUDO_UID="65534", PATH="/usr/bin:/bin")
    assert found.stdout == "nobody\n/nonexistent\n"


def test_the_command_is_what_runs(two: Bed) -> None:
    """Exit status, signals and standard input are its own."""
    assert two.run("usb1", "--", "sh", "-c", "exit 7").returncode == 7
    assert two.run("usb1", "--", "/nonexistent/program").returncode == 127
    said = subprocess.run(two.command("usb1", "--", "cat"), input="text", capture_output=True, text=True)
    assert said.stdout == "text"
    process = subprocess.Popen(
        two.command(
            "usb1",
            "--",
            "sh",
            "-c",
            "trap 'echo got it; exit 9' TERM; echo ready; sleep 9 > /dev/null & wait",
        ),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=40)[0] == "got it\n"
    assert process.returncode == 9


ESCAPE = f"""
import socket
sock = socket.socket(type=socket.SOCK_DGRAM)
try:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"usb0")
    sock.sendto(b"x", ("{HOST}", 9))
    print("sent")
except PermissionError:
    print("refused")
"""


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_socket_gets_out_by_another_uplink(two: Bed, user: str) -> None:
    before = two.counts()
    assert two.run("--user", user, "usb1", "--", sys.executable, "-c", ESCAPE).stdout == "refused\n"
    assert two.counts() == before


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_box_itself_is_in_reach(two: Bed, address: str) -> None:
    code = (
        f"import socket; family = socket.AF_INET6 if ':' in '{address}' else socket.AF_INET\n"
        f"server = socket.create_server(('{address}', 0), family=family)\n"
        f"print(socket.create_connection(server.getsockname()[:2]).getpeername()[0])"
    )
    assert two.by("usb1", sys.executable, "-c", code) == f"{address}\n"


def test_names_are_looked_up_there_by_the_command_alone(two: Bed) -> None:
    shown = two.by("usb1", "cat", "/etc/resolv.conf")
    assert shown.splitlines() == [
        "# made by netbond for what uses usb1",
        f"nameserver {HOST}",
        "options timeout:2",
    ]
    assert Path("/etc/resolv.conf").read_text() != shown
    # Of other tests, too, which run at the same time: each is there for a moment.
    wait_for(lambda: list(Path("/run").glob("netbond-resolv-*")) == [], 5, "no file stays")


AGAIN_AND_AGAIN = f"""
import socket, time
while True:
    sock, stream = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
    try:
        sock.sendto(b"x", ("{HOST}", 9))
    except OSError:
        pass
    try:
        stream.settimeout(0.1)
        stream.connect(("{HOST}", 80))
    except OSError:
        pass
    print("trying", flush=True)
    time.sleep(0.01)
"""


def test_a_modem_that_is_unplugged_meanwhile(two: Bed) -> None:
    """The command's packets go nowhere, and not by the other modem."""
    third = two.net.modem()
    wait_for(lambda: "usb2" in two.agent.uplinks(), 5, "usb2 is an uplink")
    before = two.counts()
    process = subprocess.Popen(
        two.command("usb2", "--", sys.executable, "-c", AGAIN_AND_AGAIN), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "trying\n"
        sh("ip", "-n", two.net.name, "link", "del", third.device)
        wait_for(lambda: "usb2" not in two.agent.uplinks(), 5, "usb2 is none any more")
        time.sleep(0.5)
    finally:
        process.kill()
        process.communicate()
    assert two.counts() == before


def test_groups_do_not_pile_up(two: Bed) -> None:
    groups = "ls -d $(findmnt -n -o TARGET -t cgroup2 | head -1)/netbond-exec-* | wc -l"
    for _ in range(3):
        two.by("usb1", "true")
    # Beside those of other tests that run at the same time.
    wait_for(lambda: int(sh("sh", "-c", groups)) <= 2, 10, "they are removed")


def test_what_is_said_when_it_cannot_be(two: Bed) -> None:
    found = two.run("usb7", "--", "true")
    assert (found.returncode, found.stderr) == (
        69,
        "netbond exec: there is no uplink 'usb7'; there are usb0, usb1\n",
    )


def test_a_dead_uplink_is_used_all_the_same(twins: Bed) -> None:
    """One asks why it is dead: the command runs, after a line that says so."""
    twins.agent.configure(RESOLVERS + "interval = 0.3\ntimeout = 0.2\n")
    assert twins.agent.process is not None
    twins.agent.process.send_signal(signal.SIGHUP)
    twins.modems[1].hang()
    wait_for(lambda: twins.agent.uplinks()["usb1"]["state"] == "dead", 10, "usb1 is dead")
    before = twins.counts()
    found = twins.run("usb1", "--", *PING, HOST)
    assert found.returncode == 1
    # Either family may be found dead first.
    assert re.match(r"netbond exec: usb1 \(IPv[46]\) is dead: ", found.stderr)
    assert twins.counts()[0] == before[0]
