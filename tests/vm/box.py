"""A virtual machine with netbond on it, and what tests ask of it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

from tests.vm.qemu import Machine

GLANCE = """
import socket
with socket.socket(socket.AF_UNIX) as agent:
    agent.connect("/run/netbond/control.sock")
    agent.sendall(b'{"command": "status"}\\n')
    print(agent.makefile().readline())
"""
EVERYTHING = """
netbond status --all
ip -br address
ip rule
systemctl status netbond
journalctl -b -n 60 -t netbond -t systemd -t dhclient
"""


class Box:
    """The machine and what to ask it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def status(self) -> dict[str, Any]:
        """What `netbond status --json` prints."""
        report: dict[str, Any] = json.loads(self.machine.run("netbond status --json", check=False).out)
        return report

    def glance(self) -> dict[str, Any]:
        """The same from the agent itself, without a command that has to start; empty if it is not there."""
        done = self.machine.run(f"python3 -IS -c {shlex.quote(GLANCE)}", check=False)
        report: dict[str, Any] = json.loads(done.out)["status"] if done.status == 0 else {}
        return report

    def states(self) -> dict[str, str]:
        """Each uplink's device and state, by name."""
        uplinks = self.glance().get("uplinks", ())
        return {uplink["name"]: f"{uplink['device']} {uplink['state']}" for uplink in uplinks}

    def uplink(self, name: str) -> dict[str, Any]:
        """One uplink of the status."""
        return next(uplink for uplink in self.glance()["uplinks"] if uplink["name"] == name)

    def rules(self) -> str:
        """`ip rule`, with one blank where it has several; within a priority in the order of the text."""
        lines = (" ".join(line.split()) for line in self.machine.out("ip rule").splitlines())
        return "".join(
            f"{line}\n" for line in sorted(lines, key=lambda line: (int(line.split(":")[0]), line))
        )

    def main_pid(self) -> int:
        """The agent's process; 0 if there is none."""
        return int(self.machine.out("systemctl show --value -p MainPID netbond"))

    def until(self, what: Callable[[], bool], seconds: float = 300) -> None:
        """Wait for something; an AssertionError that shows everything when it does not come."""
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(self.machine.run(EVERYTHING, check=False).out)
            time.sleep(0.3)
