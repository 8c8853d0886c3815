"""Runs a program of the system, for `netbond install` and `netbond doctor`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

# The PATH of a root shell and of services.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LONGEST_S = 120.0  # systemctl start waits for the agent's first pass


def run_command(command: Sequence[str]) -> str:
    """Run a command, without a shell; why it failed in a line, or ""."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
            check=False,
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return said[0].strip() if said else f"exit status {done.returncode}"
