"""Makes a box with usb0 and a modem with a DHCP server, for tests of real DHCP clients. Needs root.

The box has its own /run, client state, /etc/default and dhcpcd hooks, so that its clients do not affect those
of the machine and of other tests.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from netbond.dhcp.store import LeaseStore
from tests import ready
from tests.netns.box import sh

_numbers = itertools.count()

ROOT = Path(__file__).parents[2]
NETBOND = Path(sys.executable).parent / "netbond"

SETUP = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /var/lib/dhcpcd
mount -t tmpfs tmpfs /var/lib/dhcpcd
mount --bind "$1/hooks" /usr/lib/dhcpcd/dhcpcd-hooks
mount --bind "$1/default" /etc/default
mount --bind "$1/dhcp" /etc/dhcp
mount --bind "$1/resolv.conf" "$(realpath /etc/resolv.conf)"
echo ready
exec sleep infinity
"""


def dhcp_server(namespace: str, addresses: str, *options: str) -> subprocess.Popen[bytes]:
    """Start dnsmasq on eth0 of a modem, with `first,last,seconds`; it is ready when this returns."""
    server = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
         "--no-ping", "--leasefile-ro", "--dhcp-authoritative", "--port=0", "--interface=eth0",
         "--pid-file=", "--user=root", f"--dhcp-range={addresses}", *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ready.udp_port(67, server)
    return server


class DhcpBox:
    """`with DhcpBox(tmp_path) as box: box.serve(); box.inside("udhcpc", ...)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"nbc{os.getpid()}-{next(_numbers)}"
        self.modem = f"{self.name}m"
        self.store = LeaseStore(folder / "state" / "leases")
        self.keeper: subprocess.Popen[str] | None = None
        self.server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("hooks", "default", "dhcp/dhclient-enter-hooks.d", "dhcp/dhclient-exit-hooks.d"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "resolv.conf").touch()
        contrib = ROOT / "contrib"
        shutil.copy(contrib / "dhcpcd-hooks/90-netbond", self.folder / "hooks")
        # A hook that runs after ours shows whether ours has changed the client's shell.
        (self.folder / "hooks/95-after").write_text(f'echo "$reason $hook" >>"{self.folder}/after"\n')
        dhcp = self.folder / "dhcp"
        shutil.copy(contrib / "dhclient-hooks/netbond-enter", dhcp / "dhclient-enter-hooks.d/netbond")
        shutil.copy(contrib / "dhclient-hooks/netbond", dhcp / "dhclient-exit-hooks.d/netbond")
        machines = Path("/etc/dhcp/dhclient-exit-hooks.d/rfc3442-classless-routes")
        if machines.exists():  # Debian's hook, which adds the routes of option 121
            shutil.copy(machines, dhcp / "dhclient-exit-hooks.d")
        (dhcp / "dhclient.conf").write_text(
            "timeout 5;\noption rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n"
            "request subnet-mask, routers, rfc3442-classless-static-routes;\n"
        )
        config = self.folder / "netbond.toml"
        config.write_text(
            f'[agent]\nstate_dir = "{self.folder}/state"\ncontrol_socket = "{self.folder}/c.sock"\n'
        )
        self.settings()
        for name in (self.name, self.modem):
            sh("ip", "netns", "add", name)
        words = ["type", "veth", "peer", "name", "eth0", "netns", self.modem]
        sh("ip", "-n", self.name, "link", "add", "usb0", *words)
        sh("ip", "-n", self.modem, "address", "add", "192.168.8.1/24", "dev", "eth0")
        sh("ip", "-n", self.modem, "link", "set", "eth0", "up")
        sh("ip", "-n", self.name, "link", "set", "usb0", "up")
        self.keeper = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "-m", "sh", "-c", SETUP, "sh", str(self.folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.keeper.stdout is not None
        assert self.keeper.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_serving()
        # Stop what a test left running in the box: by PID, and only processes in this namespace.
        for name in (self.name, self.modem):
            for pid in sh("ip", "netns", "pids", name, check=False).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        if self.keeper is not None:
            self.keeper.wait(40)
            assert self.keeper.stdout is not None
            self.keeper.stdout.close()
        for name in (self.name, self.modem):
            sh("ip", "netns", "del", name, check=False)

    def settings(self, **more: str) -> None:
        """Write /etc/default/netbond for the scripts in contrib/."""
        values = {"NETBOND": NETBOND, "NETBOND_CONFIG": self.folder / "netbond.toml"} | more
        text = "".join(f"{name}='{value}'\n" for name, value in values.items())
        (self.folder / "default/netbond").write_text(text)

    def inside(self, *command: str) -> list[str]:
        """Return a command line that runs in the box."""
        assert self.keeper is not None
        return ["nsenter", "-t", str(self.keeper.pid), "-m", "-n", *command]

    def run(self, *command: str, check: bool = True) -> str:
        return sh(*self.inside(*command), check=check)

    def serve(self, *options: str, address: str = "192.168.8.100") -> None:
        """Start a DHCP server on the modem, with one address; it is ready when this returns."""
        self.stop_serving()
        self.server = dhcp_server(self.modem, f"{address},{address},120", *options)

    def stop_serving(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(20)
            self.server = None

    def leases(self) -> list[tuple[str, ...]]:
        """Return the content of the store: device, client, address, routers."""
        return [(x.device, x.source, str(x.address), *map(str, x.routers)) for x in self.store.load()]

    def main_table(self) -> str:
        return sh("ip", "-n", self.name, "-4", "route")
