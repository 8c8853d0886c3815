"""Makes a network namespace with its own /dev, /run and systemd-udevd. Needs root."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netns.box import sh, wait_for

_numbers = itertools.count()

UDEVD = "/lib/systemd/systemd-udevd"

# A veth has no port, so its group (`ip link add group 12`) represents one: group 12 is port 1.2. Group 99 is
# a port whose interfaces udev renames.
RULES = """
SUBSYSTEM!="net", GOTO="end"
ATTR{netdev_group}=="0", GOTO="end"
ENV{ID_BUS}="usb", ENV{ID_VENDOR_ID}="12d1", ENV{ID_MODEL_ID}="14db", ENV{ID_SERIAL_SHORT}="0123456789ABCDEF"
ATTR{netdev_group}=="12", ENV{ID_PATH}="pci-0000:00:14.0-usb-0:1.2:1.0"
ATTR{netdev_group}=="13", ENV{ID_PATH}="pci-0000:00:14.0-usb-0:1.3:1.0"
ATTR{netdev_group}=="99", ENV{ID_PATH}="pci-0000:00:14.0-usb-0:1.9:1.0"
ACTION=="add", ATTR{netdev_group}=="99", NAME="enx0c5b8f279a64"
LABEL="end"
"""

# udevd changes the modes of device nodes, so they must not be the machine's.
SETUP = """
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
ln -s /proc/self/fd /dev/fd
mkdir -p /run/udev/rules.d
printf %s "$1" >/run/udev/rules.d/99-ports.rules
echo ready
exec sleep infinity
"""


class UdevBox:
    """`with UdevBox(tmp_path) as box: box.start_udevd(); box.plug("usb0", "12")`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"nbu{os.getpid()}-{next(_numbers)}"
        self.keeper: subprocess.Popen[str] | None = None
        self.udevd: subprocess.Popen[bytes] | None = None
        self.probe: subprocess.Popen[str] | None = None
        self.out = folder / "probe.out"

    def __enter__(self) -> Self:
        sh("ip", "netns", "add", self.name)
        command = ["ip", "netns", "exec", self.name, "unshare", "-m", "sh", "-c", SETUP, "sh", RULES]
        self.keeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout is not None
        assert self.keeper.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_udevd()
        for process in (self.probe, self.keeper):
            if process is not None:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
        sh("ip", "netns", "del", self.name, check=False)
        if kind is not None and self.out.exists():
            print(self.out.read_text())

    def inside(self, *command: str) -> list[str]:
        assert self.keeper is not None
        return ["nsenter", "-t", str(self.keeper.pid), "-m", "-n", *command]

    # --- udevd and the probe -------------------------------------------------------------------------------

    def start_udevd(self) -> None:
        log = (self.folder / "udevd.log").open("ab")
        with log:
            self.udevd = subprocess.Popen(self.inside(UDEVD), stdout=log, stderr=log)
        wait_for(self._udevd_answers, 10, "udevd answers")

    def _udevd_answers(self) -> bool:
        control = subprocess.run(
            self.inside("udevadm", "control", "--ping", "--timeout=1"), capture_output=True
        )
        return control.returncode == 0

    def stop_udevd(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.udevd is not None:
            self.udevd.send_signal(number)
            self.udevd.wait(40)
            self.udevd = None

    def settle(self) -> None:
        sh(*self.inside("udevadm", "settle", "--timeout=60"))

    def trigger(self, *devices: str) -> None:
        """Make udevd process these interfaces again."""
        sh(*self.inside("udevadm", "trigger", "--action=change", *(f"/sys/class/net/{d}" for d in devices)))

    def start_probe(self) -> None:
        with self.out.open("w") as out:
            command = self.inside(sys.executable, "-m", "tests.netns.udevprobe", "/run/udev/control")
            self.probe = subprocess.Popen(
                command, stdout=out, stderr=out, text=True, cwd=Path(__file__).parents[2]
            )
        wait_for(lambda: self.out.read_text().endswith("\n"), 10, "the probe speaks")

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    # --- modems --------------------------------------------------------------------------------------------

    def plug(self, device: str, group: str, mac: str = "0c:5b:8f:27:9a:64") -> None:
        """Plug a modem into a port (`group`, see RULES). All modems have the same MAC address, as some do."""
        peer = f"p-{device}"
        words = ["link", "add", "name", device, "address", mac, "group", group, "type", "veth"]
        sh("ip", "-n", self.name, *words, "peer", "name", peer)

    def unplug(self, device: str) -> None:
        sh("ip", "-n", self.name, "link", "del", device)
