"""In a chroot no test that needs root runs: `nsenter` would lead it out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import why_not_a_machine

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]


def test_a_machine_is_one() -> None:
    assert why_not_a_machine() is None


def test_a_chroot_is_none(tmp_path: Path) -> None:
    # A root on a file system of its own, with what Python needs, in a mount namespace that goes with it.
    script = f"""
        set -e
        mount -t tmpfs tmpfs '{tmp_path}'
        cd '{tmp_path}'
        for path in /usr /bin /lib /lib64 /dev '{ROOT}' '{sys.base_prefix}'; do
            [ -d "$path" ] || continue
            mkdir -p ".$path"
            mount --rbind "$path" ".$path"
        done
        mkdir -p proc tmp
        mount -t proc proc proc
        exec chroot . '{sys.executable}' -m pytest -p no:cacheprovider --rootdir '{ROOT}' \\
            '{ROOT}/tests/netns/test_machine.py' -k test_a_machine_is_one
    """
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
    assert "this is a chroot" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1
