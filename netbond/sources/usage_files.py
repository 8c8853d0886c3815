"""Keeps what was used of data plans: durably in `data_dir`, and what was counted since then in `state_dir`.

The durable file is forced to the disk, which wears an SD card, so it is written seldom. The other one costs
nothing where `state_dir` is in memory, and lasts until the next boot. It says which durable file it goes on
from: if that was replaced since, by netbond or by a person who corrects it, the durable one counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netbond.system.clock import boot_id
from netbond.system.state_file import StateFile, StateFileError

STORE = "usage.json"  # in data_dir and in state_dir
LARGEST_BYTES = 1 << 20
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # a file may be read a moment later


class UsageFiles:
    """The two files. Their content is what netbond.sources.data_plans.to_json() makes."""

    def __init__(self, data_dir: Path, state_dir: Path, boot: str | None = None) -> None:
        self.path = data_dir / STORE
        self._durable = StateFile(self.path, "usage", LARGEST_BYTES)
        self._since = StateFile(state_dir / STORE, "usage-since", LARGEST_BYTES)
        self._boot = boot_id() if boot is None else boot

    def read(self) -> dict[str, Any] | None:
        """What was counted; None if there is nothing.

        OSError if it cannot be read just now, StateFileError if the durable file cannot be used.
        """
        base = self._base()
        try:
            since = self._since.read()
        except (OSError, StateFileError) as error:
            if isinstance(error, OSError) and error.errno in SHORTAGES:
                raise
        else:
            if since.get("boot") == self._boot and since.get("base") == base:
                return since
        try:
            return self._durable.read()
        except FileNotFoundError:
            return None

    def keep(self, content: Mapping[str, Any]) -> None:
        """Keep it until the next boot. OSError if that fails."""
        self._since.write({**content, "boot": self._boot, "base": self._base()})

    def save(self, content: Mapping[str, Any]) -> None:
        """Keep it for good, which may take seconds (fsync). OSError if that fails."""
        self._durable.write(content, durable=True, indent=1)

    def put_aside(self) -> Path:
        """Rename a durable file that cannot be used; its new path."""
        aside = self.path.with_name(f"{STORE}.bad")
        with contextlib.suppress(OSError):
            self.path.replace(aside)
        return aside

    def _base(self) -> list[int]:
        """Which durable file there is; [] for none."""
        try:
            found = os.stat(self.path, follow_symlinks=False)  # noqa: PTH116 - beside StateFile
        except FileNotFoundError:
            return []
        return [found.st_ino, found.st_mtime_ns, found.st_size]
