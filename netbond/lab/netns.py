"""Makes, enters and removes network namespaces, and starts, finds and stops the processes in them.

Namespaces are identified by their name in `ip netns`. No command is ever passed to a shell.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from netbond.errors import NetbondError, UnavailableError

T = TypeVar("T")
NETNS_DIR = Path("/run/netns")  # the namespaces of `ip netns`
PRIVATE_DIR = Path("/etc/netns")  # `ip netns exec NAME` mounts the content of its folder NAME over /etc
CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h


# --- commands ----------------------------------------------------------------------------------------------


def ip_batch(lines: Sequence[str], netns: str | None = None) -> None:
    """Run `ip` once for all `lines`; NetbondError names the first line that failed."""
    where = ["-n", netns] if netns else []
    try:
        result = subprocess.run(
            ["ip", *where, "-batch", "-"],
            check=False,
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise UnavailableError("the program ip is missing", "install it: apt install iproute2") from None
    if result.returncode:
        said, _, at = result.stderr.strip().partition("\nCommand failed -:")
        number = at.strip()
        line = lines[int(number) - 1] if number.isdigit() and int(number) <= len(lines) else "..."
        raise NetbondError(f"ip {' '.join(where)} {line}: {said or 'failed'}")


def delete(names: Iterable[str]) -> None:
    """Remove namespaces; it is not an error if one does not exist."""
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


# --- inside ------------------------------------------------------------------------------------------------


def _set_namespace(netns: str) -> None:
    """Move the calling thread into a namespace (os.setns needs Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(NETNS_DIR / netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(handle, CLONE_NEWNET):
            error = ctypes.get_errno()
            raise OSError(error, f"setns {netns}: {os.strerror(error)}")
    finally:
        os.close(handle)


def call_in(netns: str, function: Callable[[], T]) -> T:
    """Call `function` in a namespace, in a thread that ends with it, and return what it returns.

    Sockets, files and child processes that are made there stay there. But /proc/net is still that of the main
    thread: read /proc/thread-self/net instead.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            _set_namespace(netns)
            answers.put((function(), None))
        except BaseException as error:  # noqa: BLE001 - raised again below, in the calling thread
            answers.put((None, error))

    thread = threading.Thread(target=work, name=f"in {netns}")
    thread.start()
    thread.join()
    answer, error = answers.get()
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # no error: it is what `function` returned


def write_sysctls(values: Mapping[str, str]) -> None:
    """Set /proc/sys/KEY in this thread's namespace; skip keys that the kernel does not have."""
    for key, value in values.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", key).write_text(value)


# --- processes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Process:
    """A process; its start time (in clock ticks) distinguishes it from a later process with the same PID."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        stat = _stat(self.pid)
        return stat is not None and stat[19] == str(self.started) and stat[0] not in "ZX"

    def signal(self, number: int) -> None:
        """Send a signal through a pidfd, so that it cannot reach a new process with the same PID."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat (proc(5)) from the third on: [0] is the state, [19] the start."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def identify(pid: int) -> Process:
    """Return the process that has this PID now."""
    stat = _stat(pid)
    return Process(pid, int(stat[19]) if stat else -1)


def spawn(netns: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Process:
    """Start a program in a namespace, in a session of its own, and leave it running.

    Its standard input is empty, both outputs go to `log`, and it outlives this process.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawnp(
        "ip",
        ["ip", "netns", "exec", netns, *argv],
        {**os.environ, **(env or {})},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
    )
    return identify(pid)


def processes_in(netns: Iterable[str]) -> list[Process]:
    """Return all processes whose main thread is in one of the namespaces."""
    inodes = set()
    for name in netns:
        with contextlib.suppress(OSError):
            inodes.add((NETNS_DIR / name).stat().st_ino)
    if not inodes:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns" / "net").stat().st_ino in inodes:
                    found.append(identify(int(entry.name)))
    return [process for process in found if process.alive]


def stop(processes: Iterable[Process], grace_s: float = 2.0) -> None:
    """Send SIGTERM to processes, and SIGKILL to those that run after `grace_s`. Reap our own children."""
    waiting: dict[int, Process] = {}
    for process in processes:
        try:
            handle = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        if process.alive:
            waiting[handle] = process
        else:
            os.close(handle)
            _reap(process.pid)
    for sent, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for handle in waiting:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, sent)
        deadline = time.monotonic() + wait_s
        poll = select.poll()
        for handle in waiting:
            poll.register(handle, select.POLLIN)
        while waiting and (left_s := deadline - time.monotonic()) > 0:
            for handle, _ in poll.poll(left_s * 1000):
                poll.unregister(handle)
                os.close(handle)
                _reap(waiting.pop(handle).pid)
    for handle in waiting:
        os.close(handle)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def run_in(netns: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Call `subprocess.run` under `ip netns exec`, which mounts the namespace's private files over /etc."""
    return subprocess.run(["ip", "netns", "exec", netns, *argv], text=True, **options)  # noqa: PLW1510


def udp_ports(name: str) -> set[int]:
    """Return the UDP ports that are open in a namespace."""

    def read() -> set[int]:
        ports = set()
        for family in ("udp", "udp6"):
            with contextlib.suppress(FileNotFoundError):
                lines = Path("/proc/thread-self/net", family).read_text().splitlines()[1:]
                ports |= {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
        return ports

    return call_in(name, read)
