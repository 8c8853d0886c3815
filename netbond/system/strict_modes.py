"""Says whether everybody on the box could exchange a file that root goes by, as StrictModes of ssh does."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def open_to_all(path: Path) -> tuple[str, str]:
    """What lets everybody exchange the file, and the command that mends it; two "" if nothing does.

    It, and each folder on its way, must not be writable by everybody. In a folder where only owners may
    rename and remove (/tmp), what follows must belong to root or to this process's user. Links count with
    what they point to. Owners and groups may write: who they are is the administrator's choice. OSError if
    there is no such file, RuntimeError if links lead in a circle.
    """
    real = path.resolve(strict=True)
    for way in dict.fromkeys((real, path.absolute())):
        sticky = False
        for place in (*reversed(way.parents), way):
            status = os.lstat(place)
            if sticky and status.st_uid not in (0, os.geteuid()):
                return (
                    f"{place} belongs to another user, where everybody may make files",
                    f"chown root {place}",
                )
            if stat.S_ISLNK(status.st_mode):
                sticky = False  # what it points to is on the other way
                continue
            writable = bool(status.st_mode & stat.S_IWOTH)
            sticky = writable and stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
            if writable and not sticky:
                return f"{place} is writable by everybody", f"chmod o-w {place}"
    return "", ""
