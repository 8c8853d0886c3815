"""Waits until a program that a test has started is ready: for a sign of the program, not for a fixed time.

Each wait is bounded, generously: a machine that has just been made reads each program from a cold disk. It
ends at once when the program does.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

WITHIN_S = 60.0
POLL_S = 0.01

Process = subprocess.Popen[Any] | asyncio.subprocess.Process


def wait(
    sign: Callable[[], object], what: str, process: Process | None = None, log: Path | None = None
) -> None:
    """Wait until `sign` is true; AssertionError with the end of the `log` if the process ends before."""
    deadline = time.monotonic() + WITHIN_S
    while not sign():
        ended = process is not None and _ended(process)
        if ended or time.monotonic() > deadline:
            why = "the program has ended" if ended else f"not within {WITHIN_S:g} s"
            said = log.read_text(errors="replace")[-3000:] if log is not None and log.exists() else ""
            raise AssertionError(f"{what}: {why}\n{said}")
        time.sleep(POLL_S)


def file(path: Path, process: Process) -> None:
    """Wait until the program has made this file."""
    wait(path.exists, f"{path} is there", process)


def bus_name(name: str, process: Process, environment: Mapping[str, str], log: Path | None = None) -> None:
    """Wait until the program has its name on the bus that DBUS_SYSTEM_BUS_ADDRESS of `environment` names."""
    command = ["dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus"]
    command += ["/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner", f"string:{name}"]

    def owned() -> bool:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return "boolean true" in done.stdout

    wait(owned, f"{name} is on the bus", process, log)


def udp_port(port: int, process: Process, log: Path | None = None) -> None:
    """Wait until the process itself, not a child of it, has bound this UDP port at any address."""

    def bound() -> bool:
        own = _sockets(process)
        lines = [line for table in ("udp", "udp6") for line in _table(process, table)]
        return any(int(line[1].rpartition(":")[2], 16) == port and line[9] in own for line in lines)

    wait(bound, f"UDP port {port} is bound", process, log)


def subscribed(process: Process) -> None:
    """Wait until the program, such as `ip monitor`, receives the kernel's events of its network namespace."""

    def member() -> bool:
        own = _sockets(process)
        return any(int(line[3], 16) != 0 and line[9] in own for line in _table(process, "netlink"))

    wait(member, "it has joined a group of netlink", process)


def _ended(process: Process) -> bool:
    if isinstance(process, subprocess.Popen):
        return process.poll() is not None
    return process.returncode is not None


def _sockets(process: Process) -> set[str]:
    """Return the inodes of the process's sockets."""
    found = set()
    with suppress(OSError):  # the process has ended, or has closed a descriptor
        for each in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(each.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def _table(process: Process, name: str) -> list[list[str]]:
    """Return the lines of a table of sockets in the process's network namespace, without the header."""
    try:
        return [line.split() for line in Path(f"/proc/{process.pid}/net/{name}").read_text().splitlines()[1:]]
    except OSError:
        return []
