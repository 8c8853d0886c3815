"""Finds other projects' SRTLA programs, for tests of netbond with them.

NETBOND_FOREIGN_SRTLA names a folder with srtla_send and srtla_rec, or one whose folders have some of these.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def folders() -> list[Path]:
    """Return the folders of programs; none if the environment names none."""
    named = os.environ.get("NETBOND_FOREIGN_SRTLA")
    if not named:
        return []
    top = Path(named)
    if programs(top):
        return [top]
    return sorted(each for each in top.iterdir() if each.is_dir() and programs(each))


def programs(folder: Path) -> list[str]:
    """Return which of the two programs are in a folder."""
    return [
        name
        for name in ("srtla_send", "srtla_rec")
        if os.access(folder / name, os.X_OK) and (folder / name).is_file()
    ]


def receiver(folder: Path, port: int, srt_port: int) -> list[str]:
    """Return the command of a receiver for an SRT server on 127.0.0.1, with the options that it has."""
    program = str(folder / "srtla_rec")
    told = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=10, check=False)
    if "--srtla_port" in told.stdout + told.stderr:
        return [
            program,
            "--srtla_port",
            str(port),
            "--srt_hostname",
            "127.0.0.1",
            "--srt_port",
            str(srt_port),
        ]
    return [program, str(port), "127.0.0.1", str(srt_port)]


def sender(folder: Path, listen: int, host: str, port: int, ips: Path) -> list[str]:
    """Return the command of a sender; all programs have the same arguments."""
    return [str(folder / "srtla_send"), str(listen), host, str(port), str(ips)]
