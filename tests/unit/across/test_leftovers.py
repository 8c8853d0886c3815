"""Whoever writes a file removes, when it starts, what a predecessor left that was killed while it wrote."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from netbond.engines.address_list import AddressList
from netbond.kernel.iproute2_names import FILE, NameFiles
from netbond.sources.kept_leases import HookLeases
from netbond.srtla.encoder import BitrateLines
from netbond.srtla.process.statsfile import StatsFile
from netbond.srtla.receiver.groupfiles import GroupFiles
from netbond.status.event_log import EventLog
from netbond.system.bitrate_file import BitrateFile
from tests.unit.places import config_in


async def _leases(folder: Path) -> None:
    await HookLeases(config_in(folder)).start(lambda: None, ())


WRITERS: dict[str, Callable[[Path], object]] = {
    "ips": lambda folder: AddressList(folder / "ips"),
    f"rt_tables.d/{FILE}": NameFiles,
    "events.jsonl": EventLog,
    "stats.json": lambda folder: StatsFile(folder / "stats.json"),
    "srtla-group-40000": GroupFiles,
    "bitrate": lambda folder: BitrateFile(folder / "bitrate", BitrateLines(1000, 5000)).begin(0.0),
    "state/leases/usb0.json": _leases,
}


@pytest.mark.parametrize("written", WRITERS)
async def test_leftovers(tmp_path: Path, written: str) -> None:
    path = tmp_path / written
    left = path.with_name(f".netbond-{path.name}.0123456789ab")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    os.utime(left, (0, 0))
    started = WRITERS[written](tmp_path)
    if written == "state/leases/usb0.json":
        await started  # type: ignore[misc]
    assert not left.exists()
