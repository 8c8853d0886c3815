"""Distinguishes a machine (or a container with its own root) from a chroot.

In a chroot, tests that enter namespaces would change files of the host.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path


def root_of_the_namespace() -> str:
    """Return device and inode of the root that a process gets when it enters this mount namespace."""
    done = subprocess.run(
        ["nsenter", "--mount=/proc/self/ns/mnt", "stat", "--format=%d:%i", "/"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@functools.cache
def why_not_a_machine() -> str | None:
    """Return why tests with namespaces must not run here, or None. Needs root."""
    if not Path("/proc/self/ns/mnt").exists():
        return "tests with namespaces need /proc: mount it"
    here = os.stat("/")  # noqa: PTH116 - as `stat` gives it
    if root_of_the_namespace() == f"{here.st_dev}:{here.st_ino}":
        return None
    return (
        "this is a chroot: a process that enters a namespace leaves it, and these tests would change"
        " /etc/resolv.conf and other files of the host; run them on a machine, in a virtual machine"
        " (scripts/vm), or in a container whose root was made by pivot_root"
    )
