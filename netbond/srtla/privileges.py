"""Giving up root for good, once everything that needs reading has been read.

Also brings in what Python would otherwise import later: the environment it lives in may be unreadable to the
user that the engine becomes.
"""

from __future__ import annotations

import ctypes
import os
import pwd

from netbond.errors import NotPermittedError, UnavailableError

_PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h


def drop(user: str) -> None:
    """Become `user`, with its primary group only, and no way back.

    UnavailableError: there is no such user. NotPermittedError: not root, and not that user already.
    """
    "localhost".encode("idna")  # getaddrinfo needs this codec, and Python loads it on first use
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UnavailableError(
            f"there is no user {user!r} to run as", "name one that exists (agent.user, --user)"
        ) from None
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    elif os.geteuid() != entry.pw_uid:
        raise NotPermittedError(f"cannot become user {user!r} without root", "start as root, or omit --user")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise NotPermittedError(f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(ctypes.get_errno())}")
