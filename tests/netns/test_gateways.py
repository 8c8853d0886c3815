"""Several gateways on one link, each a real router: the next one is used when the first dies, and back."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.buses import PrivateBus
from tests.netns.advertise import advertise
from tests.netns.agents import Agent
from tests.netns.box import Box, sh, wait_for
from tests.netns.dhcpbox import DhcpBox
from tests.netns.nm import NetworkManagerBox

pytestmark = pytest.mark.root

SERVER, SERVER6 = "198.51.100.1", "2001:db8:ffff::1"  # on the internet, behind each router

# Down within a second, back after another.
CHECKS = """
[health]
interval = 0.3
timeout = 0.3
down_after = 2
hold_down = 0.5
"""


class Router:
    """A router on the cable that ends in `device` of the namespace `far`."""

    def __init__(self, stack: ExitStack, far: str, device: str, number: int, *addresses: str) -> None:
        self.name = f"{far}r{number}"
        sh("ip", "netns", "add", self.name)
        stack.callback(sh, "ip", "netns", "del", self.name, check=False)
        sh("ip", "-n", far, "link", "add", f"r{number}", "link", device, "type", "macvlan", "mode", "bridge")
        sh("ip", "-n", far, "link", "set", f"r{number}", "netns", self.name, "name", "lan")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "lan", "up")
        for address in addresses:
            self.ip("addr", "add", address, "dev", "lan", *(["nodad"] if ":" in address else []))
        self.ip("addr", "add", f"{SERVER}/32", "dev", "lo")
        self.ip("addr", "add", f"{SERVER6}/128", "dev", "lo", "nodad")

    def ip(self, *words: str) -> str:
        return sh("ip", "-n", self.name, *words)

    def echoes(self, family: int) -> int:
        """How many echo requests have come here."""
        if family == 6:
            text = sh("ip", "netns", "exec", self.name, "cat", "/proc/net/snmp6")
            return next(int(line.split()[1]) for line in text.splitlines() if "Icmp6InEchos" in line)
        text = sh("ip", "netns", "exec", self.name, "cat", "/proc/net/snmp")
        names, values = (line.split() for line in text.splitlines() if line.startswith("Icmp: "))
        return int(values[names.index("InEchos")])


class Home:
    """A box with one uplink, usb0, and two routers on its link."""

    def __init__(self, agent: Agent, routers: list[Router], family: int, address: str) -> None:
        self.agent, self.routers, self.family, self.address = agent, routers, family, address

    def goes_by(self, number: int, gateway: str, *, exactly: bool = True) -> None:
        """Wait until all traffic leaves by this router: what is bound to nothing, an address, the device.

        `exactly`: nothing else asks for an echo.
        """
        words = ["-6"] if self.family == 6 else []
        for table in ("100", "222"):
            wait_for(
                lambda table=table: (  # type: ignore[misc] # mypy infers no lambda with a default
                    f"via {gateway} " in self.agent.ip(*words, "route", "show", "table", table) + " "
                ),
                5,
                f"the gateway of table {table} is {gateway}: {self.agent.uplinks()}",
            )
        self._answered(number, gateway, exactly=exactly)

        def shown() -> bool:
            uplink = self.agent.uplinks()["usb0"]
            told = number > 0 or uplink["reason"] == ""
            return told and (uplink["state"], uplink["gateway"]) == ("up", gateway)

        wait_for(shown, 5, f"the status says so: {self.agent.uplinks()}")

    def _answered(self, number: int, gateway: str, *, exactly: bool) -> None:
        server = SERVER6 if self.family == 6 else SERVER
        before = [router.echoes(self.family) for router in self.routers]
        for bound in ((), ("-I", self.address), ("-I", "usb0")):
            command = self.agent._inside("ping", f"-{self.family}", "-c1", "-W10", *bound, server)

            def answers(command: list[str] = command) -> bool:
                return subprocess.run(command, capture_output=True, check=False).returncode == 0

            if exactly:
                assert answers(), (bound, gateway)
            else:  # on a busy machine a check behind the gateway may be late, and another one is used then
                wait_for(answers, 5, f"an answer by {gateway}, bound to {bound}")
        came = [router.echoes(self.family) - was for router, was in zip(self.routers, before, strict=True)]
        if not exactly:
            assert came[number] >= 3
            return
        assert came == [3 if n == number else 0 for n in range(len(self.routers))]


def dies_and_comes_back(home: Home, first: str, second: str, *, restart: bool = False) -> None:
    """The story of each test."""
    home.goes_by(0, first)
    rules = home.agent.rules()
    home.routers[0].ip("link", "set", "lan", "down")
    home.goes_by(1, second)

    def known() -> list[tuple[str, list[tuple[str, str]]]]:
        """Reason and gateways of the uplink that has the second one."""
        found = [each for each in home.agent.status()["uplinks"] if each["gateway"] == second]
        return [(up["reason"], [(each["gateway"], each["state"]) for each in up["gateways"]]) for up in found]

    expected = [(f"gateway 2 of 2: {first} does not answer", [(first, "down"), (second, "up")])]
    wait_for(lambda: known() == expected, 5, f"{expected}, not {known()}")
    if restart:  # an agent that was killed goes on with what the kernel has, and does not try the dead one
        home.agent.stop(signal.SIGKILL)
        log = len(home.agent.log())
        home.agent.start()
        assert f"via {first}" not in home.agent.log()[log:]
        home.goes_by(1, second)
    home.routers[0].ip("link", "set", "lan", "up")
    home.goes_by(0, first)
    wait_for(lambda: home.agent.rules() == rules, 5, "rules as before")
    wait_for(lambda: home.agent.problems() == [], 5, "nothing to say")


@contextmanager
def plain(folder: Path, family: int, *addresses: str) -> Iterator[tuple[Box, Home]]:
    """A box whose usb0 has 10.0.0.10/24 or makes its own address, with routers that have these addresses."""
    with Box(folder) as box, ExitStack() as stack:
        for name in ("all", "default"):
            sh("ip", "netns", "exec", box.far, "sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
        box.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        box.plug("usb0", 0, default=False)
        sh("ip", "-n", box.far, "addr", "flush", "dev", "p0")
        routers = [Router(stack, box.far, "p0", number, address) for number, address in enumerate(addresses)]

        def inside(*words: str) -> list[str]:
            return ["ip", "netns", "exec", box.name, *words]

        agent = stack.enter_context(Agent(folder, box.name, inside))
        agent.configure(CHECKS)
        yield box, Home(agent, routers, family, "10.0.0.10")


def test_two_defaults_in_main_of_unlike_metrics(tmp_path: Path) -> None:
    with plain(tmp_path, 4, "10.0.0.1/24", "10.0.0.2/24") as (box, home):
        box.ip("route", "add", "default", "via", "10.0.0.2", "dev", "usb0", "metric", "200")
        box.ip("route", "add", "default", "via", "10.0.0.1", "dev", "usb0", "metric", "100")
        home.agent.start()
        dies_and_comes_back(home, "10.0.0.1", "10.0.0.2", restart=True)
        # Whoever gives the other one the lower metric has it used at once.
        box.ip("route", "add", "default", "via", "10.0.0.2", "dev", "usb0", "metric", "50")
        home.goes_by(1, "10.0.0.2")


def test_a_router_whose_internet_is_gone(tmp_path: Path) -> None:
    """It answers ARP as before. What is behind it is asked by it also while the other one is in use."""
    with plain(tmp_path, 4, "10.0.0.1/24", "10.0.0.2/24") as (box, home):
        box.ip("route", "add", "default", "via", "10.0.0.2", "dev", "usb0", "metric", "200")
        box.ip("route", "add", "default", "via", "10.0.0.1", "dev", "usb0", "metric", "100")
        home.agent.configure(
            f'{CHECKS}checks = ["gateway", "icmp"]\n'
            f'[[check]]\nname = "icmp"\nkind = "icmp"\ntargets = ["{SERVER}"]\n'
        )
        home.agent.start()
        home.goes_by(0, "10.0.0.1", exactly=False)
        home.routers[0].ip("addr", "del", f"{SERVER}/32", "dev", "lo")
        home.goes_by(1, "10.0.0.2", exactly=False)
        nowhere = "gateway 2 of 2: 10.0.0.1 leads nowhere"
        wait_for(lambda: home.agent.uplinks()["usb0"]["reason"] == nowhere, 5, "and why")
        home.routers[0].ip("addr", "add", f"{SERVER}/32", "dev", "lo")
        home.goes_by(0, "10.0.0.1", exactly=False)


def test_two_ipv6_routers(tmp_path: Path) -> None:
    with plain(tmp_path, 6, "fe80::1/64", "fe80::2/64") as (box, home):
        box.ip("-4", "addr", "flush", "dev", "usb0")
        prefix = "2001:db8:a::/64"

        def defaults() -> int:
            for router, source, preference in zip(
                home.routers, ("fe80::1", "fe80::2"), ("high", "low"), strict=True
            ):
                advertise(router.name, "lan", prefix, source=source, preference=preference)
            return box.ip("-6", "route", "show", "default").count("via fe80::")

        for router in home.routers:
            router.ip("route", "add", prefix, "dev", "lan")
            sh("ip", "netns", "exec", router.name, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        wait_for(lambda: defaults() == 2, 5, "both have advertised themselves")
        words = box.ip("-6", "-o", "addr", "show", "dev", "usb0", "scope", "global").split()
        home.address = words[words.index("inet6") + 1].partition("/")[0]
        home.agent.start()
        home.goes_by(0, "fe80::1")
        # The link-local address goes with the link; the router has it again when it is back.
        back = home.routers[0].ip
        home.routers[0].ip = lambda *w: [  # type: ignore[method-assign]
            back(*w),
            *([back("addr", "add", "fe80::1/64", "dev", "lan", "nodad")] if w[-1] == "up" else []),
            *([back("route", "add", prefix, "dev", "lan")] if w[-1] == "up" else []),
        ][0]  # fmt: skip
        dies_and_comes_back(home, "fe80::1", "fe80::2")


def test_dhcp_names_two_routers(tmp_path: Path) -> None:
    """A real dnsmasq and dhclient, whose script sets a default for the first one only, if at all."""
    with DhcpBox(tmp_path) as box, ExitStack() as stack:
        routers = [
            Router(stack, box.modem, "eth0", number, f"192.168.8.{number + 2}/24") for number in range(2)
        ]
        agent = stack.enter_context(Agent(tmp_path, box.name, box.inside))
        agent.configure(CHECKS)
        agent.start()
        box.serve("--dhcp-option=3,192.168.8.2,192.168.8.3")
        files = ["-pf", f"{tmp_path}/dh.pid", "-lf", f"{tmp_path}/dh.leases"]
        with (tmp_path / "dh.log").open("wb") as log:
            client = subprocess.Popen(
                box.inside("dhclient", "-4", "-d", *files, "usb0"), stdout=log, stderr=log
            )
        stack.callback(client.wait, 10)
        stack.callback(client.terminate)
        wait_for(lambda: agent.uplinks().get("usb0", {}).get("gateway_source") == "dhclient", 10, "a lease")
        dies_and_comes_back(Home(agent, routers, 4, "192.168.8.100"), "192.168.8.2", "192.168.8.3")


def test_networkmanager_has_two_routers(tmp_path: Path) -> None:
    """It sets a default for the first router of the lease only, and none at all with never-default."""
    with ExitStack() as stack:
        bus = stack.enter_context(PrivateBus())
        nm = stack.enter_context(NetworkManagerBox(tmp_path, bus, "g"))
        nm.profile("usb0", "never-default=true\n")
        nm.plug("usb0", "10.0.0")
        modem = nm.modem_namespace("usb0")
        routers = [Router(stack, modem, "lan", number, f"10.0.0.{number + 2}/24") for number in range(2)]
        nm.serve("usb0", "10.0.0", "--dhcp-option=3,10.0.0.2,10.0.0.3")
        nm.start()

        def inside(*words: str) -> list[str]:
            return ["ip", "netns", "exec", nm.namespace, *words]

        folder = tmp_path / "agent"
        folder.mkdir()
        environment = {"DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        agent = stack.enter_context(Agent(folder, nm.namespace, inside, environment))
        agent.configure(CHECKS)
        agent.start()
        wait_for(lambda: agent.uplinks().get("usb0", {}).get("state") == "up", 10, "a lease")
        (address,) = (each.partition("/")[0] for each in nm.addresses("usb0"))
        home = Home(agent, routers, 4, address)
        home.goes_by(0, "10.0.0.2")
        routers[0].ip("link", "set", "lan", "down")
        home.goes_by(1, "10.0.0.3")
        routers[0].ip("link", "set", "lan", "up")
        home.goes_by(0, "10.0.0.2")
        assert agent.uplinks()["usb0"]["gateway_source"] == "NetworkManager"
