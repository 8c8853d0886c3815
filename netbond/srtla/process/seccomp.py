"""Refuses system calls that an engine does not need, by a seccomp filter (seccomp(2)), without a library.

A list of what is refused rather than of what is allowed: Python and the C library call what they please,
and differ from release to release; an engine that dies of a new one on somebody's only uplink would be
worse. What is refused is what a break-in would need next: to run another program, look into other
processes, change mounts, namespaces, modules, clocks or keys, and what the kernel is most often attacked
by. A refused call fails with EPERM.

For x86-64, ARM64 and ARM (EABI): numbers from arch/x86/entry/syscalls/syscall_64.tbl,
include/uapi/asm-generic/unistd.h and arch/arm/tools/syscall.tbl. Elsewhere there is no filter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}  # AUDIT_ARCH_*

# name: number on x86_64, aarch64, arm; None: there is none
_DENIED: dict[str, tuple[int | None, int | None, int | None]] = {
    "execve": (59, 221, 11),
    "execveat": (322, 281, 387),
    "ptrace": (101, 117, 26),
    "process_vm_readv": (310, 270, 376),
    "process_vm_writev": (311, 271, 377),
    "process_madvise": (440, 440, 440),
    "kcmp": (312, 272, 378),
    "pidfd_getfd": (438, 438, 438),
    "mount": (165, 40, 21),
    "umount2": (166, 39, 52),
    "pivot_root": (155, 41, 218),
    "chroot": (161, 51, 61),
    "open_tree": (428, 428, 428),
    "move_mount": (429, 429, 429),
    "fsopen": (430, 430, 430),
    "fsconfig": (431, 431, 431),
    "fsmount": (432, 432, 432),
    "fspick": (433, 433, 433),
    "mount_setattr": (442, 442, 442),
    "unshare": (272, 97, 337),
    "setns": (308, 268, 375),
    "init_module": (175, 105, 128),
    "finit_module": (313, 273, 379),
    "delete_module": (176, 106, 129),
    "kexec_load": (246, 104, 347),
    "kexec_file_load": (320, 294, 401),
    "reboot": (169, 142, 88),
    "swapon": (167, 224, 87),
    "swapoff": (168, 225, 115),
    "bpf": (321, 280, 386),
    "perf_event_open": (298, 241, 364),
    "add_key": (248, 217, 309),
    "request_key": (249, 218, 310),
    "keyctl": (250, 219, 311),
    "userfaultfd": (323, 282, 388),
    "io_uring_setup": (425, 425, 425),
    "io_uring_enter": (426, 426, 426),
    "io_uring_register": (427, 427, 427),
    "settimeofday": (164, 170, 79),
    "clock_settime": (227, 112, 262),
    "clock_settime64": (None, None, 404),
    "clock_adjtime": (305, 266, 372),
    "clock_adjtime64": (None, None, 405),
    "adjtimex": (159, 171, 124),
    "sethostname": (170, 161, 74),
    "setdomainname": (171, 162, 121),
    "acct": (163, 89, 51),
    "quotactl": (179, 60, 131),
    "quotactl_fd": (443, 443, 443),
    "iopl": (172, None, None),
    "ioperm": (173, None, None),
    "modify_ldt": (154, None, None),
    "name_to_handle_at": (303, 264, 370),
    "open_by_handle_at": (304, 265, 371),
    "personality": (135, 92, 136),
    "syslog": (103, 116, 103),
    "vhangup": (153, 58, 111),
    "mknod": (133, None, 14),
    "mknodat": (259, 33, 324),
    "fanotify_init": (300, 262, 367),
    "migrate_pages": (256, 238, 400),
    "move_pages": (279, 239, 344),
}
# What an engine needs, and the web page does not: it runs as the user of others, and must not end them.
_SIGNALS: dict[str, tuple[int | None, int | None, int | None]] = {
    "kill": (62, 129, 37),
    "tkill": (200, 130, 238),
    "tgkill": (234, 131, 268),
    "rt_sigqueueinfo": (129, 138, 178),
    "rt_tgsigqueueinfo": (297, 240, 363),
    "pidfd_send_signal": (424, 424, 424),
}
_SOCKET = (41, 198, 281)
_CLONE = (56, 220, 120)
_CLONE3 = 435
_X32 = 0x40000000  # the first number of the other ABI that x86-64 has
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW*

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16  # of netlink only routes: getaddrinfo(3) asks there

# linux/filter.h, linux/seccomp.h; the offsets are those of struct seccomp_data
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENT = 0, 4, (16, 24, 32)
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
# Without SPEC_ALLOW, kernels before 5.16 slow down whoever has a filter, for the sake of browsers.
_SECCOMP, _SET_MODE_FILTER, _SPEC_ALLOW = (317, 277, 383), 1, 4

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def arch() -> str | None:
    """The ABI of this process, as `program` has it; None: not one of them."""
    machine, bits = platform.machine(), struct.calcsize("P") * 8
    if machine == "x86_64" and bits == 64:
        return "x86_64"
    if machine == "aarch64" and bits == 64:
        return "aarch64"
    if bits == 32 and (machine == "aarch64" or (machine.startswith("arm") and machine.endswith("l"))):
        return "arm"  # also a 32-bit system on a 64-bit kernel
    return None


def program(arch: str, *, signals: bool = True) -> list[Instruction]:
    """The filter for one of ARCHES; without `signals` it refuses to send any."""
    column = list(ARCHES).index(arch)
    names = _DENIED if signals else {**_DENIED, **_SIGNALS}
    denied = [number for numbers in names.values() if (number := numbers[column]) is not None]
    # The verdicts come last; what jumps there counts how far it is.
    steps: list[tuple[int, str, str, int]] = [
        (_LOAD, "", "", _ARCH),
        (_EQUAL, "", "deny", ARCHES[arch]),
        (_LOAD, "", "", _NUMBER),
        *([(_AT_LEAST, "deny", "", _X32)] if arch == "x86_64" else []),
        (_EQUAL, "socket", "", _SOCKET[column]),
        (_EQUAL, "clone", "", _CLONE[column]),
        (_EQUAL, "unknown", "", _CLONE3),  # its flags are out of sight; the C library then uses clone
        *((_EQUAL, "deny", "", number) for number in denied),
        (_RETURN, "", "", _ALLOW),
    ]
    marks = {"socket": len(steps)}
    steps += [
        (_LOAD, "", "", _ARGUMENT[0]),
        (_EQUAL, "allow", "", _AF_INET),
        (_EQUAL, "allow", "", _AF_INET6),
        (_EQUAL, "allow", "", _AF_UNIX),
        (_EQUAL, "", "deny", _AF_NETLINK),
        (_LOAD, "", "", _ARGUMENT[2]),
        (_EQUAL, "allow", "deny", 0),  # NETLINK_ROUTE
    ]
    marks["clone"] = len(steps)
    steps += [(_LOAD, "", "", _ARGUMENT[0]), (_ANY_BIT, "deny", "allow", _NEW_NAMESPACES)]
    for mark, verdict in (
        ("allow", _ALLOW),
        ("deny", _ERROR | errno.EPERM),
        ("unknown", _ERROR | errno.ENOSYS),
    ):
        marks[mark] = len(steps)
        steps.append((_RETURN, "", "", verdict))
    return [
        (code, marks[yes] - at - 1 if yes else 0, marks[no] - at - 1 if no else 0, constant)
        for at, (code, yes, no, constant) in enumerate(steps)
    ]


def pack(instructions: Sequence[Instruction]) -> bytes:
    """The same as an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(*, signals: bool = True) -> str:
    """Give up for good, in this thread and all it starts, what `program` refuses. "", or why not."""
    found = arch()
    if found is None:
        return f"no filter for {platform.machine()}"
    code = pack(program(found, signals=signals))
    libc = ctypes.CDLL(None, use_errno=True)
    filter_program = ctypes.byref(_Program(len(code) // 8, code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        number = _SECCOMP[list(ARCHES).index(found)]
        if libc.syscall(number, _SET_MODE_FILTER, _SPEC_ALLOW, filter_program) == 0:
            return ""
        if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, filter_program, 0, 0) == 0:  # before Linux 4.17
            return ""
    return os.strerror(ctypes.get_errno())
