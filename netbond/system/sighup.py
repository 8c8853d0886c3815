"""Sends SIGHUP to programs that read a file when it has changed, and to none that it would end.

Whom to tell is said by a name or by a file with a process id. The sender may be root and the file anybody's,
so each process is looked at first: SIGHUP goes only to one that was meant and that handles it.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
from pathlib import Path

from netbond.system import files

MAX_PID_FILE_BYTES = 64
PROC = Path("/proc")


class Readers:
    """The programs that read a file.

    `pid_file` holds the id of a process; `process` is the name of any number of them (what `ps -C` takes, or
    the last part of the first word of the command line). With both, it is the process of the file, and only
    if it has that name. `news` is what they are told of, for the problems: "the new address list".

    To look for a name is to read two files of each process that there is. Whoever tells often and must not
    wait gives `rest_s`: those that were found are remembered while they live, and when there were none,
    nobody is looked for within this time.
    """

    def __init__(self, pid_file: Path | None, process: str, news: str, rest_s: float = 0.0) -> None:
        self.pid_file = pid_file
        self.process = process
        self.news = news
        self.rest_s = rest_s
        self._found: list[int] = []
        self._looked_at = float("-inf")

    def tell(self, now: float) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Signal them: the ids of those that got SIGHUP, and the problems. `now` is monotonic seconds."""
        notified: list[int] = []
        problems: list[str] = []
        candidates: list[tuple[int, int | None]] = []
        if self.pid_file is not None:
            try:
                candidates = [read_pid_file(self.pid_file)]
            except FileNotFoundError:
                pass  # its process is not running: nobody to tell
            except OSError as error:
                problems.append(f"{self.pid_file}: {files.why(error)}; nobody is told of {self.news}")
        elif self.process:
            candidates = [(pid, None) for pid in self._named(now)]
        for pid, owner in candidates:
            try:
                send_sighup(pid, name=self.process, owner=owner)
            except ProcessLookupError as error:
                if self.pid_file is not None:
                    problems.append(f"{self.pid_file}: process {pid} {error.strerror}")
            except OSError as error:
                problems.append(f"process {pid} {files.why(error)}; it is not told of {self.news}")
            else:
                notified.append(pid)
        return tuple(notified), tuple(problems)

    def _named(self, now: float) -> list[int]:
        known = bool(self._found) and all(_is_called(pid, self.process) for pid in self._found)
        if not known and (self._found or now - self._looked_at >= self.rest_s):
            self._found, self._looked_at = processes(self.process), now
        found = self._found
        if not self.rest_s:
            self._found = []
        return found


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
    others = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return sorted(pid for pid in others if pid != os.getpid() and _is_called(pid, name))


def _is_called(pid: int, name: str) -> bool:
    try:
        return name in names(pid)
    except OSError:
        return False  # it has ended


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
