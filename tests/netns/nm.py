"""Runs a real NetworkManager in a network namespace, with modems (DHCP servers) to plug in.

Its /run, /etc/NetworkManager and /var/lib/NetworkManager are folders of the test, in a mount namespace that
ends with it; its bus is a PrivateBus. It never sees the machine's interfaces.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests import ready
from tests.buses import PrivateBus, end

CONFIG = """\
[main]
plugins=keyfile
dhcp=internal
dns=none
rc-manager=unmanaged
hostname-mode=none
auth-polkit=false
no-auto-default=*
[connectivity]
enabled=false
[logging]
level=INFO
[device-usb]
match-device=interface-name:usb*
managed=1
"""

PROFILE = """\
[connection]
id={name}
uuid=5f1e6c1e-0000-4000-8000-0000000000{number:02x}
type=ethernet
interface-name={device}
autoconnect=true
[ipv4]
method=auto
{ipv4}
[ipv6]
{ipv6}
"""

# Without udevd, NetworkManager waits for each device's udev data for ever, unless /sys is read-only: then it
# assumes that it is in a container.
ENTER = """\
set -e
mount --bind "$1/run" /run
mount --bind "$1/etc" /etc/NetworkManager
mount --bind "$1/var" /var/lib/NetworkManager
mount -o remount,ro,bind /sys
: > "$1/ready"
exec sleep infinity
"""


def run(*command: str) -> str:
    """Run a command that must succeed; return its output."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class NetworkManagerBox:
    """A namespace in which NetworkManager manages usb*."""

    def __init__(self, folder: Path, bus: PrivateBus, tag: str) -> None:
        self.folder = folder
        self.bus = bus
        self.namespace = f"nbtnm{os.getpid()}{tag}"
        self.log = folder / "nm.log"
        self._modems: dict[str, subprocess.Popen[bytes]] = {}
        self._holder: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> NetworkManagerBox:
        for name in ("run", "etc", "etc/system-connections", "etc/conf.d", "var"):
            (self.folder / name).mkdir()
        (self.folder / "etc/NetworkManager.conf").write_text(CONFIG)
        (self.folder / "enter").write_text(ENTER)
        run("ip", "netns", "add", self.namespace)
        try:
            run("ip", "-n", self.namespace, "link", "set", "lo", "up")
            self._holder = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "sh", str(self.folder / "enter"), str(self.folder)]
            )
            ready.file(self.folder / "ready", self._holder)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        for process in self._modems.values():
            end(process)
        end(self._holder)
        for name in (self.namespace, *(self.modem_namespace(device) for device in self._modems)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def start(self) -> None:
        """Start NetworkManager; it is on the bus when this returns."""
        assert self._holder is not None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", "-t", str(self._holder.pid), "-m", "-n", "NetworkManager", "--debug"],
                env={**self.bus.environment, "PATH": os.environ["PATH"] + ":/usr/sbin"},
                stdout=log,
                stderr=log,
            )
        ready.bus_name("org.freedesktop.NetworkManager", self._process, self.bus.environment, self.log)

    def stop(self, *, kill: bool = False) -> None:
        """Stop NetworkManager; what it configured stays."""
        end(self._process, kill=kill)
        self._process = None

    @property
    def pid(self) -> int:
        """The PID of the running NetworkManager; nsenter has replaced itself by it."""
        assert self._process is not None
        return self._process.pid

    def profile(self, device: str, ipv4: str = "", ipv6: str = "method=disabled") -> None:
        """Write a connection for `device`, before NetworkManager starts.

        `ipv4` adds lines to [ipv4]; `ipv6` is the content of [ipv6].
        """
        number = int(device[3:])
        file = self.folder / f"etc/system-connections/{device}.nmconnection"
        file.write_text(
            PROFILE.format(name=f"modem {number}", number=number, device=device, ipv4=ipv4, ipv6=ipv6)
        )
        file.chmod(0o600)

    def plug(self, device: str, network: str) -> None:
        """Plug in a modem: its router is `network`.1, and serves addresses from `network`.10 on."""
        namespace = self.modem_namespace(device)
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "add", "lan", "type", "veth", "peer", "name", device)
        run("ip", "-n", namespace, "addr", "add", f"{network}.1/24", "dev", "lan")
        run("ip", "-n", namespace, "link", "set", "lan", "up")
        self.serve(device, network)
        run("ip", "-n", namespace, "link", "set", device, "netns", self.namespace)

    def serve(self, device: str, network: str, *more: str) -> None:
        """Start or restart the modem's DHCP server; it is ready when this returns."""
        end(self._modems.get(device))
        self._modems[device] = subprocess.Popen(
            [
                "ip", "netns", "exec", self.modem_namespace(device),
                "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-ping", "--leasefile-ro",
                "--dhcp-authoritative", "--port=0", "--interface=lan", "--user=root", "--pid-file=",
                f"--dhcp-range={network}.10,{network}.50,255.255.255.0,120",
                f"--dhcp-option=3,{network}.1", "--dhcp-option=6,192.0.2.53", *more,
            ],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ready.udp_port(67, self._modems[device])

    def renumber(self, device: str, old: str, new: str) -> None:
        """Move the modem to another network, as when it connects again."""
        namespace = self.modem_namespace(device)
        run("ip", "-n", namespace, "addr", "del", f"{old}.1/24", "dev", "lan")
        run("ip", "-n", namespace, "addr", "add", f"{new}.1/24", "dev", "lan")
        self.serve(device, new)

    def give(self, device: str, address: str, gateway: str = "") -> None:
        """Set the interface's only address, and a default route, without NetworkManager."""
        run("ip", "-n", self.namespace, "addr", "flush", "dev", device)
        run("ip", "-n", self.namespace, "addr", "add", address, "dev", device)
        if gateway:
            run("ip", "-n", self.namespace, "route", "add", "default", "via", gateway, "dev", device)

    def unplug(self, device: str) -> None:
        """Unplug the modem; its DHCP server ends with it."""
        end(self._modems[device])
        run("ip", "-n", self.namespace, "link", "del", device)

    def nmcli(self, *arguments: str) -> str:
        """Run nmcli against this NetworkManager, from outside the namespace."""
        done = subprocess.run(
            ["nmcli", *arguments], env=self.bus.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (
            f"nmcli {' '.join(arguments)}: {done.stderr}{self.log.read_text()[-3000:]}"
        )
        return done.stdout

    def activated_at(self, device: str) -> list[float]:
        """Return when NetworkManager activated `device`, as it reports itself, in wall-clock seconds."""
        pattern = rf"\[([0-9.]+)\] device \({device}\): Activation: successful"
        return [float(stamp) for stamp in re.findall(pattern, self.log.read_text())]

    def addresses(self, device: str) -> list[str]:
        """Return the kernel's addresses of the interface: "10.0.0.10/24", ..."""
        shown = run("ip", "-n", self.namespace, "-4", "-o", "addr", "show", "dev", device)
        return re.findall(r"inet (\S+)", shown)

    def modem_namespace(self, device: str) -> str:
        """Return the name of the modem's namespace."""
        return f"{self.namespace}{device}"
