"""Binds this process, and all that it will start, to an uplink: sockets by BPF, names by a resolv.conf.

It needs root, and a kernel with CGROUP_BPF (5.8 and later). The process moves into a control group below its
present one, so that limits, and what ends it (systemd, the end of a session), stay in force. Control groups
are mounted for this alone, nowhere in the file system. A group stays when the last process in it has ended;
the next call removes it.

Sockets that were open before stay as they are. So do packet sockets (tcpdump), which take no route.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import socket
import stat
import struct
import tempfile
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from netbond.errors import KernelLacksError, NetbondError, NotPermittedError
from netbond.programs.bpf import Program, programs
from netbond.system.files import why

GROUP = "netbond-exec-"  # starts the name of a control group; the number of its first process follows
MOST_RESOLVERS = 3  # that the C library asks (MAXNS, resolv.conf(5))

# How else names are looked up than by resolv.conf: by systemd-resolved (nss-resolve), and by nscd. Where they
# do not answer, the C library goes on to resolv.conf.
_OTHER_LOOKUPS = ("/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket")

# bpf(2), by machine and bits of the process; the calls after 5.0 have one number everywhere.
_BPF_NUMBERS = {
    ("x86_64", 64): 321,
    ("x86_64", 32): 357,
    ("i686", 32): 357,
    ("i586", 32): 357,
    ("aarch64", 64): 280,
    ("riscv64", 64): 280,
    ("loongarch64", 64): 280,
    ("ppc64le", 64): 361,
    ("s390x", 64): 351,
}
_ARM32_BPF_NUMBER = 386
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 6, 1
_PROG_LOAD, _PROG_ATTACH, _ALLOW_MULTI = 5, 8, 2
_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19


def bind(device: str, family: int = 0) -> None:
    """Keep all sockets that this process and its children open from now on, on this interface.

    With `family` (4 or 6) they get none of the other family. NetbondError says what is missing; then nothing
    has changed.
    """
    if os.geteuid() != 0:
        raise NotPermittedError("only root can bind a program to an uplink", "use sudo")
    try:
        index = socket.if_nametoindex(device)
    except OSError:
        raise NetbondError(
            f"there is no interface {device!r}", "`netbond status` shows the uplinks"
        ) from None
    loaded: list[tuple[Program, int]] = []
    try:
        loaded.extend((program, _load(program)) for program in programs(device, index, family))
        _join(loaded)
    finally:
        for _, descriptor in loaded:
            os.close(descriptor)


def look_up_names_at(resolvers: Iterable[IPv4Address | IPv6Address], device: str) -> str:
    """Let this process and its children ask these DNS servers for names, and no other program of the box.

    They get a mount namespace. "", or why it is not so, for people.
    """
    servers = list(resolvers)[:MOST_RESOLVERS]
    if not servers:
        return "no DNS server for it is configured ([health] resolvers)"
    path = os.path.realpath("/etc/resolv.conf")
    text = "".join(
        [f"# made by netbond for what uses {device}\n", *(f"nameserver {server}\n" for server in servers)]
    )
    try:
        _check(_libc.unshare(_CLONE_NEWNS), "unshare")
        _mount("none", "/", _MS_REC | _MS_SLAVE)  # what the system mounts later appears here, too
        with tempfile.NamedTemporaryFile("w", dir="/run", prefix="netbond-resolv-") as file:
            file.write(text + "options timeout:2\n")
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            _mount(file.name, path, _MS_BIND)
            for other in _OTHER_LOOKUPS:
                with contextlib.suppress(OSError):
                    if stat.S_ISSOCK(os.stat(other).st_mode):  # noqa: PTH116 - beside os.path
                        _mount(file.name, other, _MS_BIND)
    except OSError as error:
        return f"{path}: {why(error)}"
    return ""


# --- the kernel's calls ------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None), "mount")


def _bpf_number() -> int:
    machine, bits = platform.machine(), struct.calcsize("P") * 8
    if bits == 32 and (machine.startswith("arm") or machine == "aarch64"):
        return _ARM32_BPF_NUMBER
    try:
        return _BPF_NUMBERS[machine, bits]
    except KeyError:
        raise KernelLacksError(f"netbond does not know the system call bpf of {machine}") from None


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return _check(_libc.syscall(_bpf_number(), command, buffer, len(attributes)), "bpf")


def _load(program: Program) -> int:
    """A descriptor of the program in the kernel."""
    code = ctypes.create_string_buffer(program.code, len(program.code))
    license_ = ctypes.create_string_buffer(b"MIT")
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        program.kind,
        len(program.code) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_),
        *(0, 0, 0),  # no log
        *(0, 0),
        b"netbond",
        0,
        program.place,
    )
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES) and os.geteuid() == 0:
            hint = "it needs CAP_BPF and CAP_NET_ADMIN, which a container may lack"
        else:
            hint = "it needs Linux 5.8 or later with CONFIG_CGROUP_BPF"
        raise KernelLacksError(f"the kernel refuses to bind programs: {error.strerror}", hint) from None


def _join(loaded: list[tuple[Program, int]]) -> None:
    """Make a control group with these programs below our own, and move there."""
    try:
        mounted = _mount_control_groups()
        try:
            own = os.open(_own_group(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted)
        finally:
            os.close(mounted)
        try:
            _remove_ended(own)
            name = f"{GROUP}{os.getpid()}"
            with contextlib.suppress(FileExistsError):  # of an earlier process with our number
                os.mkdir(name, 0o755, dir_fd=own)
            try:
                group = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=own)
                try:
                    for program, descriptor in loaded:
                        _bpf(
                            _PROG_ATTACH, struct.pack("=IIII", group, descriptor, program.place, _ALLOW_MULTI)
                        )
                    _enter(group)
                finally:
                    os.close(group)
            except BaseException:
                os.rmdir(name, dir_fd=own)
                raise
        finally:
            os.close(own)
    except OSError as error:
        raise KernelLacksError(
            f"no control group for the program: {why(error)}",
            "it needs Linux 5.8 or later with control groups 2",
        ) from None


def _mount_control_groups() -> int:
    """A descriptor of the root of all control groups (version 2), mounted for us alone and nowhere."""
    context = _check(_libc.syscall(_FSOPEN, b"cgroup2", _FSOPEN_CLOEXEC), "fsopen")
    try:
        _check(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig")
        return _check(_libc.syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0), "fsmount")
    finally:
        os.close(context)


def _own_group() -> str:
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        if line.startswith("0::/"):
            return "." + line.removeprefix("0::")
    raise OSError(errno.ENOENT, "no control group 2 in /proc/self/cgroup")


def _enter(group: int) -> None:
    descriptor = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=group)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def _remove_ended(own: int) -> None:
    """Remove groups in which nobody runs any more. One whose maker lives may only have been made."""
    for name in os.listdir(own):
        number = name.removeprefix(GROUP)
        if number != name and number.isdigit() and not Path("/proc", number).exists():
            with contextlib.suppress(OSError):  # somebody runs in it
                os.rmdir(name, dir_fd=own)
