"""Reads the DHCP leases of systemd-networkd, which runs no hooks, from /run/systemd/netif/leases.

Why the files and not D-Bus: they are there at boot before the bus is, they survive a restart of either, and
reading them costs a few hundred bytes. Their format is private to systemd ("Do not parse", they say), but
cloud-init and others have read it for years. An invalid file is named once and ignored; the default route
that networkd sets in main names the gateway then.

networkd writes a file a moment after the kernel has the address, so the kernel's event comes too early. So
the folder is watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from netbond.dhcp.clients import LeaseError, parse_networkd
from netbond.dhcp.lease import Lease
from netbond.model import Interface
from netbond.system import files

logger = logging.getLogger(__name__)

DIRECTORY = Path("/run/systemd/netif/leases")
LARGEST_FILE_BYTES = 65536
CHECK_INTERVAL_S = 2.0  # how often to look whether networkd has made the folder, or another one

# include/uapi/linux/inotify.h
_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_DELETE = 0x8, 0x80, 0x200
_IN_ONLYDIR, _IN_DONT_FOLLOW = 0x01000000, 0x02000000
_MASK = _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_DELETE | _IN_ONLYDIR | _IN_DONT_FOLLOW


class Networkd:
    """Call start(), then leases() at each look, and stop() at the end. networkd may be absent."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._reported: set[str] = set()
        self._kept: dict[int, Lease] = {}  # what leases() returned the last time, by interface index
        self._dated: dict[int, tuple[tuple[int, int], float]] = {}  # which file, and when it was written
        self._look: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inotify = -1
        self._watched: tuple[int, int] | None = None  # the folder that is watched: device and inode

    def start(self, look: Callable[[], None]) -> None:
        """Watch the folder in the running loop. `look` is called when leases() may return something new."""
        self._loop, self._look = asyncio.get_running_loop(), look
        self._check(self._loop)

    def stop(self) -> None:
        """Stop watching; leases() can still be called."""
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()
        self._timer = self._look = None

    def leases(self, links: Iterable[Interface], now: float, clock: float) -> tuple[Lease, ...]:
        """The leases of these interfaces, by device name; files are named by an interface's index.

        `now` is seconds since boot, `clock` is Unix time, by which files are dated. If the clock jumped
        before this watcher started, older leases are only known to be of this boot.

        A file that cannot be read just now (no descriptor left) counts as before: its uplink must not go.
        """
        found: dict[int, Lease] = {}
        dated: dict[int, tuple[tuple[int, int], float]] = {}
        there = self._files()
        links = [link for link in links if there is None or str(link.index) in there]
        for link in sorted(links, key=lambda link: link.name):
            path = self._directory / str(link.index)
            try:
                data, status = files.read(path, LARGEST_FILE_BYTES)
                if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    raise LeaseError("users other than networkd can write to it")
                text = data.decode("utf-8", "replace")
                dated[link.index] = self._date(link.index, status, now, clock)
                lease = parse_networkd(text, link.name, dated[link.index][1])
                found[link.index] = lease._replace(ifindex=link.index)
            except FileNotFoundError:
                continue
            except (LeaseError, files.UnfitFileError) as error:
                reason = files.why(error) if isinstance(error, OSError) else str(error)
                self._report(f"{path}: {reason}; ignored")
            except OSError as error:
                self._report(f"{path}: {files.why(error)}; its last content still counts")
                if link.index in self._kept:
                    found[link.index] = self._kept[link.index]._replace(device=link.name)
                    dated[link.index] = self._dated[link.index]
        self._kept, self._dated = found, dated
        return tuple(found.values())

    def _files(self) -> Collection[str] | None:
        """The names of the files in the folder; None if it cannot be listed just now: each is tried then."""
        try:
            return frozenset(os.listdir(self._directory))  # noqa: PTH208 - quick
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError:
            return None

    def _date(
        self, index: int, status: os.stat_result, now: float, clock: float
    ) -> tuple[tuple[int, int], float]:
        """Which file it is, and when it was written, in seconds since boot."""
        file = (status.st_ino, status.st_mtime_ns)
        before = self._dated.get(index)
        if before is not None and before[0] == file:
            return before
        return file, min(now, max(0.0, now - (clock - status.st_mtime)))

    def _report(self, line: str) -> None:
        if line not in self._reported:
            self._reported.add(line)
            logger.warning("%s", line)

    # --- watching ------------------------------------------------------------------------------------------

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the folder, if it is new or another one."""
        self._timer = loop.call_later(CHECK_INTERVAL_S, self._check, loop)
        folder: tuple[int, int] | None = None
        with contextlib.suppress(OSError):
            status = self._directory.stat()
            folder = (status.st_dev, status.st_ino)
        if folder == self._watched:
            return
        self._unwatch()
        if folder is not None and self._watch(loop):
            self._watched = folder
        if self._look is not None:
            self._look()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> bool:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        path = os.fsencode(self._directory)
        if descriptor < 0 or libc.inotify_add_watch(descriptor, path, _MASK) < 0:
            # inotify instances can run out. The look every few seconds finds leases too.
            self._report(f"{self._directory} cannot be watched: {os.strerror(ctypes.get_errno())}")
            if descriptor >= 0:
                os.close(descriptor)
            return False
        self._inotify = descriptor
        loop.add_reader(descriptor, self._events)
        return True

    def _unwatch(self) -> None:
        if self._inotify >= 0 and self._loop is not None:
            self._loop.remove_reader(self._inotify)
            os.close(self._inotify)
        self._inotify, self._watched = -1, None

    def _events(self) -> None:
        """Look again. Which event it was does not matter; an overflow of the queue is an event, too."""
        try:
            os.read(self._inotify, 65536)
        except BlockingIOError:
            return
        if self._look is not None:
            self._look()
