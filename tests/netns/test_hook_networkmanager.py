"""The dispatcher script with a real NetworkManager, D-Bus and DHCP server, in namespaces of their own."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from netbond.dhcp.store import LeaseStore
from tests import ready

# Not installed by scripts/test: the package would take over the interfaces of the machine it is tested on.
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not (Path("/usr/sbin/NetworkManager").exists() and shutil.which("dbus-daemon")),
        reason="NetworkManager or dbus-daemon is not installed",
    ),
]

ROOT = Path(__file__).parents[2]
NETBOND = Path(sys.executable).parent / "netbond"

# /etc/NetworkManager is private through /etc/netns. /sys read-only tells NetworkManager not to wait for udev.
SCRIPT = """
set -e
mount --bind {folder}/run /run
mount --bind {folder}/lib /var/lib/NetworkManager
mount -o remount,ro /sys
dbus-daemon --system --nofork --nopidfile & echo $! >{folder}/dbus.pid
while ! dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetId
do sleep 0.05; done
NetworkManager --no-daemon --log-level=INFO >{folder}/nm.log 2>&1 & echo $! >{folder}/nm.pid
wait
"""

CONFIG = """
[main]
plugins=keyfile
dhcp=internal
dns=none
no-auto-default=*
[device-usb0]
match-device=interface-name:usb0
managed=1
"""

PROFILE = """
[connection]
id=modem
uuid=6f1f8e0c-6d3f-4f0e-9d5e-0d6d1a5a0001
type=ethernet
interface-name=usb0
[ipv4]
method=auto
[ipv6]
method=disabled
"""


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def bus_address(folder: Path) -> str:
    return f"unix:path={folder}/run/dbus/system_bus_socket"


@dataclass
class Box:
    """A namespace with usb0 and a NetworkManager, and a modem with a DHCP server at the other end."""

    name: str
    folder: Path
    etc: Path

    def leases(self) -> list[tuple[str, str, str, tuple[IPv4Address | IPv6Address, ...]]]:
        store = LeaseStore(self.folder / "run/netbond/leases")
        return [(x.device, x.source, str(x.address), x.routers) for x in store.load()]

    def nmcli(self, *words: str) -> str:
        return sh("env", f"DBUS_SYSTEM_BUS_ADDRESS={bus_address(self.folder)}", "nmcli", *words)


@pytest.fixture
def box() -> Iterator[Box]:
    name = f"nbnm{os.getpid()}"
    folder = Path("/var/tmp") / f"netbond-test-{os.getpid()}-{os.urandom(4).hex()}"
    etc = Path("/etc/netns") / name
    dispatcher = etc / "NetworkManager/dispatcher.d"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        folder.mkdir(mode=0o755)
        dispatcher.mkdir(parents=True)
        for part in ("run/dbus", "lib"):
            (folder / part).mkdir(parents=True)
        shutil.chown(folder / "run/dbus", "messagebus")
        script = dispatcher / "90-netbond"
        shutil.copy(ROOT / "contrib/nm-dispatcher/netbond", script)
        script.chmod(0o755)
        (etc / "NetworkManager/NetworkManager.conf").write_text(CONFIG)
        profile = etc / "NetworkManager/system-connections/modem.nmconnection"
        profile.parent.mkdir()
        profile.write_text(PROFILE)
        profile.chmod(0o600)
        (etc / "resolv.conf").touch()
        (etc / "default").mkdir()
        # No configuration: state_dir is /run/netbond of this namespace, which is a folder of the test.
        (etc / "default/netbond").write_text(f"NETBOND={NETBOND}\n")
        sh("ip", "netns", "add", name)
        sh("ip", "netns", "add", f"{name}m")
        sh("ip", "-n", name, "link", "set", "lo", "up")
        words = ["type", "veth", "peer", "name", "eth0", "netns", f"{name}m"]
        sh("ip", "-n", name, "link", "add", "usb0", *words)
        sh("ip", "-n", f"{name}m", "address", "add", "192.168.8.1/24", "dev", "eth0")
        sh("ip", "-n", f"{name}m", "link", "set", "eth0", "up")
        quiet = subprocess.DEVNULL
        processes.append(subprocess.Popen(
            ["ip", "netns", "exec", f"{name}m", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null",
             "--no-ping", "--leasefile-ro", "--dhcp-authoritative", "--port=0", "--interface=eth0",
             "--pid-file=", "--user=root", "--dhcp-range=192.168.8.100,192.168.8.100,120"],
            stdout=quiet, stderr=quiet,
        ))  # fmt: skip
        ready.udp_port(67, processes[0])
        processes.append(subprocess.Popen(
            ["ip", "netns", "exec", name, "sh", "-c", SCRIPT.format(folder=folder)],
            stdout=quiet, stderr=quiet,
        ))  # fmt: skip
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": bus_address(folder)}
        ready.bus_name("org.freedesktop.NetworkManager", processes[1], environment, folder / "nm.log")
        yield Box(name, folder, etc)
    finally:
        for pid_file in ("nm.pid", "dbus.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((folder / pid_file).read_text()), 15)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
            process.kill()
            process.wait(5)
        for namespace in (name, f"{name}m"):
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)
        shutil.rmtree(etc, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_up_and_down(box: Box) -> None:
    lease = ("usb0", "networkmanager", "192.168.8.100/24", (IPv4Address("192.168.8.1"),))
    ready.wait(lambda: box.leases() == [lease], "the lease")
    box.nmcli("device", "disconnect", "usb0")
    ready.wait(lambda: box.leases() == [], "the end of the lease")
    box.nmcli("connection", "up", "modem")
    ready.wait(lambda: box.leases() == [lease], "the lease after a reconnect")
    sh("ip", "-n", box.name, "link", "del", "usb0")  # unplugged
    ready.wait(lambda: box.leases() == [], "the end of the lease")
