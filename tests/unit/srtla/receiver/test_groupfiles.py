"""The files that tell where a stream comes from."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from netbond.errors import UnavailableError
from netbond.srtla.receiver.groupfiles import GroupFiles


def test_one_address_a_line_as_links_come_and_go(tmp_path: Path) -> None:
    files = GroupFiles(tmp_path)
    path = tmp_path / "srtla-group-40001"
    files.write(40001, ["192.0.2.1", "2001:db8::1", "192.0.2.1"])
    assert path.read_text() == "192.0.2.1\n2001:db8::1\n"
    assert path.stat().st_mode & 0o777 == 0o644
    files.write(40001, ["2001:db8::1"])
    assert path.read_text() == "2001:db8::1\n"
    files.write(40002, [])
    files.remove(40001)
    assert [each.name for each in tmp_path.iterdir()] == ["srtla-group-40002"]
    files.close()
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "srtla-group-5").symlink_to(victim)
    files = GroupFiles(tmp_path)
    files.write(5, ["192.0.2.1"])
    assert victim.read_text() == "precious"
    assert not (tmp_path / "srtla-group-5").is_symlink()
    files.close()
    assert victim.read_text() == "precious"


def test_others_files_stay(tmp_path: Path) -> None:
    (tmp_path / "srtla-group-7").write_text("of another receiver")
    files = GroupFiles(tmp_path)
    files.remove(7)
    files.close()
    assert (tmp_path / "srtla-group-7").exists()


def test_what_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = GroupFiles(tmp_path)
    (tmp_path / "srtla-group-9").mkdir()
    with caplog.at_level(logging.WARNING):
        files.write(9, ["192.0.2.1"])
        files.write(9, ["192.0.2.2"])
    (record,) = caplog.records
    assert record.getMessage() == f"{tmp_path}/srtla-group-9: Is a directory"
    files.close()


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"--group-dir .*/none: No such file or directory"):
        GroupFiles(tmp_path / "none")


def test_a_directory_closed_to_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *args, **more: False)
    with pytest.raises(UnavailableError, match="no permission to write there"):
        GroupFiles(tmp_path)
