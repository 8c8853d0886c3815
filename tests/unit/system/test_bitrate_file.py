"""The bitrate file: what is in it, what may be in its place, and that the encoder is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netbond.srtla.encoder import BitrateLines
from netbond.system.bitrate_file import BitrateFile
from tests.hangup import Start, name, start, was_told_again

__all__ = ["name", "start"]  # fixtures

LEAST, MOST = 500_000, 12_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bitrate"


def lines() -> BitrateLines:
    return BitrateLines(LEAST, MOST)


def wrong(file: BitrateFile) -> list[str]:
    return list(file.problems)


def test_it_says_the_least_then_the_advice_and_the_limits_at_last(path: Path) -> None:
    file = BitrateFile(path, lines())
    file.begin(0.0)
    assert path.read_text() == "500000\n500000\n"
    assert path.stat().st_mode & 0o777 == 0o644
    file.advise(4_000_000, 1.0)
    assert path.read_text() == "4000000\n4000000\n"
    file.advise(4_010_000, 1.2)
    assert path.read_text() == "4000000\n4000000\n"
    file.look(9.0)
    assert path.read_text() == "500000\n500000\n"
    file.end(9.5)
    assert path.read_text() == "500000\n12000000\n"
    assert wrong(file) == []
    assert list(path.parent.iterdir()) == [path]


def test_what_was_heard_before_is_written_at_the_next_look(path: Path) -> None:
    file = BitrateFile(path, lines())
    file.heard(4_000_000, 0.0)
    file.look(1.0)
    assert path.read_text() == "4000000\n4000000\n"


def test_in_a_folder_that_was_opened_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    monkeypatch.chdir("/")
    file = BitrateFile(Path("elsewhere") / path.name, lines(), folder=folder)
    file.begin(0.0)
    assert path.read_text() == "500000\n500000\n"
    os.close(folder)


def test_what_others_write_is_put_right_within_a_second(path: Path, name: str, start: Start) -> None:
    process = start(name, stays=True)
    file = BitrateFile(path, lines(), process=name)
    file.advise(4_000_000, 0.0)
    assert was_told_again(process)
    file.look(0.5)
    path.write_text("500000\n6000000\n" * 9)
    file.look(1.0)
    assert was_told_again(process)
    assert path.read_text() == "4000000\n4000000\n"
    path.unlink()
    file.look(2.0)
    assert was_told_again(process)
    assert path.read_text() == "4000000\n4000000\n"
    assert wrong(file) == []


def test_a_reader_has_a_whole_file(path: Path) -> None:
    file = BitrateFile(path, lines())
    file.begin(0.0)
    with path.open() as reader:
        file.advise(MOST, 1.0)
        assert reader.read() == "500000\n500000\n"


@pytest.mark.parametrize(
    ("kind", "why"),
    [("link", "is a symbolic link"), ("fifo", "is not a regular file"), ("folder", "is not a regular file")],
)
def test_what_is_no_file_is_left_alone(path: Path, kind: str, why: str) -> None:
    victim = path.parent / "victim"
    victim.write_text("precious")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    file = BitrateFile(path, lines())
    with pytest.raises(OSError, match=why):
        file.begin(0.0)
    file.look(1.0)
    assert wrong(file) == [f"cannot write the bitrate file {path}: {why}"]
    assert victim.read_text() == "precious"
    path.rmdir() if kind == "folder" else path.unlink()
    file.look(2.0)
    assert wrong(file) == []
    assert path.read_text() == "500000\n500000\n"


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "later" / "bitrate"
    file = BitrateFile(path, lines())
    file.look(0.0)
    assert wrong(file) == [f"cannot write the bitrate file {path}: No such file or directory"]
    path.parent.mkdir()
    file.look(1.0)
    assert path.read_text() == "500000\n500000\n"
    assert wrong(file) == []


def test_the_encoder_is_told_of_each_change(path: Path, name: str, start: Start) -> None:
    process = start(name, stays=True)
    pid_file = path.parent / "pid"
    pid_file.write_text(str(process.pid))
    by_name, by_file = BitrateFile(path, lines(), process=name), BitrateFile(path, lines(), pid_file=pid_file)
    for file in (by_name, by_file):
        file.begin(0.0)
        assert was_told_again(process)
        file.advise(4_000_000, 1.0)
        assert was_told_again(process)
        file.end(1.1)
        assert was_told_again(process)
        assert wrong(file) == []


def test_it_is_named_once_there_is_advice_that_no_encoder_is_there(path: Path, name: str) -> None:
    missing = path.parent / "pid"
    by_name, by_file = BitrateFile(path, lines(), process=name), BitrateFile(path, lines(), pid_file=missing)
    for file in (by_name, by_file):
        file.begin(0.0)
        assert wrong(file) == []
        file.advise(4_000_000, 1.0)
    assert wrong(by_name) == [f"no process is called {name}; no encoder is told of the new bitrate"]
    assert wrong(by_file) == [f"{missing} is not there; no encoder is told of the new bitrate"]


def test_a_process_that_may_not_be_told(path: Path, name: str, start: Start) -> None:
    process = start(name, handles=False)
    file = BitrateFile(path, lines(), process=name)
    file.begin(0.0)
    says = f"process {process.pid} does not handle SIGHUP, which would end it"
    assert wrong(file) == [f"{says}; it is not told of the new bitrate"]
    assert process.poll() is None
