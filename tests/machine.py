"""Whether this is a machine (or a container with a root of its own) or a mere chroot, where tests that enter
namespaces would land in the files of the machine around it."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path


def root_of_the_namespace() -> str:
    """Device and inode of what entering this very mount namespace makes the root, as `nsenter` does."""
    done = subprocess.run(
        ["nsenter", "--mount=/proc/self/ns/mnt", "stat", "--format=%d:%i", "/"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@functools.cache
def why_not_a_machine() -> str | None:
    """What forbids tests with namespaces here, or None. Needs root."""
    if not Path("/proc/self/ns/mnt").exists():
        return "tests with namespaces need /proc: mount it"
    here = os.stat("/")  # noqa: PTH116 - as `stat` gives it
    if root_of_the_namespace() == f"{here.st_dev}:{here.st_ino}":
        return None
    return (
        "a chroot is not a machine: entering a namespace leads out of it, and these tests would change"
        " /etc/resolv.conf and more of the machine around it; run them on a machine, in a virtual one"
        " (scripts/vm), or in a container whose root was made by pivot_root"
    )
