"""Seconds since boot, and which boot it is."""

from __future__ import annotations

import builtins
import io
import time
from pathlib import Path

import pytest

from netbond.system import clock


def test_seconds_since_boot_go_on() -> None:
    first = clock.now()
    assert first > 0
    assert clock.now() >= first
    assert clock.now() >= time.monotonic() - 1.0, "time asleep counts as well"


def test_the_start_of_the_kernel_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    monkeypatch.setattr(clock, "now", lambda: 1000.0)
    assert clock.started() == 1_799_999_000.0


def test_the_boot_id_is_the_kernels() -> None:
    assert clock.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("text", ["", "\n", "not an id", "../../etc", "0123-é", None])
def test_what_is_no_boot_id(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def opened(*_arguments: object, **_options: object) -> io.TextIOWrapper:
        if text is None:
            raise FileNotFoundError("no /proc here")
        return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="ascii")

    monkeypatch.setattr(builtins, "open", opened)
    assert clock.boot_id() == ""
