"""Tells whether the kernel has killed a process because memory ran out."""

from __future__ import annotations

from pathlib import Path

VMSTAT = Path("/proc/vmstat")


def kills() -> int:
    """How many processes of the box the kernel has killed for that since it started; 0 if that is unknown.

    Those killed for the limit of a control group, such as MemoryMax, are among them.
    """
    try:
        lines = VMSTAT.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
