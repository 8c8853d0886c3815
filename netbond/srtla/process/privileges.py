"""Gives up root for good, or most of what root can do, once all that needs root has been read.

Also imports what Python would otherwise import later: the environment it lives in may be unreadable to the
user that the engine becomes.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct

from netbond.errors import NotPermittedError, UnavailableError

_PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h
# Ports below 1024; devices for sockets, before Linux 5.7; lists and group files that are somebody else's.
_NEEDED_BY_ROOT = 1 << 10 | 1 << 13 | 1 << 1  # CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_DAC_OVERRIDE


def drop(user: str) -> None:
    """Become `user`, with its primary group only, and no way back.

    UnavailableError: there is no such user. NotPermittedError: not root, and not that user already.
    """
    _import_late()
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


def shed() -> None:
    """An engine that is to stay root, as drop-ins often are, gives up all capabilities but three. For anybody
    else there is nothing to do."""
    _import_late()
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    present = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; then their upper halves
    if libc.capget(header, present) == 0:
        kept = struct.unpack("=6I", present.raw)[1] & _NEEDED_BY_ROOT
        if libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) == 0:
            return
    raise NotPermittedError(f"capset: {os.strerror(ctypes.get_errno())}")


def _import_late() -> None:
    "localhost".encode("idna")  # getaddrinfo needs this codec, and Python loads it on first use
