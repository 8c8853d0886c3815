"""State files: nobody else's are read, and a killed writer leaves nothing."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netbond.system import files
from netbond.system.state_file import StateFile, StateFileError, open_folder, reason


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state" / "x.json", "example", 1000)


def put(file: StateFile, text: str) -> Path:
    path = Path(file.path)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


# --- one file ----------------------------------------------------------------------------------------------


def test_what_is_written_is_what_is_read(file: StateFile) -> None:
    with pytest.raises(FileNotFoundError):
        file.read()
    previous = os.umask(0)
    try:
        file.write({"a": [1, "x"]})
    finally:
        os.umask(previous)
    assert file.read() == {"kind": "example", "version": 1, "a": [1, "x"]}
    path = Path(file.path)
    assert json.loads(path.read_text()) == file.read()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    file.write({"b": None}, durable=True)
    assert file.read() == {"kind": "example", "version": 1, "b": None}
    file.remove()
    file.remove()
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is not JSON"),
        ("[" * 400 + "]" * 400, "it is nested too deeply"),
        ("[]", "it is not a JSON object"),
        ('"x"', "it is not a JSON object"),
        ('{"kind": "other", "version": 1}', "it is no file of kind example"),
        ('{"kind": ["example"], "version": 1}', "it is no file of kind example"),
        ('{"kind": "example", "version": 2}', "it is not of version 1, which this netbond reads"),
        ('{"kind": "example", "version": true}', "it is not of version 1, which this netbond reads"),
        ('{"kind": "example", "a": "' + "x" * 1000 + '"}', "it is larger than 1000 bytes"),
    ],
)
def test_what_is_not_read(file: StateFile, text: str, says: str) -> None:
    put(file, text)
    with pytest.raises(StateFileError) as caught:
        file.read()
    assert reason(caught.value) == says


def test_a_link_a_directory_and_a_fifo_are_not_read(file: StateFile, tmp_path: Path) -> None:
    path = put(file, '{"kind": "example", "version": 1}')
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateFileError, match="it is a symbolic link"):
        file.read()
    file.write({"a": 1})  # replaces the link
    assert file.read()["a"] == 1
    assert '"a"' not in (tmp_path / "elsewhere").read_text()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StateFileError, match="it is not a regular file"):
        file.read()
    path.unlink()
    path.mkdir()
    with pytest.raises(StateFileError, match="it is not a regular file"):
        file.read()
    with pytest.raises(IsADirectoryError):
        file.write({})
    assert [each.name for each in path.parent.iterdir()] == ["x.json"], "the temporary file has gone"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_not_read(file: StateFile, mode: int) -> None:
    put(file, "{}").chmod(mode)
    with pytest.raises(StateFileError, match="users other than root can write to it"):
        file.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_not_read(file: StateFile) -> None:
    os.chown(put(file, "{}"), 12345, 0)
    with pytest.raises(StateFileError, match="users other than root can write to it"):
        file.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_roots_file_is_read_by_another_user_too() -> None:
    """That is what `netbond plan` does without root, where the file's mode lets it."""
    script = (
        "import os, tempfile; from netbond.system.state_file import StateFile\n"
        "os.umask(0o022); folder = tempfile.mkdtemp(); os.chmod(folder, 0o755)\n"
        "file = StateFile(folder + '/x.json', 'example', 1000); file.write({'a': 1})\n"
        "os.chmod(file.path, 0o644); os.setresuid(12345, 12345, 0); print(file.read()['a'])\n"
        "os.setresuid(0, 0, 0); file.remove(); os.rmdir(folder)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_what_would_not_be_read_is_not_written(file: StateFile) -> None:
    file.write({"a": 1})
    with pytest.raises(OSError, match="would be larger than 1000 bytes") as caught:
        file.write({"a": "x" * 1000})
    assert caught.value.errno == errno.EFBIG
    assert reason(caught.value) == "would be larger than 1000 bytes"
    assert file.read()["a"] == 1


def test_what_a_killed_writer_left_is_swept(file: StateFile) -> None:
    folder = put(file, "{}").parent
    left = folder / f"{files.TEMPORARY}y.json.0123456789ab"
    left.touch()
    os.utime(left, (0, 0))
    file.write({})
    assert [each.name for each in folder.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("value", "found"), [("[1, 2]", {"first": 1}), ('{"kind": "example", "version": 1}', None)]
)
def test_the_format_of_an_earlier_version(tmp_path: Path, value: str, found: dict[str, Any] | None) -> None:
    file = StateFile(tmp_path / "x.json", "example", 1000, old=lambda words: {"first": words[0]})
    put(file, value)
    assert file.read() == (json.loads(value) if found is None else found)
    for strange in ("[]", "{}", "5", "null"):
        put(file, strange)
        with pytest.raises(StateFileError, match="it is no file of kind example"):
            file.read()


def test_a_directory_of_state_files(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = open_folder(tmp_path)
    try:
        file = StateFile("x.json", "example", 1000, folder=folder)
        left = tmp_path / f"{files.TEMPORARY}x.json.0123456789ab"
        left.touch()
        os.utime(left, (0, 0))
        file.write({"a": 1}, durable=True)
        assert file.read()["a"] == 1
        assert [each.name for each in tmp_path.iterdir()] == ["x.json"]
        file.remove()
        assert not list(tmp_path.iterdir())
    finally:
        os.close(folder)
    tmp_path.chmod(0o770)
    with pytest.raises(PermissionError, match="users other than root can write there"):
        open_folder(tmp_path)
    tmp_path.chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP or ENOTDIR, as the kernel likes
        open_folder(tmp_path / "link")
