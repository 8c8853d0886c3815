"""A lab by its name alone: the lock that commands take, whether it runs, and removing all that is left of it.

Nothing here needs to know what the lab was made of, so that it also works on one that was killed half way.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netbond.errors import NetbondError
from netbond.lab import netns, topology
from netbond.lab.netns import Process

STATE_ROOT = Path("/run/netbond-lab")
LOCK_TIMEOUT = 10.0  # s to wait for another command on the same lab
POLL = 0.01  # s between looks while waiting


def all_labs() -> list[str]:
    """The names of all labs that left a state folder, up or not."""
    return sorted(path.name for path in STATE_ROOT.glob("*")) if STATE_ROOT.is_dir() else []


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lab's lock, which is its state folder (made here): one command works on a lab at a time."""
    topology.check_name(name)
    folder = STATE_ROOT / name
    deadline = time.monotonic() + LOCK_TIMEOUT
    handle = None
    try:
        while handle is None:
            with later():
                handle = _try_lock(folder)
            if handle is None:
                if time.monotonic() > deadline:
                    raise NetbondError(
                        f"another netbond lab command is at work on lab {name!r}", "wait until it is done"
                    )
                time.sleep(POLL)
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):  # it stays while there is something in it
                folder.rmdir()
            with contextlib.suppress(OSError):
                STATE_ROOT.rmdir()
            os.close(handle)


def _try_lock(folder: Path) -> int | None:
    """Make the folder and lock it; None if another has the lock, or has just removed the folder."""
    STATE_ROOT.mkdir(mode=0o700, exist_ok=True)
    handle = None
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == folder.stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    if handle is not None:
        os.close(handle)
    return None


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Ctrl-C waits until the end of the block."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def recorded(name: str) -> dict[str, Any]:
    """What a lab wrote down about itself; {} if nothing that can be read."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((STATE_ROOT / name / "state.json").read_text()))
    return {}


def _recorded_processes(name: str) -> list[Process]:
    processes = [Process(*value) for value in recorded(name).get("processes", {}).values()]
    return [process for process in processes if process.pid != os.getpid()]


def is_running(name: str) -> bool:
    """Whether a lab came up whole and its cable still runs."""
    state = recorded(name)
    cable_process = state.get("processes", {}).get("cable")
    return bool(state.get("ready")) and cable_process is not None and Process(*cable_process).alive


def clean(name: str) -> None:
    """Remove everything of the lab of this name, in whatever state it is. The lock must be held."""
    namespaces = []
    if netns.NETNS_DIR.is_dir():
        found = [path.name for path in netns.NETNS_DIR.iterdir()]
        namespaces = [entry for entry in found if topology.is_namespace_of(name, entry)]
    netns.stop(_recorded_processes(name))
    for _ in range(10):  # until nothing is left: a program may start another while it is being stopped
        if not (processes := netns.processes_in(namespaces)):
            break
        netns.stop(processes)
    netns.delete(namespaces)
    if netns.PRIVATE_DIR.is_dir():
        for entry in netns.PRIVATE_DIR.iterdir():
            if topology.is_namespace_of(name, entry.name):
                shutil.rmtree(entry)
        with contextlib.suppress(OSError):
            netns.PRIVATE_DIR.rmdir()
    for path in (STATE_ROOT / name).iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Cleaning up is not cut short by a second Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
