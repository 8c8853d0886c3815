"""Notices that a file is no longer as it was read."""

from __future__ import annotations

from pathlib import Path


class FileChange:
    """Remembers how the file at `path` was when it was read; None: there is no file to look after."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read = self._state()
        self._since: float | None = None  # when it was found to be another

    def read(self) -> None:
        """It is read now."""
        self._read, self._since = self._state(), None

    def look(self, now: float) -> float | None:
        """For how many seconds it has been another than what was read; None: it is the same.

        `now` is by any clock. One that is away or cannot be looked at counts as the same: it may be on its
        way.
        """
        state = self._state()
        if state is None or state == self._read:
            self._since = None
            return None
        if self._since is None:
            self._since = now
        return now - self._since

    def _state(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
