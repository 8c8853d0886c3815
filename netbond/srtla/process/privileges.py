"""Gives up root for good, or most of what root can do, once all that needs root has been read.

Also imports what Python would otherwise import later: the environment it lives in may be unreadable to the
user that the engine becomes.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import re
import struct
from typing import Final

from netbond.errors import NotPermittedError, UnavailableError

# include/uapi/linux/prctl.h and capability.h
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITIES: Final = 64  # that the kernel's sets have room for

_CAP_DAC_OVERRIDE: Final = 1 << 1
_CAP_NET_BIND_SERVICE: Final = 1 << 10
_CAP_NET_RAW: Final = 1 << 13
_DEVICES_FOR_ALL: Final = (5, 7)  # since this Linux anybody may bind a socket to a device (SO_BINDTODEVICE)


def drop(user: str) -> None:
    """Become `user`, with its primary group only, and no way back; root has no more than with `shed`.

    UnavailableError: there is no such user. NotPermittedError: not root, and not that user already.
    """
    _import_late()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UnavailableError(
            f"there is no user {user!r} to run as", "make it, or name one that exists (agent.user, --user)"
        ) from None
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    elif os.geteuid() != entry.pw_uid:
        raise NotPermittedError(f"cannot become user {user!r} without root", "start as root, or omit --user")
    _limit()


def shed() -> None:
    """Stay who we are, with no more capabilities than an engine needs, and no way to get others.

    Drop-ins often run as root; a service may also give capabilities to an ordinary user.
    """
    _import_late()
    _limit()


def needed(release: str) -> int:
    """The capabilities, as a mask, that an engine may keep if it has them; `release` is the kernel's.

    For ports below 1024; for the list, statistics and group files in folders of others; for sockets that are
    bound to devices, where the kernel asks for one.
    """
    version = re.match(r"(\d+)\.(\d+)", release)
    old = version is None or (int(version[1]), int(version[2])) < _DEVICES_FOR_ALL
    return _CAP_NET_BIND_SERVICE | _CAP_DAC_OVERRIDE | (_CAP_NET_RAW if old else 0)


def _limit() -> None:
    """Give up all capabilities but those needed: effective, permitted, inheritable, ambient, bounding."""
    mask = needed(platform.release())
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        if not mask >> capability & 1:
            # Fails without CAP_SETPCAP (netbond.service has none) and for numbers that this kernel does not
            # know. No program that the engine starts could gain any, because of no_new_privs.
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    present = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; then their upper halves
    if libc.capget(header, present) == 0:
        kept = struct.unpack("=6I", present.raw)[1] & mask
        # An ambient capability goes with the inheritable one.
        if libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) == 0:
            if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
                return
            raise NotPermittedError(f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(ctypes.get_errno())}")
    raise NotPermittedError(f"capset: {os.strerror(ctypes.get_errno())}")


def _import_late() -> None:
    "localhost".encode("idna")  # getaddrinfo needs this codec, and Python loads it on first use
