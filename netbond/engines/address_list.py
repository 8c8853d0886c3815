"""Writes the address list for SRTLA senders, one line per usable uplink, and signals them when it changes.

srtla_send and `netbond send` read the file when they start and again on SIGHUP. It lies where any user may
write (/tmp/srtla_ips) and the writer is root, so a link put in its place is replaced, never followed; and
SIGHUP goes only to processes that were meant and that handle it: others would be ended by it.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from netbond.model import Uplink
from netbond.system import files

MAX_LIST_BYTES = 65536  # a larger file is not netbond's
MAX_PID_FILE_BYTES = 64
PROC = Path("/proc")


def render(uplinks: Iterable[Uplink], *, devices: bool = False, ipv6: bool = False) -> str:
    """The list as text: `10.0.0.10` lines, or `10.0.0.10%usb0` with `devices`; "" if there is none.

    Usable uplinks only, IPv4 first and by table, so that the order does not depend on which modem came first.
    IPv6 only if asked for (srtla_send knows IPv4 only). Twins that share an address give one plain line: such
    a reader cannot tell them apart.
    """
    usable = sorted(
        (u for u in uplinks if u.in_list and (ipv6 or u.family == 4)),
        key=lambda u: (u.family, u.table, u.device, int(u.address.ip)),
    )
    lines = [f"{u.address.ip}%{u.device}" if devices else str(u.address.ip) for u in usable]
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


@dataclass(frozen=True, slots=True)
class Update:
    """What an update did, and what is wrong at present, in one line each."""

    written: bool = False
    notified: tuple[int, ...] = ()  # process ids that got SIGHUP
    problems: tuple[str, ...] = ()


class AddressList:
    """The file at `path` (None: there is none), and those who are told when it changes.

    `pid_file` holds the id of a process; `process` is the name of any number of them (what `ps -C` takes, or
    the last part of the first word of the command line). With both, it is the process of the file, and only
    if it has that name.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        devices: bool = False,
        ipv6: bool = False,
        empty: bool = False,
        pid_file: Path | None = None,
        process: str = "",
    ) -> None:
        self.path = path
        self.devices = devices
        self.ipv6 = ipv6
        self.empty = empty
        self.pid_file = pid_file
        self.process = process
        self._not_notified: tuple[str, ...] = ()  # problems of the last notification

    def update(self, uplinks: Iterable[Uplink]) -> Update:
        """Write the file if it is out of date, and then signal its readers. No OSError: problems are named.

        Without `empty`, a list that would become empty is not written: senders stop on an empty list, and
        with the old one they carry on as soon as a modem is back.
        """
        text = render(uplinks, devices=self.devices, ipv6=self.ipv6)
        if self.path is None or not (text or self.empty):
            return Update()
        data = text.encode()
        try:
            if self._is_current(self.path, data):
                return Update(problems=self._not_notified)
            files.replace(self.path, data, 0o644)
        except OSError as error:
            return Update(problems=(f"cannot write the address list {self.path}: {files.why(error)}",))
        notified, problems = self._notify()
        self._not_notified = tuple(problems)
        return Update(True, notified, self._not_notified)

    def _is_current(self, path: Path, data: bytes) -> bool:
        """Whether the file is as it would be written; one that others may change is not."""
        try:
            content, status = files.read(path, MAX_LIST_BYTES)
        except FileNotFoundError:
            return False
        except files.UnfitFileError:
            return False  # a link, a FIFO: replaced. A directory: replacing it fails, and says so.
        ours = status.st_uid == os.geteuid() and status.st_nlink == 1
        return content == data and ours and stat.S_IMODE(status.st_mode) == 0o644

    def _notify(self) -> tuple[tuple[int, ...], list[str]]:
        """The processes that got SIGHUP, and the problems."""
        notified: list[int] = []
        problems: list[str] = []
        candidates: list[tuple[int, int | None]] = []
        if self.pid_file is not None:
            try:
                candidates = [read_pid_file(self.pid_file)]
            except FileNotFoundError:
                pass  # its process is not running: nobody to tell
            except OSError as error:
                problems.append(
                    f"{self.pid_file}: {files.why(error)}; nobody is told of the new address list"
                )
        elif self.process:
            candidates = [(pid, None) for pid in processes(self.process)]
        for pid, owner in candidates:
            try:
                send_sighup(pid, name=self.process, owner=owner)
            except ProcessLookupError as error:
                if self.pid_file is not None:
                    problems.append(f"{self.pid_file}: process {pid} {error.strerror}")
            except OSError as error:
                problems.append(f"process {pid} {files.why(error)}; it is not told of the new address list")
            else:
                notified.append(pid)
        return tuple(notified), problems


# --- signals to readers ------------------------------------------------------------------------------------


class UnfitProcessError(OSError):
    """A process that gets no signal from netbond; `strerror` says why, in a few words."""


def read_pid_file(path: Path) -> tuple[int, int | None]:
    """The process id in the file, and the user whose processes it may name (None: anybody's).

    FileNotFoundError if there is none; UnfitFileError, or another OSError, if it is not to be trusted.
    """
    data, status = files.read(path, MAX_PID_FILE_BYTES)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise files.UnfitFileError(errno.EPERM, "can be written by others than its owner", str(path))
    match = re.fullmatch(rb"\s*([0-9]{1,9})\s*", data)
    if match is None:
        raise files.UnfitFileError(errno.EINVAL, "holds no process id", str(path))
    return int(match[1]), status.st_uid or None


def processes(name: str) -> list[int]:
    """The processes of that name, without this one."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if name in names(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended
    return sorted(found)


def names(pid: int) -> tuple[str, ...]:
    """What a process is called: its comm (15 bytes at most), and its command's first word without folders."""
    folder = PROC / str(pid)
    comm = (folder / "comm").read_bytes().removesuffix(b"\n")
    program = (folder / "cmdline").read_bytes().split(b"\0", 1)[0].rpartition(b"/")[2]
    return tuple(os.fsdecode(name) for name in (comm, program) if name)


def send_sighup(pid: int, *, name: str = "", owner: int | None = None) -> None:
    """Send SIGHUP to a process that handles it, is called `name` if given, and is `owner`'s if given.

    UnfitProcessError says why it does not get it; ProcessLookupError if it is gone. A descriptor holds the
    process: what is checked is true of the one that gets the signal, even if ids are used again meanwhile.
    """

    def unfit(why: str) -> UnfitProcessError:
        return UnfitProcessError(errno.EPERM, why)

    if pid <= 1:
        raise unfit("is not one that may be signalled")
    if pid == os.getpid():
        raise unfit("is netbond itself")
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # ESRCH; EINVAL for a thread
        raise ProcessLookupError(errno.ESRCH, "is not running") from None
    try:
        try:
            status = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
            called = names(pid)
            signal.pidfd_send_signal(descriptor, 0)  # still there, so what was read was about it
        except (FileNotFoundError, ProcessLookupError):
            raise ProcessLookupError(errno.ESRCH, "is not running") from None
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if fields["State"].startswith("Z"):  # has ended, and its parent has not asked yet
            raise ProcessLookupError(errno.ESRCH, "is not running")
        if name and name not in called:
            raise unfit(f"is not {name} but {called[0]!a}" if called else f"is not {name}")
        if owner is not None and int(fields["Uid"].split()[0]) != owner:
            raise unfit("belongs to another user than the file with its id")
        if not int(fields["SigCgt"], 16) >> (signal.SIGHUP - 1) & 1:
            raise unfit("does not handle SIGHUP, which would end it")
        signal.pidfd_send_signal(descriptor, signal.SIGHUP)
    finally:
        os.close(descriptor)
