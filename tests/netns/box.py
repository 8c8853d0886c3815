"""A box of one's own: a network namespace with modems, and an agent in it. Needs root."""

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
    """Run a command; its output."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)}: {result.stderr}{result.stdout}")
    return result.stdout


def ip_monitor(namespace: str, *words: str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """`ip -o monitor` in a namespace: it hears what happens from now on."""
    process = subprocess.Popen(["ip", "-n", namespace, "-o", *words], stdout=stdout, text=True)
    ready.subscribed(process)
    return process


PATIENCE = 4  # times what is asked for, on a machine that has other work


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Until the condition holds; how many seconds it took. `seconds` is what it may take on a machine that
    has nothing else to do: one that stands still for a while is given more."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds * PATIENCE:
            raise AssertionError(f"not within {seconds * PATIENCE} s: {what}")
        time.sleep(0.005)
    return time.monotonic() - start


class Box:
    """Modems are veth pairs: usbN here, their gateways (10.0.N.1) in a second namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"nbt{os.getpid()}-{next(_numbers)}"
        self.far = f"{self.name}m"
        self.agent: subprocess.Popen[str] | None = None
        self.config_file = folder / "netbond.toml"
        self.log = folder / "agent.log"
        self.etc = Path("/etc/netns", self.name)
        # No bus of the machine's: what its NetworkManager knows is of other interfaces.
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/no-bus"}

    def __enter__(self) -> Self:
        # No name server: a look-up fails at once, and none ever leaves the box.
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
        """`ip` in the box; trailing blanks of its lines removed."""
        output = sh("ip", "-n", self.name, *words, check=check)
        return "\n".join(line.rstrip() for line in output.splitlines())

    def run(self, *command: str, check: bool = True) -> str:
        """A command in the box."""
        return sh("ip", "netns", "exec", self.name, *command, check=check)

    def plug(self, device: str, number: int, address: str = "", *, default: bool = True) -> None:
        """A modem appears, with an address and (in main) a default route, as a DHCP client leaves them."""
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
        """A modem is pulled."""
        self.ip("link", "del", device)

    def rules(self) -> str:
        """All policy rules."""
        return self.ip("rule")

    def table(self, table: int | str) -> str:
        """A routing table; "" if it is empty."""
        return self.ip("route", "show", "table", str(table), check=False)

    def state(self) -> str:
        """All of netbond's routes and rules, sorted: rules of one priority stand in the order they came."""
        routes = self.ip("route", "show", "table", "all", "proto", "78").splitlines()
        rules = [rule for rule in self.rules().splitlines() if "proto 78" in rule]
        return "\n".join([*sorted(routes), *sorted(rules)])

    def way(self, *words: str) -> str:
        """The device that `ip route get` names."""
        return self.ip("route", "get", *words).split(" dev ")[1].split()[0]

    # --- the agent -----------------------------------------------------------------------------------------

    def configure(self, text: str = "", agent: str = "") -> None:
        """Write the configuration: everything of the agent's own inside the test's folder."""
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
            {agent if "metrics" in agent else 'metrics = ""' + chr(10) + agent}
            {text}
            """
        )

    def command(self, *words: str) -> list[str]:
        """A netbond command line for this box, to run inside it."""
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
        wait_for(lambda: self._ended() or self.answers(), 10, f"agent answers; {self.log.read_text()}")
        assert not self._ended(), self.log.read_text()

    def _ended(self) -> bool:
        return self.agent is not None and self.agent.poll() is not None

    def answers(self) -> bool:
        """Whether the agent answers `netbond status`, which it does once it has looked."""
        return self.log.exists() and "running: " in self.log.read_text().rpartition("stopping")[2]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the agent by a signal; its exit status."""
        assert self.agent is not None
        self.agent.send_signal(number)
        status = self.agent.wait(10)
        self.agent = None
        self.log.rename(self.folder / f"agent-{time.monotonic_ns()}.log")
        return status

    def status(self) -> dict[str, Any]:
        """What the agent answers to `netbond status`."""
        found = request(self.folder / "control.sock", {"command": "status"}, timeout=10.0)["status"]
        assert isinstance(found, dict)
        return found
