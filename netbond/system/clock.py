"""Seconds since boot, and an id of the boot: the clock that leases are dated by.

Boxes without a battery-backed clock boot in 1970, or at the time when they were switched off. They jump by
years when a time server answers. So wall-clock time does not tell which of two leases is newer, or how old
one is. CLOCK_BOOTTIME never jumps and goes on while the box sleeps. The boot id tells one boot from the next.

Quick to import: a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since the kernel started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def started() -> float:
    """When the kernel started, as Unix time by the wall clock as it is now."""
    return time.time() - now()


def boot_id() -> str:
    """The kernel's id of this boot; "" if it cannot be read."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - quick
            text = file.read(64).strip()
    except (OSError, ValueError):
        return ""
    return text if text and all(c in "0123456789abcdef-" for c in text) else ""
