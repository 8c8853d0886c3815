"""The command lines of what runs in the lab: DHCP clients and servers, the agent, the receiver, the cable."""

from __future__ import annotations

import sys
from pathlib import Path

from netbond.lab.topology import RECEIVER_PORT, SRT_PORT, Modem


def cable(socket: Path, wires: Path) -> list[str]:
    """The process that moves packets between modems and internet; it answers on `socket`."""
    return [sys.executable, "-P", "-m", "netbond.lab.cable", str(socket), str(wires)]


def dnsmasq(modem: Modem, lease_seconds: int) -> list[str]:
    """A modem's DHCP server, which knows one customer."""
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
        # A stick has one customer: whoever is plugged in gets the address.
        f"--dhcp-host={modem.mac},{modem.lease}",
    ]


def dhclient(device: str, folder: Path) -> list[str]:
    """What udev and ifupdown would do for a new interface; pid file and leases lie in `folder`."""
    files = ["-pf", str(folder / f"{device}.pid"), "-lf", str(folder / f"{device}.leases")]
    return ["dhclient", "-4", "-d", *files, device]


def receiver(netbond: Path) -> list[str]:
    """The SRTLA receiver in the internet, in front of an SRT listener on the same machine."""
    return [
        str(netbond),
        "recv",
        f"--srtla-port={RECEIVER_PORT}",
        "--srt-hostname=127.0.0.1",
        f"--srt-port={SRT_PORT}",
    ]


def agent(netbond: Path, config: Path) -> list[str]:
    """The agent of the box."""
    return [str(netbond), "run", "--config", str(config)]
