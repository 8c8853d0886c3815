"""Makes the command lines of the lab's programs: DHCP clients and servers, agent, receiver, cable. Pure."""

from __future__ import annotations

import sys
from pathlib import Path

from netbond.lab.topology import RECEIVER_PORT, SRT_PORT, Modem


def cable(socket: Path, wires: Path) -> list[str]:
    """Return the command of the process that moves packets between modems and internet."""
    return [sys.executable, "-P", "-m", "netbond.lab.cable", str(socket), str(wires)]


def dnsmasq(modem: Modem, lease_seconds: int) -> list[str]:
    """Return the command of a modem's DHCP server, which has one client."""
    return [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--log-facility=-",
        "--log-dhcp",
        "--port=0",  # no DNS
        "--interface=lan0",
        "--no-ping",
        "--leasefile-ro",
        "--dhcp-authoritative",
        f"--dhcp-range={modem.lease},{modem.lease},255.255.255.0,{lease_seconds}s",
        # A modem has one client: the box that it is plugged into gets the address.
        f"--dhcp-host={modem.mac},{modem.lease}",
    ]


def dhclient(device: str, folder: Path) -> list[str]:
    """Return the command of a DHCP client, as udev and ifupdown start it; its files are in `folder`."""
    files = ["-pf", str(folder / f"{device}.pid"), "-lf", str(folder / f"{device}.leases")]
    return ["dhclient", "-4", "-d", *files, device]


def udhcpc(device: str, script: Path) -> list[str]:
    """Return the command of busybox's DHCP client; it asks each second, and runs the script."""
    return ["busybox", "udhcpc", "-f", "-i", device, "-s", str(script), "-T", "1", "-A", "1"]


def receiver(netbond: Path) -> list[str]:
    """Return the command of the SRTLA receiver in the internet, before an SRT listener on the same host."""
    return [
        str(netbond),
        "recv",
        f"--srtla-port={RECEIVER_PORT}",
        "--srt-hostname=127.0.0.1",
        f"--srt-port={SRT_PORT}",
    ]


def agent(netbond: Path, config: Path) -> list[str]:
    """Return the command of the box's agent."""
    return [str(netbond), "run", "--config", str(config)]
