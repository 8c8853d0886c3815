"""The clock that leases are dated by: seconds since the kernel started, and which start that was.

Boxes without a clock of their own boot in 1970, or at the time when they were switched off, and jump by years
when a time server answers. So wall-clock time tells neither which of two leases is newer nor how old one is.
CLOCK_BOOTTIME never jumps, and goes on while the box sleeps; the boot id tells one start from the next.

Quick to import: a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since the kernel started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def started() -> float:
    """When the kernel started, in Unix time as the wall clock has it now."""
    return time.time() - now()


def boot_id() -> str:
    """A name for the time since the kernel started; "" where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - quick
            text = file.read(64).strip()
    except (OSError, ValueError):
        return ""
    return text if text and all(c in "0123456789abcdef-" for c in text) else ""
