"""Writes the statistics of an engine that runs without the agent into a JSON file, each second.

For scripts, and for whoever wants to look. Readers see a whole file at any time; its age (mtime) says whether
the engine is alive. It is removed when the engine ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

from netbond.errors import UnavailableError
from netbond.system import files

log = logging.getLogger(__name__)


class StatsFile:
    """The file of one engine."""

    def __init__(self, path: Path) -> None:
        """UnavailableError if the file cannot be made, or is not a regular file."""
        self._path = path
        self._directory = files.open_directory(path.parent, "--stats-file", path)
        self._failing = False
        files.sweep(".", f"{path.name}.", self._directory)
        try:
            mode = os.stat(path.name or ".", dir_fd=self._directory, follow_symlinks=False).st_mode
        except OSError:
            return
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):  # a link is replaced, not followed
            os.close(self._directory)
            raise UnavailableError(f"--stats-file {path} is not a regular file", "name another")

    def write(self, stats: dict[str, Any]) -> None:
        """Write these. A failure is logged once, and writing is tried again with the next."""
        text = json.dumps(stats, indent=1).encode() + b"\n"
        try:
            files.replace(self._path.name, text, 0o644, dir_fd=self._directory)
        except OSError as error:
            if not self._failing:
                log.warning("%s: %s", self._path, files.why(error))
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """Remove it."""
        with contextlib.suppress(OSError):
            os.unlink(self._path.name, dir_fd=self._directory)
        os.close(self._directory)
