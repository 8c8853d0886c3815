"""Who gets SIGHUP, and who must not: by name, by pid file, and of whom."""

import os
from pathlib import Path

import pytest

from netbond.system import sighup
from netbond.system.sighup import Readers, processes, read_pid_file, send_sighup
from tests.hangup import Start, name, start, was_told, was_told_again

__all__ = ["name", "start"]  # fixtures

NEWS = "the new list"


def test_a_process_is_told_by_its_pid_file(name: str, start: Start, tmp_path: Path) -> None:
    process, bystander = start(name), start(name)
    pid_file = tmp_path / "pid"
    pid_file.write_text(f" {process.pid}\n")
    pid_file.chmod(0o644)
    assert Readers(pid_file, name, NEWS).tell(0.0) == ((process.pid,), ())
    assert was_told(process)
    assert bystander.poll() is None


def test_a_pid_file_of_another_program_is_named(name: str, start: Start, tmp_path: Path) -> None:
    process = start(name)
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(process.pid))
    notified, problems = Readers(pid_file, "srtla_send", NEWS).tell(0.0)
    assert notified == ()
    says = f"process {process.pid} is not srtla_send but 'bash'; it is not told of the new list"
    assert problems == (says,)
    assert process.poll() is None


def test_who_was_found_is_remembered_while_it_lives(
    name: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[str] = []

    def search(called: str) -> list[int]:
        searches.append(called)
        return processes(called)

    monkeypatch.setattr(sighup, "processes", search)
    readers = Readers(None, name, NEWS, rest_s=5.0)
    assert readers.tell(0.0) == ((), ())
    process = start(name, stays=True)
    assert readers.tell(4.9) == ((), ())  # too early to look again
    for now in (5.0, 5.1, 99.0):
        assert readers.tell(now) == ((process.pid,), ())
        assert was_told_again(process)
    assert len(searches) == 2
    process.kill()
    process.wait()
    another = start(name, stays=True)
    assert readers.tell(99.1) == ((another.pid,), ())
    another.kill()
    another.wait()
    assert readers.tell(99.2) == ((), ())
    assert len(searches) == 4


def test_no_pid_file_means_nobody_to_tell(tmp_path: Path) -> None:
    assert Readers(tmp_path / "none", "", NEWS).tell(0.0) == ((), ())
    assert Readers(None, "", NEWS).tell(0.0) == ((), ())


def test_a_pid_file_of_a_process_that_has_ended(start: Start, name: str, tmp_path: Path) -> None:
    process = start(name, stays=True)
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(process.pid))
    process.kill()
    process.wait()
    assert Readers(pid_file, "", NEWS).tell(0.0) == (
        (),
        (f"{pid_file}: process {process.pid} is not running",),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no process id"),
        ("x", "holds no process id"),
        ("-1", "holds no process id"),
        ("12 13", "holds no process id"),
        ("12345678901", "holds no process id"),
        ("7" * 65, "is larger than 64 bytes"),
    ],
)
def test_pid_files_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text(text)
    with pytest.raises(OSError, match=says):
        read_pid_file(pid_file)


def test_pid_files_not_to_be_trusted(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("5")
    link = tmp_path / "link"
    link.symlink_to("real")
    problem = f"{link}: is a symbolic link; nobody is told of the new list"
    assert Readers(link, "", NEWS).tell(0.0) == ((), (problem,))
    (tmp_path / "real").chmod(0o666)
    with pytest.raises(OSError, match="can be written by others than its owner"):
        read_pid_file(tmp_path / "real")


@pytest.mark.parametrize(
    ("pid", "says"),
    [(0, "may be signalled"), (1, "may be signalled"), (os.getpid(), "is netbond itself"),
     (2**22 + 1, "is not running")],  # above the highest that the kernel gives
    ids=["0", "1", "own", "none"],  # xdist wants the same names in each of its processes
)  # fmt: skip
def test_processes_that_get_no_signal(pid: int, says: str) -> None:
    with pytest.raises(OSError, match=says):
        send_sighup(pid)


def test_a_process_that_has_ended_but_is_not_reaped(name: str, start: Start) -> None:
    process = start(name, handles=False)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(OSError, match="is not running"):
        send_sighup(process.pid)


def test_netbond_is_not_among_the_processes() -> None:
    own = sighup.names(os.getpid())
    assert own
    assert os.getpid() not in processes(own[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")
def test_a_users_pid_file_names_only_that_users_processes(name: str, start: Start, tmp_path: Path) -> None:
    roots, users = start(name), start(name, user=12345)
    pid_file = tmp_path / "pid"
    for process in (roots, users):
        pid_file.write_text(str(process.pid))
        os.chown(pid_file, 12345, -1)
        pid, owner = read_pid_file(pid_file)
        if process is roots:
            with pytest.raises(OSError, match="belongs to another user"):
                send_sighup(pid, owner=owner)
        else:
            send_sighup(pid, owner=owner)
    assert was_told(users)
    assert roots.poll() is None
