"""The status text of the systemd unit."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from netbond.status.notify import SPACING_S, UnitStatus
from netbond.status.schema import Verdict


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_when_the_verdict_is_another(tmp_path: Path, *, abstract: bool) -> None:
    name = f"@netbond-test{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.setblocking(False)
        unit = UnitStatus({"NOTIFY_SOCKET": name})
        unit.tell(Verdict("STREAMING 6.0 Mbit/s", 0), 0.0)
        unit.tell(Verdict("STREAMING 6.1 Mbit/s", 0), 1.0)  # too soon for a rate
        assert systemd.recv(1000) == b"STATUS=STREAMING 6.0 Mbit/s"
        with pytest.raises(BlockingIOError):
            systemd.recv(1000)
        unit.tell(Verdict("NOT CONNECTED", 2), 2.0)
        assert systemd.recv(1000) == b"STATUS=NOT CONNECTED"
        unit.tell(Verdict("NOT CONNECTED: x", 2), 2.0 + SPACING_S)
        assert systemd.recv(1000) == b"STATUS=NOT CONNECTED: x"


def test_systemd_is_told_of_starts_reloads_passes_and_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        unit = UnitStatus({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "90000000"})
        unit.alive(0.0)
        unit.alive(0.5)  # too soon
        unit.ready()
        unit.reloading(1.5)
        unit.stopping()
        unit.alive(2.0)
        heard = [systemd.recv(1000) for _ in range(5)]
    assert heard == [
        b"WATCHDOG=1",
        b"READY=1",
        b"RELOADING=1\nMONOTONIC_USEC=1500000",
        b"STOPPING=1",
        b"WATCHDOG=1",
    ]


def test_without_a_watchdog_there_are_no_signs_of_life(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        UnitStatus({"NOTIFY_SOCKET": str(tmp_path / "notify")}).alive(0.0)
        with pytest.raises(BlockingIOError):
            systemd.recv(1000)


def test_where_there_is_no_systemd_nothing_happens(tmp_path: Path) -> None:
    UnitStatus({}).tell(Verdict("x", 0), 0.0)
    gone = UnitStatus({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    gone.tell(Verdict("x", 0), 0.0)
    gone.tell(None, 1.0)
