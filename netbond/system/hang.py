"""Notices an engine that hangs, and is not fooled by one that is not given a processor.

An engine that runs sends its statistics each second. One that is stopped, deadlocked or in an endless loop
does not. Nor does one on a machine that is too busy: to kill that one would only cost its stream, so what
counts is the time in which it could have sent them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

LOOK_INTERVAL_S: Final = 0.5
LIMIT_S: Final = 3.0  # SRT gives up a connection that is silent for 5 s; a successor needs a second to start
ENOUGH_CPU: Final = 0.25  # of a processor is more than enough to send statistics
PROC: Final = "/proc"
LONGEST_BYTES: Final = 4096  # of a file there; the ids of 64 children take 512
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a process was doing when it was looked at."""

    state: str  # as in proc(5): R, S, D, T, t, Z
    cpu_s: float  # that it has used since its start


@dataclass(slots=True)
class HangDetector:
    """Decides by looks, one each LOOK_INTERVAL_S, whether an engine hangs."""

    _mute_s: float = field(default=0.0, init=False)  # how long it could have said something and did not
    _looked_at: float | None = field(default=None, init=False)  # monotonic
    _seen: Mapping[int, Sight] = field(default_factory=dict, init=False)

    def heard(self) -> None:
        """It has said something."""
        self._mute_s = 0.0

    def look(self, now: float, seen: Mapping[int, Sight]) -> bool:
        """Whether it hangs, at this look at its processes (by id).

        A look that comes late (the agent was stopped, or the box suspended) counts as one interval: what the
        engine has said meanwhile may not have been read yet.
        """
        elapsed_s = 0.0 if self._looked_at is None else now - self._looked_at
        chances = [_chance_s(self._seen.get(pid), sight, elapsed_s) for pid, sight in seen.items()]
        self._looked_at, self._seen = now, seen
        self._mute_s += min([*chances, LOOK_INTERVAL_S], default=0.0)
        return bool(chances) and self._mute_s >= LIMIT_S


def _chance_s(before: Sight | None, sight: Sight, elapsed_s: float) -> float:
    """For how many of these seconds the process could have done what it should."""
    if before is None or sight.state in ("D", "t", "Z"):
        return 0.0  # new; waiting for a disk, where SIGKILL has to wait as well; in a debugger; has ended
    if sight.state == "R":
        return min((sight.cpu_s - before.cpu_s) / ENOUGH_CPU, elapsed_s)
    return elapsed_s  # it sleeps, or is stopped


def look_at(pid: int, *, workers: bool = True) -> dict[int, Sight]:
    """A process, and with `workers` its children, as they are now; without those that have ended.

    No OSError.
    """
    found = {}
    for each in (pid, *(_children(pid) if workers else ())):
        try:
            found[each] = parse(_read(f"{PROC}/{each}/stat"))
        except OSError:
            continue
    return found


def parse(stat: bytes) -> Sight:
    """Read /proc/PID/stat; the name in it may contain anything."""
    words = stat.rpartition(b")")[2].split()
    ticks = int(words[11]) + int(words[12])  # in user mode, in the kernel
    return Sight(words[0].decode(), ticks / TICKS_A_SECOND)


def _children(pid: int) -> list[int]:
    """The children of a process: an engine with several workers has them."""
    try:
        return [int(word) for word in _read(f"{PROC}/{pid}/task/{pid}/children").split()]
    except OSError:  # not all kernels have this file
        return []


def _read(path: str) -> bytes:
    """The beginning of a file of /proc. Not by Path: each engine is looked at twice a second."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, LONGEST_BYTES)
    finally:
        os.close(descriptor)
