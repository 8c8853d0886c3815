"""Keeps an encoder's bitrate file as the advice wants it, and signals the encoder when it has changed.

The folder may be one where others can write, and the writer may be root: what is in the file's place is
never followed. netbond.srtla.encoder decides what is written.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from netbond.srtla.encoder import BitrateLines, Lines, text
from netbond.system import files
from netbond.system.sighup import Readers

MAX_BYTES = 64  # a larger file is not what netbond has written
REST_S = 2.0  # between two searches for an encoder that is not there


class BitrateFile:
    """The file at `path`, in the folder that the descriptor `folder` stands for, if that is given."""

    def __init__(
        self,
        path: Path,
        lines: BitrateLines,
        *,
        pid_file: Path | None = None,
        process: str = "",
        folder: int | None = None,
    ) -> None:
        """`pid_file` and `process` say who the encoder is (netbond.system.sighup.Readers)."""
        self.path = path
        self._lines = lines
        self._folder = folder
        self._readers = Readers(pid_file, process, "the new bitrate", REST_S)
        self.problems: tuple[str, ...] = ()  # at present, one line each

    def begin(self, now: float) -> None:
        """Write the file for the first time; OSError if that fails."""
        files.sweep(self._place.parent, f"{self._place.name}.", self._folder)
        lines = self._lines.due(now)
        if lines is not None:
            self._write(lines, now)

    def heard(self, bits_per_second: int, at: float) -> None:
        """The video rate that was advised then; `look` writes it."""
        self._lines.advise(bits_per_second, at)

    def advise(self, bits_per_second: int, now: float) -> None:
        """The video rate that is advised now: write it if it is another, and tell the encoder."""
        self.heard(bits_per_second, now)
        self._try(self._lines.due(now), now, missed=True)

    def look(self, now: float) -> None:
        """Call it each second: advice may have ended, another program may have written the file, or what
        failed may work now."""
        lines = self._lines.due(now)
        if lines is None and self._lines.written is not None and not self._says(self._lines.written):
            lines = self._lines.written
        self._try(lines, now)

    def end(self, now: float) -> None:
        """Leave the limits in the file."""
        self._try(self._lines.limits, now)

    def _try(self, lines: Lines | None, now: float, *, missed: bool = False) -> None:
        """Write what is due, if anything is. `missed`: it is a problem if there is no encoder to tell."""
        if lines is None:
            return
        try:
            notified = self._write(lines, now)
        except OSError as error:
            self.problems = (f"cannot write the bitrate file {self.path}: {files.why(error)}",)
            return
        if missed and not notified and not self.problems:
            self.problems = self._nobody()

    def _write(self, lines: Lines, now: float) -> bool:
        """Write the file and signal the encoder: whether there was one. OSError: it cannot be written."""
        self._replace(text(lines).encode())
        self._lines.wrote(lines, now)
        notified, self.problems = self._readers.tell(now)
        return bool(notified)

    @property
    def _place(self) -> Path:
        return self.path if self._folder is None else Path(self.path.name)

    def _says(self, lines: Lines) -> bool:
        try:
            return files.read(self._place, MAX_BYTES, self._folder)[0] == text(lines).encode()
        except OSError:
            return False

    def _replace(self, data: bytes) -> None:
        path = self._place
        try:
            mode = os.stat(path, dir_fd=self._folder, follow_symlinks=False).st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if not stat.S_ISREG(mode):
            # Replacing a link would leave the file that the encoder reads as it is.
            link = stat.S_ISLNK(mode)
            why = "is a symbolic link" if link else "is not a regular file"
            raise files.UnfitFileError(errno.EINVAL, why, str(path))
        files.replace(path, data, 0o644, dir_fd=self._folder)

    def _nobody(self) -> tuple[str, ...]:
        if self._readers.pid_file is not None:
            return (f"{self._readers.pid_file} is not there; no encoder is told of the new bitrate",)
        if self._readers.process:
            return (f"no process is called {self._readers.process}; no encoder is told of the new bitrate",)
        return ()
