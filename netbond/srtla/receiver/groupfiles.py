"""Writes group files: the addresses that a stream comes from, for scripts beside the SRT server.

The SRT server sees each group as a caller from 127.0.0.1 and a port. `srtla-group-PORT` names the addresses
of that group's links, one a line, as other SRTLA receivers write it, for scripts that ban or show callers.
The file is removed with the group.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from netbond.system import files

PREFIX = "srtla-group-"

log = logging.getLogger(__name__)


class GroupFiles:
    """The files of one receiver, in a directory that may be as public as /tmp."""

    def __init__(self, directory: Path) -> None:
        """UnavailableError if the directory is none or is closed to us."""
        self._directory = files.open_directory(directory, "--group-dir")
        self._path = directory
        self._written: dict[int, bytes] = {}
        self._failing = False
        files.sweep(".", PREFIX, self._directory)

    def write(self, port: int, hosts: Iterable[str]) -> None:
        """Name the addresses of the links of the group at `port`."""
        text = "".join(f"{host}\n" for host in dict.fromkeys(hosts)).encode()
        if self._written.get(port) == text:
            return
        try:
            files.replace(f"{PREFIX}{port}", text, 0o644, dir_fd=self._directory)
        except OSError as error:
            if not self._failing:
                log.warning("%s/%s%d: %s", self._path, PREFIX, port, files.why(error))
            self._failing = True
            return
        self._failing = False
        self._written[port] = text

    def remove(self, port: int) -> None:
        """The group at `port` is gone."""
        if self._written.pop(port, None) is not None:
            with contextlib.suppress(OSError):
                os.unlink(f"{PREFIX}{port}", dir_fd=self._directory)

    def close(self) -> None:
        """Remove all of them."""
        for port in list(self._written):
            self.remove(port)
        os.close(self._directory)
