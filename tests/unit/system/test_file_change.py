"""A file that is no longer as it was read."""

from __future__ import annotations

from pathlib import Path

from netbond.system.file_change import FileChange


def test_it_is_another_until_it_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text("a")
    tested = FileChange(file)
    assert tested.look(1.0) is None
    file.write_text("ab")
    assert tested.look(5.0) == 0.0
    assert tested.look(35.0) == 30.0
    tested.read()
    assert tested.look(36.0) is None
    file.unlink()
    assert tested.look(37.0) is None
    file.write_text("another")
    assert tested.look(38.0) == 0.0


def test_without_a_file(tmp_path: Path) -> None:
    assert FileChange(None).look(1.0) is None
    tested = FileChange(tmp_path / "not yet")
    assert tested.look(1.0) is None
    (tmp_path / "not yet").write_text("")
    assert tested.look(2.0) == 0.0
