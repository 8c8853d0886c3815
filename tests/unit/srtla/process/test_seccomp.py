"""The engines' seccomp filter: what it says for each architecture, and that the kernel here obeys it."""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import platform
import struct
import subprocess
import sys

import pytest

from netbond.srtla.process import engine, privileges, seccomp

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def verdict(arch: str, number: int, *arguments: int, of: int | None = None, signals: bool = True) -> str:
    """What the filter says to a call: the machine of bpf(4), as far as it is used."""
    audit = seccomp.ARCHES[arch] if of is None else of
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    program = seccomp.program(arch, signals=signals)
    at = value = 0
    while True:
        code, yes, no, constant = program[at]
        assert 0 <= yes < 256
        assert 0 <= no < 256
        at += 1
        if code == LOAD:
            (value,) = struct.unpack_from("<I", data, constant)
        elif code == RETURN:
            if constant == 0x7FFF0000:
                return "allow"
            assert constant >> 16 == 5
            return errno.errorcode[constant & 0xFFFF]
        else:
            met = {EQUAL: value == constant, AT_LEAST: value >= constant, ANY_BIT: bool(value & constant)}
            at += yes if met[code] else no


ARCHES = list(seccomp.ARCHES)


@pytest.mark.parametrize("arch", ARCHES)
def test_what_is_refused(arch: str) -> None:
    column = ARCHES.index(arch)
    for name, numbers in seccomp._DENIED.items():
        number = numbers[column]
        if number is not None:
            assert verdict(arch, number) == "EPERM", name
    numbers_here = [each[column] for each in seccomp._DENIED.values() if each[column] is not None]
    assert len(set(numbers_here)) == len(numbers_here) > 50


@pytest.mark.parametrize("arch", ARCHES)
def test_the_web_page_sends_no_signals(arch: str) -> None:
    column = ARCHES.index(arch)
    for name, numbers in seccomp._SIGNALS.items():
        number = numbers[column]
        assert number is not None
        assert verdict(arch, number) == "allow", name
        assert verdict(arch, number, signals=False) == "EPERM", name
    assert verdict(arch, seccomp._DENIED["execve"][column] or 0, signals=False) == "EPERM"


@pytest.mark.parametrize(
    ("arch", "numbers"),
    [  # read, recvmmsg, sendmmsg, epoll_wait or epoll_pwait, futex, exit_group, mmap, connect, openat
        ("x86_64", [0, 299, 307, 232, 202, 231, 9, 42, 257]),
        ("aarch64", [63, 243, 269, 22, 98, 94, 222, 203, 56]),
        ("arm", [3, 365, 374, 252, 240, 248, 192, 283, 322]),
    ],
)
def test_what_engines_live_on_is_allowed(arch: str, numbers: list[int]) -> None:
    assert {verdict(arch, number) for number in numbers} == {"allow"}


@pytest.mark.parametrize(("arch", "number"), [("x86_64", 41), ("aarch64", 198), ("arm", 281)])
def test_sockets(arch: str, number: int) -> None:
    for family in (1, 2, 10):  # unix, IPv4, IPv6
        assert verdict(arch, number, family, 2, 0) == "allow"
    assert verdict(arch, number, 16, 3, 0) == "allow"  # netlink: routes
    assert verdict(arch, number, 16, 3, 12) == "EPERM"  # netlink: netfilter
    for family in (0, 3, 17, 29, 31, 38, 40, 44):  # packet, CAN, Bluetooth, crypto, vsock, XDP
        assert verdict(arch, number, family, 2, 0) == "EPERM"


@pytest.mark.parametrize(("arch", "number"), [("x86_64", 56), ("aarch64", 220), ("arm", 120)])
def test_threads_and_children_but_no_namespaces(arch: str, number: int) -> None:
    assert verdict(arch, number, 0x3D0F00) == "allow"  # a thread
    assert verdict(arch, number, 0x01200011) == "allow"  # a child, as fork makes it
    assert verdict(arch, number, 0x10000011) == "EPERM"  # with a user namespace
    assert verdict(arch, number, 0x40000011) == "EPERM"
    assert verdict(arch, 435) == "ENOSYS"  # clone3


def test_other_abis_are_shut() -> None:
    assert verdict("x86_64", 0x40000000 + 59) == "EPERM"
    assert verdict("x86_64", 0x40000000) == "EPERM"
    assert verdict("x86_64", 11, of=0x40000003) == "EPERM"  # int 0x80: execve there
    assert verdict("aarch64", 11, of=0x40000028) == "EPERM"


@pytest.mark.parametrize(
    ("machine", "bits", "arch"),
    [
        ("x86_64", 8, "x86_64"),
        ("x86_64", 4, None),
        ("aarch64", 8, "aarch64"),
        ("aarch64", 4, "arm"),  # 32-bit Raspberry Pi OS on its 64-bit kernel
        ("armv7l", 4, "arm"),
        ("armv6l", 4, "arm"),
        ("riscv64", 8, None),
        ("armv7b", 4, None),
    ],
)
def test_which_filter(machine: str, bits: int, arch: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(struct, "calcsize", lambda text: bits)
    assert seccomp.arch() == arch


CONFINED = """
import ctypes, json, os, socket, sys, threading
from netbond.srtla.process import engine, privileges, seccomp

def tried(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0

libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), "")

def forked():
    child = os.fork()
    if child == 0:
        os._exit(tried(lambda: os.execv("/bin/true", ["true"])))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

why_not = seccomp.install()
threads = []
thread = threading.Thread(target=lambda: threads.append(tried(lambda: os.execv("/bin/true", ["true"]))))
thread.start()
thread.join()
print(json.dumps({
    "why_not": why_not,
    "status": [line for line in open("/proc/self/status") if line.startswith(("Seccomp:", "NoNewPrivs:"))],
    "execve": tried(lambda: os.execv("/bin/true", ["true"])),
    "in a thread": threads[0],
    "in a child": forked(),
    "unshare": tried(lambda: call({"x86_64": 272, "aarch64": 97}[os.uname().machine], 0x10000000)),
    "packet socket": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)),
    "alg socket": tried(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)),
    "udp": tried(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()),
    "pair": tried(lambda: [each.close() for each in socket.socketpair()]),
    "name": tried(lambda: socket.getaddrinfo("localhost", 5)),
}))
"""


@pytest.mark.skipif(seccomp.arch() in (None, "arm"), reason="the numbers in this test are for 64 bit")
def test_the_kernel_obeys_it() -> None:
    result = subprocess.run(
        [sys.executable, "-c", CONFINED], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    if found["why_not"]:
        pytest.skip(f"no seccomp here: {found['why_not']}")
    assert found.pop("status") == ["NoNewPrivs:\t1\n", "Seccomp:\t2\n"]
    assert found == {
        "why_not": "",
        **dict.fromkeys(("execve", "in a thread", "in a child", "unshare"), errno.EPERM),
        **dict.fromkeys(("packet socket", "alg socket"), errno.EPERM),
        **dict.fromkeys(("udp", "pair", "name"), 0),
    }


def test_without_a_filter_the_engine_says_so_once_and_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(seccomp, "install", lambda: "no filter for riscv64")
    monkeypatch.setattr(privileges, "shed", lambda: None)
    with caplog.at_level(logging.INFO):
        assert engine.prepare(None, None) == (None, {})
    assert caplog.messages == ["running without a seccomp filter: no filter for riscv64"]


def test_a_kernel_without_filters_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def prctl(self, *arguments: int) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Libc)
    assert seccomp.install() == "Invalid argument"
    monkeypatch.setattr(seccomp, "arch", lambda: None)
    assert seccomp.install().startswith("no filter for ")
