"""Makes a box: a network namespace with modems, and an agent in it. Needs root."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from netbond.status.control import request
from tests import ready

_numbers = itertools.count()


def sh(*command: str, check: bool = True) -> str:
    """Run a command; return its output."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)}: {result.stderr}{result.stdout}")
    return result.stdout


def ip_monitor(namespace: str, *words: str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """Run `ip -o monitor` in a namespace; it receives all events from now on."""
    process = subprocess.Popen(["ip", "-n", namespace, "-o", *words], stdout=stdout, text=True)
    ready.subscribed(process)
    return process


def heard(monitor: subprocess.Popen[str], namespace: str) -> list[str]:
    """End an ip_monitor of rules and others; return the lines of all that happened before this call.

    What ends it at once loses the lines that it has not written yet. So this waits for those of a last rule.
    """
    last = ("from", "192.0.2.254", "lookup", "55", "priority", "9999")
    sh("ip", "-n", namespace, "rule", "add", *last)
    found: list[str] = []
    try:
        assert monitor.stdout is not None
        for line in monitor.stdout:
            if "192.0.2.254" in line:
                break
            found.append(line)
        else:
            raise AssertionError("the monitor has ended")
    finally:
        sh("ip", "-n", namespace, "rule", "del", *last)
        monitor.kill()
        monitor.communicate()
    return found


PATIENCE = 4  # times the given seconds, because the machine may be busy


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until the condition is true; return the seconds that it took.

    `seconds` is the time that it may take on an idle machine; a busy one gets PATIENCE times as long.
    """
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds * PATIENCE:
            raise AssertionError(f"not within {seconds * PATIENCE} s: {what}")
        time.sleep(0.005)
    return time.monotonic() - start


class Box:
    """A box. Modems are veth pairs: usbN in the box, their gateways (10.0.N.1) in a second namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"nbt{os.getpid()}-{next(_numbers)}"
        self.far = f"{self.name}m"
        self.agent: subprocess.Popen[str] | None = None
        self.config_file = folder / "netbond.toml"
        self.log = folder / "agent.log"
        self.etc = Path("/etc/netns", self.name)
        # Do not use the machine's bus: its NetworkManager knows other interfaces.
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/no-bus"}

    def __enter__(self) -> Self:
        # No name server: a lookup fails at once, and none leaves the box.
        self.etc.mkdir(parents=True)
        (self.etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        for name in (self.name, self.far):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
        for name in (self.name, self.far):
            sh("ip", "netns", "del", name, check=False)
        shutil.rmtree(self.etc, ignore_errors=True)
        if kind is not None and self.log.exists():
            print(self.log.read_text())

    # --- the box's network ---------------------------------------------------------------------------------

    def ip(self, *words: str, check: bool = True) -> str:
        """Run `ip` in the box; return its output without trailing blanks."""
        output = sh("ip", "-n", self.name, *words, check=check)
        return "\n".join(line.rstrip() for line in output.splitlines())

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the box."""
        return sh("ip", "netns", "exec", self.name, *command, check=check)

    def add_lan(self) -> None:
        """Add an interface with clients behind it: eth1."""
        self.ip("link", "add", "eth1", "type", "veth", "peer", "name", "client")
        self.ip("addr", "add", "192.168.50.1/24", "dev", "eth1")
        self.ip("link", "set", "eth1", "up")

    def plug(self, device: str, number: int, address: str = "", *, default: bool = True) -> None:
        """Plug in a modem, with an address and (in main) a default route, as a DHCP client adds them."""
        address = address or f"10.0.{number}.10/24"
        gateway = address.rpartition(".")[0] + ".1"
        peer = f"p{number}"
        sh(
            "ip",
            "-n",
            self.name,
            "link",
            "add",
            device,
            "type",
            "veth",
            "peer",
            "name",
            peer,
            "netns",
            self.far,
        )
        sh("ip", "-n", self.far, "link", "set", peer, "up")
        sh("ip", "-n", self.far, "addr", "add", f"{gateway}/24", "dev", peer)
        self.ip("link", "set", device, "up")
        self.ip("addr", "add", address, "dev", device)
        if default:
            self.ip("route", "add", "default", "via", gateway, "dev", device, "metric", str(1000 + number))

    def unplug(self, device: str) -> None:
        """Unplug a modem."""
        self.ip("link", "del", device)

    def rules(self) -> str:
        """Return all policy rules."""
        return self.ip("rule")

    def table(self, table: int | str) -> str:
        """Return a routing table; "" if it is empty."""
        return self.ip("route", "show", "table", str(table), check=False)

    def state(self) -> str:
        """Return all of netbond's routes and rules, sorted: rules of one priority have no fixed order."""
        routes = self.ip("route", "show", "table", "all", "proto", "78").splitlines()
        rules = [rule for rule in self.rules().splitlines() if "proto 78" in rule]
        return "\n".join([*sorted(routes), *sorted(rules)])

    def way(self, *words: str) -> str:
        """Return the device that `ip route get` names; "" if the kernel refuses."""
        return "".join(self.ip("route", "get", *words, check=False).partition(" dev ")[2].split()[:1])

    # --- the agent -----------------------------------------------------------------------------------------

    def configure(self, text: str = "", agent: str = "") -> None:
        """Write the configuration; all files of the agent are in the test's folder."""
        (self.folder / "iproute2").mkdir(exist_ok=True)
        self.config_file.write_text(
            f"""
            [agent]
            ip_list = "{self.folder}/ips"
            control_socket = "{self.folder}/control.sock"
            state_dir = "{self.folder}/state"
            data_dir = "{self.folder}/data"
            iproute2_dir = "{self.folder}/iproute2"
            log_level = "debug"
            {"" if "user =" in agent else 'user = "nobody"'}
            {agent if "metrics" in agent else 'metrics = ""' + chr(10) + agent}
            {text}
            """
        )

    def command(self, *words: str) -> list[str]:
        """Return a netbond command line that runs in this box."""
        return ["ip", "netns", "exec", self.name, sys.executable, "-m", "netbond", *words]

    def start(self) -> None:
        """Start the agent and wait until it answers."""
        if not self.config_file.exists():
            self.configure()
        with self.log.open("a") as log:
            self.agent = subprocess.Popen(
                self.command("run", "--config", str(self.config_file)),
                stderr=log,
                text=True,
                env=os.environ | self.environment,
            )
        wait_for(lambda: self._ended() or self.answers(), 20, f"agent answers; {self.log.read_text()}")
        assert not self._ended(), self.log.read_text()

    def _ended(self) -> bool:
        return self.agent is not None and self.agent.poll() is not None

    def answers(self) -> bool:
        """Whether the agent answers `netbond status`, as it does after its first pass."""
        return self.log.exists() and "running: " in self.log.read_text().rpartition("stopping")[2]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the agent with a signal; return its exit status."""
        assert self.agent is not None
        self.agent.send_signal(number)
        status = self.agent.wait(10 * PATIENCE)
        self.agent = None
        self.log.rename(self.folder / f"agent-{time.monotonic_ns()}.log")
        return status

    def status(self) -> dict[str, Any]:
        """Return the agent's answer to `netbond status`."""
        found = request(self.folder / "control.sock", {"command": "status"}, timeout=10.0 * PATIENCE)[
            "status"
        ]
        assert isinstance(found, dict)
        return found

    def still_wrong(self) -> list[str]:
        """Return the problems, without those of uplinks that are gone: they come 1.5 s after an unplug."""
        details = self.status()["agent"]["problem_details"]
        return [one["text"] for one in details if one["code"] != "uplink-gone"]
