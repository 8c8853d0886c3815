"""Handles a lab by its name alone: locks it, says whether it runs, and removes all that is left of it.

This module does not need the lab's topology, so it also works for a lab that was killed half way.
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
LOCK_TIMEOUT_S = 10.0  # how long to wait for another command on the same lab
POLL_S = 0.01  # between two checks while waiting


def all_labs() -> list[str]:
    """Return the names of all labs that have a state folder, whether they run or not."""
    return sorted(path.name for path in STATE_ROOT.glob("*")) if STATE_ROOT.is_dir() else []


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lab's lock (its state folder, made here), so that one command works on it at a time."""
    topology.check_name(name)
    folder = STATE_ROOT / name
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    handle = None
    try:
        while handle is None:
            with interrupts_delayed():
                handle = _try_lock(folder)
            if handle is None:
                if time.monotonic() > deadline:
                    raise NetbondError(
                        f"another netbond lab command is working on lab {name!r}", "wait until it is done"
                    )
                time.sleep(POLL_S)
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):  # a folder that is not empty stays
                folder.rmdir()
            with contextlib.suppress(OSError):
                STATE_ROOT.rmdir()
            os.close(handle)


def _try_lock(folder: Path) -> int | None:
    """Make the folder and lock it; None if another process has the lock, or has just removed the folder."""
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
def interrupts_delayed() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def recorded(name: str) -> dict[str, Any]:
    """Return a lab's recorded state; {} if it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((STATE_ROOT / name / "state.json").read_text()))
    return {}


def _recorded_processes(name: str) -> list[Process]:
    processes = [Process(*value) for value in recorded(name).get("processes", {}).values()]
    return [process for process in processes if process.pid != os.getpid()]


def is_running(name: str) -> bool:
    """Whether a lab has started completely, and its cable process still runs."""
    state = recorded(name)
    cable_process = state.get("processes", {}).get("cable")
    return bool(state.get("ready")) and cable_process is not None and Process(*cable_process).alive


def clean(name: str) -> None:
    """Remove everything of the lab of this name, in any state. The caller must hold the lock."""
    namespaces = []
    if netns.NETNS_DIR.is_dir():
        found = [path.name for path in netns.NETNS_DIR.iterdir()]
        namespaces = [entry for entry in found if topology.is_namespace_of(name, entry)]
    netns.stop(_recorded_processes(name))
    for _ in range(10):  # repeat: a program may start another one while it is being stopped
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
    """Ignore SIGINT and SIGTERM during the block, so that a second Ctrl-C does not stop the clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
