"""Listening unix sockets: their mode and owner, what is in their place, and who has connected."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from netbond.system import unix_socket
from netbond.system.unix_socket import InUseError, NotASocketError


def test_it_has_the_mode_whatever_the_umask_is(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for umask, mode in ((0o077, 0o666), (0o000, 0o600), (0o022, 0o660)):
        before = os.umask(umask)
        try:
            listener, node = unix_socket.listen(path, mode)
        finally:
            os.umask(before)
        with listener:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            unix_socket.remove(path, node)
        assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the socket to another user")
def test_it_can_be_given_to_the_user_that_an_engine_becomes(tmp_path: Path) -> None:
    listener, _ = unix_socket.listen(tmp_path / "s", 0o660, owner=(65534, 12345))
    with listener:
        status = (tmp_path / "s").stat()
    assert (status.st_uid, status.st_gid) == (65534, 12345)


def test_one_that_was_left_behind_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first, _ = unix_socket.listen(path, 0o600, backlog=0)
    with first:
        with pytest.raises(InUseError, match=rf"another process listens there \(pid {os.getpid()}\)"):
            unix_socket.listen(path, 0o600)
        # The queue of connections is full now (of our first try): alive, though it accepts nobody.
        with pytest.raises(InUseError, match=r"listens there$"):
            unix_socket.listen(path, 0o600)
    second, _ = unix_socket.listen(path, 0o600)
    second.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link", "link to a socket", "dangling"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "s", tmp_path / "other"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        other.write_text("precious")
        path.symlink_to(other)
    elif kind == "link to a socket":
        unix_socket.listen(other, 0o600)[0].close()
        path.symlink_to(other)
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotASocketError):
        unix_socket.listen(path, 0o666)
    assert path.is_symlink() or path.exists()
    if other.exists():
        assert stat.S_IMODE(other.stat().st_mode) != 0o666


def test_only_the_same_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener, node = unix_socket.listen(path, 0o600)
    with listener:
        path.unlink()
        path.write_text("not ours")
        unix_socket.remove(path, node)
        assert path.read_text() == "not ours"
        path.unlink()
        unix_socket.remove(path, node)  # nothing is there: nothing to do


def test_who_has_connected(tmp_path: Path) -> None:
    listener, _ = unix_socket.listen(tmp_path / "s", 0o600)
    with listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        connection, _ = listener.accept()
        with connection:
            assert unix_socket.peer(connection) == (os.getpid(), os.getuid())
        assert unix_socket.peer(client) == (os.getpid(), os.getuid())
