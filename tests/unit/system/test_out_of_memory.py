"""How often memory ran out."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbond.system import out_of_memory


@pytest.mark.parametrize(
    ("text", "kills"), [("pgfault 12\noom_kill 3\ndrop_pagecache 0\n", 3), ("pgfault 12\n", 0), ("", 0)]
)
def test_what_the_kernel_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kills: int) -> None:
    monkeypatch.setattr(out_of_memory, "VMSTAT", tmp_path / "vmstat")
    assert out_of_memory.kills() == 0
    (tmp_path / "vmstat").write_text(text)
    assert out_of_memory.kills() == kills


def test_this_kernel_says_it() -> None:
    assert "\noom_kill " in out_of_memory.VMSTAT.read_text()
