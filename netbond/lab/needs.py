"""Checks that the lab has what it requires (root, programs, TUN), and says how to get what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from netbond.errors import NotPermittedError, UnavailableError

# Each program with its Debian package.
PROGRAMS = {"ip": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base"}
# The DHCP client where dhclient is not installed. Nobody is asked to install it: ifupdown of Debian 13 then
# uses it for the machine's own interfaces.
FALLBACK = {"busybox": "busybox"}


def need_root() -> None:
    """Raise NotPermittedError unless the user is root."""
    if os.geteuid() != 0:
        raise NotPermittedError("the lab makes network namespaces, which needs root", "run it with sudo")


def has_program(name: str) -> bool:
    """Whether there is a program of this name."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin") is not None


def need_programs(programs: Mapping[str, str] | None = None) -> None:
    """Raise UnavailableError for the first missing program, with its Debian package, or if TUN is missing."""
    if programs is None:
        programs = PROGRAMS if has_program("dhclient") else PROGRAMS | FALLBACK
    for program, package in programs.items():
        if not has_program(program):
            raise UnavailableError(
                f"the lab needs the program {program}", f"install it: apt install {package}"
            )
    if not Path("/dev/net/tun").exists():
        raise UnavailableError("/dev/net/tun is missing", "load the kernel module: modprobe tun")
