"""Says whether root may run a program for somebody: nobody else must be able to exchange it."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from netbond.system.files import why


def unfit(program: str, user: str) -> str:
    """Why `program` must not be run as `user`, or cannot; "" if it is fit.

    It, and all folders on its path, must belong to root or the user, and not be writable by everybody; if
    root runs it, not by a group either. A sticky folder (/tmp), where only owners may rename, may hold
    folders.
    """
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        return f"there is no user {user!r}"
    try:
        real = Path(program).resolve(strict=True)
        status = real.stat()
        if not stat.S_ISREG(status.st_mode):
            return f"{program} is not a file"
        if not status.st_mode & 0o111:
            return f"{program} is not executable"
        for path in dict.fromkeys((real, *real.parents, *Path(program).parents)):
            if wrong := _open_to_others(path, uid, inner=path in (real, real.parent, Path(program).parent)):
                return wrong
    except OSError as error:
        return f"{program}: {why(error)}"
    except RuntimeError:
        return f"{program}: symbolic links lead in a circle"
    return ""


def _open_to_others(path: Path, uid: int, *, inner: bool) -> str:
    status = os.stat(path)  # noqa: PTH116 - beside os.path
    if status.st_uid not in (0, uid):
        return f"{path} belongs to another user"
    sticky = status.st_mode & stat.S_ISVTX and not inner
    if status.st_mode & stat.S_IWOTH and not sticky:
        return f"{path} is writable by everybody"
    if uid == 0 and status.st_mode & stat.S_IWGRP and not sticky and status.st_gid != 0:
        return f"{path} is writable by a group"
    return ""
