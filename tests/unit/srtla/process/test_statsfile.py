"""The statistics as a file."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from netbond.errors import UnavailableError
from netbond.srtla.process.statsfile import StatsFile
from tests.srtla_util import free_ports


def test_each_is_whole_and_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    file = StatsFile(path)
    assert not path.exists()
    file.write({"packets": 1, "links": []})
    with path.open() as reader:
        file.write({"packets": 2})
        assert json.load(reader) == {"packets": 1, "links": []}
    assert json.loads(path.read_text()) == {"packets": 2}
    assert path.stat().st_mode & 0o777 == 0o644
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "stats.json"
    victim.write_text("precious")
    path.symlink_to(victim)
    file = StatsFile(path)
    file.write({"packets": 1})
    assert json.loads(path.read_text()) == {"packets": 1}
    file.close()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/stats.json", r"--stats-file .*/none/stats.json: No such file or directory"),
        ("folder", r"--stats-file .*/folder is not a regular file"),
        ("fifo", r"--stats-file .*/fifo is not a regular file"),
    ],
)
def test_where_no_file_can_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnavailableError, match=message):
        StatsFile(tmp_path / name)
    with pytest.raises(UnavailableError, match="--stats-file / is not a regular file"):
        StatsFile(Path("/"))


def test_what_cannot_be_written_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stats.json"
    file = StatsFile(path)
    path.mkdir()  # amidst its life
    with caplog.at_level(logging.WARNING):
        file.write({"packets": 1})
        file.write({"packets": 2})
    assert [record.getMessage() for record in caplog.records] == [f"{path}: Is a directory"]
    path.rmdir()
    file.write({"packets": 3})
    assert json.loads(path.read_text()) == {"packets": 3}
    file.close()


def read(path: Path) -> dict[str, Any]:
    try:
        stats = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    assert isinstance(stats, dict)
    return stats


@pytest.mark.parametrize("workers", [1, 2])
def test_both_engines_keep_one_without_an_agent(tmp_path: Path, workers: int) -> None:
    srtla, srt, caller = free_ports(3)
    sent, received = tmp_path / "send.json", tmp_path / "recv.json"
    ips = tmp_path / "ips"
    ips.write_text("127.0.0.2\n127.0.0.3\n")
    recv = ["recv", "--listen", f"127.0.0.1:{srtla}", "--srt", f"127.0.0.1:{srt}", f"--workers={workers}"]
    send = [
        "send",
        "--listen",
        f"127.0.0.1:{caller}",
        "--receiver",
        f"127.0.0.1:{srtla}",
        str(tmp_path / "ips"),
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "netbond", *command, "--stats-file", str(path)], stderr=subprocess.DEVNULL
        )
        for command, path in ((recv, received), (send, sent))
    ]
    try:
        end = time.monotonic() + 60
        while True:
            groups = read(received).get("groups", [])
            states = [link["state"] for link in read(sent).get("links", [])]
            if states == ["up", "up"] and groups and len(groups[0]["links"]) == 2:
                break
            assert time.monotonic() < end, (groups, states)
            time.sleep(0.1)
        assert read(sent)["group"] == groups[0]["id"]
    finally:
        for process in processes:
            process.terminate()
        statuses = [process.wait(30) for process in processes]
    assert statuses == [0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["ips"]
