"""Small files: no link is followed, no half file is seen, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from netbond.errors import UnavailableError
from netbond.system import files


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    data, status = files.read(tmp_path / "a", 7)
    assert (data, status.st_size) == (b"content", 7)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert files.read("a", 100, dir_fd=folder)[0] == b"content"
    finally:
        os.close(folder)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "b", 7)


def test_a_file_that_the_kernel_gives_in_pieces_is_read_whole() -> None:
    """What /proc shows has no size, and a read of it may end early."""
    assert files.read("/proc/self/maps", 1 << 20)[0].count(b"\n") > 5


@pytest.mark.parametrize(
    ("what", "says", "number"),
    [
        ("link", "is a symbolic link", errno.ELOOP),
        ("directory", "is not a regular file", errno.EINVAL),
        ("fifo", "is not a regular file", errno.EINVAL),
        ("device", "is not a regular file", errno.EINVAL),
        ("large", "is larger than 5 bytes", errno.EFBIG),
    ],
)
def test_what_is_not_read(tmp_path: Path, what: str, says: str, number: int) -> None:
    path = tmp_path / what
    if what == "link":
        path.symlink_to("/etc/passwd")
    elif what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/null")
    else:
        path.write_bytes(b"123456")
    with pytest.raises(files.UnfitFileError) as caught:
        files.read(path, 5)
    assert (files.why(caught.value), caught.value.errno, caught.value.filename) == (says, number, str(path))


@pytest.mark.parametrize("durable", [False, True])
def test_replacing(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a"
    previous = os.umask(0o077)
    try:
        files.replace(path, b"1", 0o644, durable=durable)
    finally:
        os.umask(previous)
    assert path.read_bytes() == b"1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "whatever the umask is"
    before = path.open("rb")
    with before:
        files.replace(path, b"2" * 100_000, 0o600, durable=durable)
        assert before.read() == b"1", "who reads the old file reads all of it"
    assert path.read_bytes() == b"2" * 100_000
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        files.replace("a", b"3", 0o600, dir_fd=folder, durable=durable)
    finally:
        os.close(folder)
    assert path.read_bytes() == b"3"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "a").symlink_to("elsewhere")
    files.replace(tmp_path / "a", b"ours", 0o600)
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "a").is_symlink()


def test_what_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "a", b"", 0o600)

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(tmp_path / "b", b"1", 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_durable_file_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append(f"sync {kind}")
        fsync(descriptor)

    def replaced(*arguments: object, **options: object) -> None:
        done.append("replace")
        replace(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    files.replace(tmp_path / "a", b"1", 0o600)
    assert done == ["replace"]
    files.replace(tmp_path / "a", b"1", 0o600, durable=True)
    assert done == ["replace", "sync file", "replace", "sync folder"]


@pytest.mark.parametrize(
    ("owner", "mode", "trusted"),
    [
        (os.geteuid(), 0o644, True),
        (0, 0o600, True),
        (os.geteuid(), 0o664, False),
        (os.geteuid(), 0o602, False),
        (4321, 0o600, False),
    ],
)
def test_who_can_have_written_it(tmp_path: Path, owner: int, mode: int, trusted: bool) -> None:
    (tmp_path / "a").touch()
    status = list((tmp_path / "a").stat())
    status[stat.ST_UID], status[stat.ST_MODE] = owner, stat.S_IFREG | mode
    assert files.trusted(os.stat_result(status)) is trusted


def test_a_directory_for_an_engine(tmp_path: Path) -> None:
    descriptor = files.open_directory(tmp_path, "--group-dir")
    assert os.fstat(descriptor).st_ino == tmp_path.stat().st_ino
    os.close(descriptor)
    with pytest.raises(UnavailableError, match=f"^--group-dir {tmp_path}/b: No such file or directory"):
        files.open_directory(tmp_path / "b", "--group-dir")
    (tmp_path / "a").touch()
    with pytest.raises(UnavailableError, match=f"^--stats-file {tmp_path}/a/x: Not a directory"):
        files.open_directory(tmp_path / "a", "--stats-file", tmp_path / "a/x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_directory_that_an_engine_cannot_write() -> None:
    script = (
        "import os; from netbond.errors import UnavailableError; from netbond.system import files\n"
        "os.setresuid(12345, 12345, 12345)\n"
        "try: files.open_directory('/proc', '--group-dir')\n"
        "except UnavailableError as error: print(error.message)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "--group-dir /proc: no permission to write there\n"


def test_making_directories(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        files.make_directory(tmp_path / "a/b/c", 0o700)
    finally:
        os.umask(previous)
    modes = [stat.S_IMODE((tmp_path / each).stat().st_mode) for each in ("a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o755, 0o700]
    (tmp_path / "a").chmod(0o711)
    files.make_directory(tmp_path / "a", 0o755)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o711, "one that is there stays as it is"


def test_an_error_in_a_few_words() -> None:
    assert files.why(OSError(errno.ENOENT, "No such file or directory", "x")) == "No such file or directory"
    assert files.why(OSError("timed out")) == "timed out"


# --- what killed writers leave -----------------------------------------------------------------------------

KILLED = """
import os, sys
from netbond.system import files
os.replace = lambda *_, **__: os.kill(os.getpid(), 9)
files.replace(sys.argv[1], b"x", 0o644)
"""


def aged(path: Path) -> Path:
    os.utime(path, (0, 0), follow_symlinks=False)
    return path


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "ips")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".netbond-ips.")
    files.sweep(tmp_path, "ips.")
    assert left.exists(), "its writer might not hold it yet"
    aged(left)
    files.sweep(tmp_path, "other.")
    assert left.exists()
    files.sweep(tmp_path, "ips.")
    assert not left.exists()


def test_a_file_that_is_being_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes, and whatever the clocks do."""

    def sweep_meanwhile(_descriptor: int, _mode: int) -> None:
        (unfinished,) = tmp_path.iterdir()
        aged(unfinished)
        files.sweep(tmp_path)

    monkeypatch.setattr(os, "fchmod", sweep_meanwhile)
    files.replace(tmp_path / "ips", b"x", 0o644)
    assert names(tmp_path) == ["ips"]


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    """In /tmp anybody may make such names."""
    name = ".netbond-ips.0000000000"
    (tmp_path / "target").touch()
    (tmp_path / f"{name}01").symlink_to(tmp_path / "target")
    (tmp_path / f"{name}02").mkdir()
    os.mkfifo(tmp_path / f"{name}03")
    for other in (f"{name}0x", f"{name}040", ".netbond-ips", "ips"):
        (tmp_path / other).touch()
    if os.geteuid() == 0:
        (tmp_path / f"{name}05").touch()
        os.chown(tmp_path / f"{name}05", 12345, 12345)
    before = [aged(tmp_path / each).name for each in names(tmp_path)]
    files.sweep(tmp_path)
    assert names(tmp_path) == before
    files.sweep(tmp_path / "none")  # no folder is no problem
