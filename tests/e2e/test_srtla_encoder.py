"""`netbond send --bitrate-file` with a real receiver and a real SRT stream, and a process to be told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hangup import Start, name, start, was_told_again
from tests.srtla_net import RECEIVER, Stream, eventually, net
from tests.srtla_util import free_ports

__all__ = ["name", "start"]  # fixtures
pytestmark = pytest.mark.root

NOBODY = 65534


def test_the_file_follows_the_stream_and_the_encoder_is_told(tmp_path: Path, name: str, start: Start) -> None:
    encoder, path, pid_file = start(name, stays=True), tmp_path / "bitrate", tmp_path / "pid"
    pid_file.write_text(f"{encoder.pid}\n")
    with net(tmp_path, 2) as lab:
        stream = Stream(lab)
        lab.recv()
        options = ["--bitrate-file", str(path), "--bitrate-max", "4M", "--encoder-pid-file", str(pid_file)]
        where = ["6000", RECEIVER, "5000", str(lab.ips())]
        sender = lab.netbond(lab.box, "send", *options, *where, log="send.log")
        eventually(lambda: path.exists() and path.read_text() == "500000\n500000\n", 5, "what it begins with")
        assert was_told_again(encoder)
        stream.start()
        eventually(lambda: path.read_text() != "500000\n500000\n", 10, "there is advice")
        assert was_told_again(encoder)
        least, most = map(int, path.read_text().splitlines())
        assert 500_000 < least == most <= 4_000_000
        stream.arrives()
        assert stream.finish() == []
        sender.send_signal(signal.SIGTERM)
        assert sender.wait(20) == 0
        assert path.read_text() == "500000\n4000000\n"
        assert "bitrate" not in lab.log("send.log")


def test_without_root_an_encoder_of_another_user_is_named_in_one_line(
    tmp_path: Path, name: str, start: Start
) -> None:
    """Only root can enter the folders above that of the file: it is opened before root is given up."""
    encoder, folder = start(name, stays=True), tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, NOBODY, -1)
    tmp_path.chmod(0o700)
    with net(tmp_path, 0) as lab:
        options = ["--user", "nobody", "--bitrate-file", str(folder / "bitrate"), "--encoder-process", name]
        lab.netbond(lab.box, "send", *options, "6000", RECEIVER, "5000", "/dev/null", log="send.log")
        file = folder / "bitrate"
        eventually(lambda: file.exists() and file.read_text() == "500000\n500000\n", 5, "what it begins with")
        assert (folder / "bitrate").stat().st_uid == NOBODY
        says = f"process {encoder.pid} Operation not permitted; it is not told of the new bitrate"
        eventually(lambda: lab.log("send.log").count(says) == 1)


@pytest.mark.parametrize(
    ("place", "user", "says"),
    [
        ("link", "root", "is a symbolic link; name a plain file, in a directory that the engine's user can"),
        ("folder/bitrate", "nobody", "Permission denied; name a plain file, in a directory that the"),
    ],
)
def test_where_no_file_can_be(tmp_path: Path, place: str, user: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    path, port = tmp_path / place, str(free_ports(1)[0])
    command = [sys.executable, "-m", "netbond", "send", "--user", user, "--bitrate-file", str(path)]
    command += [port, "127.0.0.1", "5000", "/dev/null"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 69
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("netbond send: ")]
    assert error.startswith(f"netbond send: --bitrate-file {path}: {says}")
