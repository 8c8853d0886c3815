"""Reads and writes state files: what is kept in `state_dir` and `data_dir` for the next start of the agent.

Each is one JSON object that names its kind and the version of its format. It is read only if nobody but root
and this process's user can have written it, and it is replaced as a whole. Files of netbond 0.1, which named
no kind, are still read.

Quick to import: a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os

from netbond.system import files, strict_json

TYPE_CHECKING = False  # type checkers take it for typing.TYPE_CHECKING
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any


class StateFileError(ValueError):
    """What is at the path is no state file that netbond can use; the text says why, in a few words."""


class StateFile:
    """One state file. `kind` is what it says that it is, `limit` its largest size in bytes.

    `old` converts the value of a file without a kind, as netbond 0.1 wrote it, into today's content; it
    raises ValueError, TypeError or LookupError for anything else. Without `old`, the content is the same.
    With `folder`, a descriptor, `path` is a name in that directory.
    """

    def __init__(
        self,
        path: Path | str,
        kind: str,
        limit: int,
        *,
        version: int = 1,
        old: Callable[[Any], dict[str, Any]] | None = None,
        folder: int | None = None,
    ) -> None:
        self.path = path
        self._kind = kind
        self._limit = limit
        self._version = version
        self._old = old
        self._folder = folder

    def read(self) -> dict[str, Any]:
        """What the file says. FileNotFoundError if there is none.

        StateFileError if it is no file of this kind and version, is too large, or others can have written it;
        OSError if it cannot be read just now.
        """
        try:
            data, status = files.read(self.path, self._limit, dir_fd=self._folder)
        except files.UnfitFileError as error:
            raise StateFileError(f"it {error.strerror}") from None
        if not files.trusted(status):
            raise StateFileError("users other than root can write to it")
        try:
            found = strict_json.parse(data)
            if self._old is not None and not (isinstance(found, dict) and "kind" in found):
                return self._old(found)
        except ValueError as error:
            raise StateFileError(str(error)) from None
        except (TypeError, LookupError):
            raise StateFileError(f"it is no file of kind {self._kind}") from None
        if not isinstance(found, dict):
            raise StateFileError("it is not a JSON object")
        if found.get("kind", self._kind) != self._kind:
            raise StateFileError(f"it is no file of kind {self._kind}")
        version = found.get("version", self._version)
        if type(version) is not int or version != self._version:
            raise StateFileError(f"it is not of version {self._version}, which this netbond reads")
        return found

    def write(self, content: Mapping[str, Any], *, durable: bool = False, indent: int | None = None) -> int:
        """Make `content` what the file says; its directory (0755) is made if it is missing. Return its bytes.

        Readers see the old file or the new one. With `durable` it survives a power cut, at the price of
        waiting for the disk; `indent` is for files that people read or correct. Temporary files of writers
        that were killed are removed. OSError if it cannot be written; then nothing changed.
        """
        whole = {"kind": self._kind, "version": self._version, **content}
        data = json.dumps(whole, indent=indent).encode() + b"\n"
        if len(data) > self._limit:
            raise OSError(errno.EFBIG, f"would be larger than {self._limit} bytes", str(self.path))
        if self._folder is None:
            files.make_directory(os.path.dirname(self.path) or ".", 0o755)  # noqa: PTH120 - quick
        files.replace(self.path, data, 0o600, dir_fd=self._folder, durable=durable)
        files.sweep(os.path.dirname(self.path) or ".", dir_fd=self._folder)  # noqa: PTH120
        return len(data)

    def remove(self) -> None:
        """Remove the file, if there is one. OSError if that fails."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path, dir_fd=self._folder)


def open_folder(path: Path | str) -> int:
    """A descriptor of a directory of state files; the caller closes it.

    PermissionError if users other than root and this process's own can write there, other OSErrors as the
    kernel gives them: a symbolic link is not followed.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not files.trusted(os.fstat(folder)):
        os.close(folder)
        raise PermissionError(errno.EPERM, "users other than root can write there", str(path))
    return folder


def reason(error: OSError | ValueError) -> str:
    """Why a state file cannot be used, in a few words for a line that begins with its path."""
    return files.why(error) if isinstance(error, OSError) else str(error)
