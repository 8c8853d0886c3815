"""A lab by its name alone: its lock, whether it runs, and removing what is left of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netbond.errors import NetbondError, UsageError
from netbond.lab import netns, remains


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of /run/netbond-lab; nothing of the machine's is looked at."""
    monkeypatch.setattr(remains, "STATE_ROOT", tmp_path / "labs")
    monkeypatch.setattr(netns, "NETNS_DIR", tmp_path / "netns")
    monkeypatch.setattr(netns, "PRIVATE_DIR", tmp_path / "private")
    return tmp_path / "labs"


def record(root: Path, name: str, **state: object) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def test_the_lock_leaves_nothing_behind(root: Path) -> None:
    with remains.locked("a"):
        assert remains.all_labs() == ["a"]
    assert not root.exists()
    assert remains.all_labs() == []


def test_what_is_in_the_folder_stays(root: Path) -> None:
    record(root, "a")
    with remains.locked("a"):
        pass
    assert remains.all_labs() == ["a"]


def test_one_command_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remains, "LOCK_TIMEOUT_S", 0.05)
    with remains.locked("a"):
        with (
            pytest.raises(NetbondError, match="another netbond lab command is working on lab 'a'"),
            remains.locked("a"),
        ):
            pass
        with remains.locked("b"):  # another lab is nobody's business
            pass


def test_the_next_one_waits_for_the_lock(root: Path) -> None:
    got = threading.Event()

    def second() -> None:
        with remains.locked("a"):
            got.set()

    with remains.locked("a"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(0.05)
    thread.join(10)
    assert got.is_set()


def test_a_name_that_is_a_path_is_none(root: Path) -> None:
    with pytest.raises(UsageError), remains.locked("../etc"):
        pass


@pytest.mark.parametrize("text", ["", "{", '"x"'])
def test_a_record_that_makes_no_sense_is_none(root: Path, text: str) -> None:
    (root / "a").mkdir(parents=True)
    (root / "a/state.json").write_text(text)
    assert remains.recorded("a") == {}
    assert not remains.is_running("a")


def test_it_runs_while_its_cable_does(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as cable:
        found = netns.identify(cable.pid)
        record(root, "a", ready=True, processes={"cable": [found.pid, found.started]})
        assert remains.is_running("a")
        record(root, "a", ready=False, processes={"cable": [found.pid, found.started]})
        assert not remains.is_running("a"), "it did not come up"
        record(root, "a", ready=True, processes={"cable": [found.pid, found.started + 1]})
        assert not remains.is_running("a"), "that is another process"
        cable.communicate(b"\n")
    record(root, "a", ready=True, processes={"cable": [found.pid, found.started]})
    assert not remains.is_running("a")


def test_cleaning_ends_its_processes_and_takes_its_files(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        found = netns.identify(program.pid)
        folder = record(root, "a", processes={"agent": [found.pid, found.started]})
        (folder / "logs").mkdir()
        (folder / "link").symlink_to(root.parent)
        for name in ("a-box", "a-m0", "ab-box"):
            (netns.PRIVATE_DIR / name).mkdir(parents=True)
        with remains.locked("a"):
            remains.clean("a")
        assert not found.alive
    assert not root.exists()
    assert [path.name for path in netns.PRIVATE_DIR.iterdir()] == ["ab-box"], "another lab's"


def test_ctrl_c_waits_for_the_end_of_a_block() -> None:
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes when the block has ended
        with remains.interrupts_delayed():
            signal.raise_signal(signal.SIGINT)
            done = True
        assert done


def test_a_second_ctrl_c_does_not_cut_cleaning_short() -> None:
    before = signal.getsignal(signal.SIGINT)
    with remains.uninterrupted():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    thread = threading.Thread(target=lambda: remains.uninterrupted().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
