"""Runs an agent in a namespace that another helper made; `inside` makes a command line that runs there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from netbond.status.control import request
from tests.netns.box import PATIENCE, sh, wait_for


class Agent:
    """`with Agent(folder, namespace, box.inside) as agent: agent.start()`; it is killed at the end."""

    def __init__(
        self,
        folder: Path,
        namespace: str,
        inside: Callable[..., list[str]],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.namespace = namespace
        self.config_file = folder / "netbond.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self._inside = inside
        # Do not use the machine's bus, unless a test sets one.
        nowhere = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/no-bus"}
        self._environment = os.environ | nowhere | dict(environment or {})
        self._log = folder / "agent.log"
        self._read = 0  # length of the log from earlier runs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if kind is not None and self._log.exists():
            print(self._log.read_text()[-20000:])

    def configure(self, text: str = "", agent: str = "") -> None:
        """Write the configuration; all files of the agent are in the test's folder."""
        (self.folder / "iproute2").mkdir(exist_ok=True)
        self.config_file.write_text(
            f'[agent]\nip_list = "{self.folder}/ips"\ncontrol_socket = "{self.folder}/c.sock"\n'
            f'metrics = ""\nstate_dir = "{self.folder}/state"\ndata_dir = "{self.folder}/data"\n'
            f'iproute2_dir = "{self.folder}/iproute2"\nlog_level = "debug"\nuser = "nobody"\n{agent}\n{text}'
        )

    def command(self, *words: str) -> list[str]:
        """Return a netbond command line that runs in the namespace."""
        return self._inside(sys.executable, "-m", "netbond", *words)

    def start(self) -> None:
        """Start the agent, and wait until its first pass is done."""
        if not self.config_file.exists():
            self.configure()
        self._read = len(self.log())
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("run", "--config", str(self.config_file)), stderr=log, env=self._environment
            )
        wait_for(lambda: self.ended or "running: " in self.log()[self._read :], 20, "the agent runs")
        assert not self.ended, self.log()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the agent; return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(10 * PATIENCE)
        self.process = None
        return status

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def status(self) -> dict[str, Any]:
        """Return the agent's answer to `netbond status`."""
        found = request(self.folder / "c.sock", {"command": "status"}, timeout=10.0 * PATIENCE)["status"]
        assert isinstance(found, dict)
        return found

    def problems(self) -> list[str]:
        found: list[str] = self.status()["agent"]["problems"]
        return found

    def uplinks(self) -> dict[str, dict[str, Any]]:
        """Return the uplinks of its status, by device."""
        return {uplink["device"]: uplink for uplink in self.status()["uplinks"]}

    # --- the kernel it works on ----------------------------------------------------------------------------

    def ip(self, *words: str, check: bool = True) -> str:
        """Run `ip` in the namespace; return its output without trailing blanks."""
        output = sh("ip", "-n", self.namespace, *words, check=check)
        return "\n".join(line.rstrip() for line in output.splitlines())

    def table(self, table: int) -> str:
        """Return a routing table; "" if it is empty."""
        return self.ip("route", "show", "table", str(table), check=False)

    def rules(self) -> str:
        return self.ip("rule")
