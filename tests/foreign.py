"""SRTLA programs of others, for tests beside them: found by the environment, told apart by their own --help.

NETBOND_FOREIGN_SRTLA names a folder with srtla_send and srtla_rec, or one whose folders have some of these.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def folders() -> list[Path]:
    """The folders of programs; none if the environment names none."""
    named = os.environ.get("NETBOND_FOREIGN_SRTLA")
    if not named:
        return []
    top = Path(named)
    if programs(top):
        return [top]
    return sorted(each for each in top.iterdir() if each.is_dir() and programs(each))


def programs(folder: Path) -> list[str]:
    """Which of the two are there."""
    return [
        name
        for name in ("srtla_send", "srtla_rec")
        if os.access(folder / name, os.X_OK) and (folder / name).is_file()
    ]


def receiver(folder: Path, port: int, srt_port: int) -> list[str]:
    """The command of a receiver for an SRT server on 127.0.0.1."""
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
    """The command of a sender; all have the same."""
    return [str(folder / "srtla_send"), str(listen), host, str(port), str(ips)]
