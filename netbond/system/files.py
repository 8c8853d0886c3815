"""Reads and writes small files as root, also in directories where others can write (/tmp/srtla_ips).

Nothing here follows a symbolic link in the last part of a path, or opens a temporary name that somebody could
have guessed. A reader never sees half a file. Quick to import: a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time

from netbond.errors import UnavailableError

TEMPORARY = ".netbond-"  # starts the name of a file that is still being written
RANDOM_BYTES = 6  # that end it, in hexadecimal
NEW_S = 1.0  # for which a file may not be held yet by the process that makes it


class UnfitFileError(OSError):
    """What is at the path is not a plain small file; `strerror` says what it is, in a few words."""


def read(path: str | os.PathLike[str], limit: int, dir_fd: int | None = None) -> tuple[bytes, os.stat_result]:
    """The content of the regular file `path` (at most `limit` bytes), and the stat of the opened file.

    FileNotFoundError if there is none, UnfitFileError for a symbolic link, a directory, a device, a FIFO, or
    a larger file; other OSErrors as the kernel gives them.
    """
    # O_NONBLOCK: opening a FIFO without a writer would block for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnfitFileError(errno.ELOOP, "is a symbolic link", str(path)) from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnfitFileError(errno.EINVAL, "is not a regular file", str(path))
        data = b""
        while len(data) <= limit and (more := os.read(descriptor, limit + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise UnfitFileError(errno.EFBIG, f"is larger than {limit} bytes", str(path))
    return data, status


def trusted(status: os.stat_result) -> bool:
    """Whether only root and this process's user can have written the file or directory."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def replace(
    path: str | os.PathLike[str], data: bytes, mode: int, dir_fd: int | None = None, *, durable: bool = False
) -> None:
    """Put a file with this content at `path`: readers see the old file or the new one, never a part.

    A symbolic link at `path` is replaced, not followed. OSError if it cannot be done; then nothing changed.
    With `durable` the data is forced to the disk, so that a power cut leaves the old file or the new one.
    Otherwise it is not: most of what netbond writes is made anew at each start.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f"{TEMPORARY}{name[:64]}.{os.urandom(RANDOM_BYTES).hex()}")  # noqa: PTH118 - quick
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=dir_fd)
    try:
        try:
            _hold(descriptor)
            os.fchmod(descriptor, mode)  # not left to the umask
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=dir_fd)
        raise
    if durable:
        _sync_directory(folder or ".", dir_fd)


def sweep(folder: str | os.PathLike[str], start: str = "", dir_fd: int | None = None) -> None:
    """Remove what writers have left that were killed: unfinished files for names that begin with `start`.

    Only files that belong to this process's user, and that no process holds. With `dir_fd`, `folder` is a
    path in that directory. Whatever fails is left for the next time.
    """
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            with os.scandir(opened) as entries:
                names = [entry.name for entry in entries if entry.name.startswith(TEMPORARY + start)]
            for name in names:
                if _abandoned(name, opened):
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=opened)
        finally:
            os.close(opened)


def _hold(descriptor: int) -> None:
    """As long as the file is open, nobody takes it for abandoned."""
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _abandoned(name: str, folder: int) -> bool:
    _, _, ending = name.rpartition(".")
    if len(ending) != 2 * RANDOM_BYTES or not all(c in "0123456789abcdef" for c in ending):
        return False
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or abs(time.time() - status.st_mtime) < NEW_S:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its writer holds it
    finally:
        os.close(descriptor)
    return True


def _sync_directory(folder: str, dir_fd: int | None) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_directory(
    directory: str | os.PathLike[str], option: str, value: str | os.PathLike[str] | None = None
) -> int:
    """A descriptor of the directory in which an engine writes files.

    UnavailableError if it is no directory or not writable; the message names `option` and `value`, by default
    the directory.
    """
    descriptor = -1
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor, effective_ids=True):
            raise PermissionError(0, "no permission to write there")
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise UnavailableError(
            f"{option} {value or directory}: {error.strerror}",
            "name a directory that the engine's user can write",
        ) from None
    return descriptor


def make_directory(path: str | os.PathLike[str], mode: int) -> None:
    """Make the directory with exactly this mode, and its parents with 0755, unless it is there.

    mkdir() applies the umask. That of a DHCP hook or a unit may keep others out of /run/netbond.
    """
    try:
        os.mkdir(path, mode)  # noqa: PTH102 - pathlib is no quicker to read here, and slower to import
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(os.path.dirname(path), 0o755)  # noqa: PTH120
        make_directory(path, mode)
        return
    os.chmod(path, mode)  # noqa: PTH101


def why(error: OSError) -> str:
    """An OSError in a few words, without its number."""
    return error.strerror or str(error)
