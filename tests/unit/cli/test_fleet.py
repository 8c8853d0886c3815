"""`netbond fleet sd`: printed, written, served, kept up to date, and read by a real Prometheus."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netbond.cli import main
from tests.unit.prometheus import Prometheus, free_port, needs_prometheus

LIST = '[[box]]\nname = "van-1"\naddress = "127.0.0.1:1"\nlabels = { site = "berlin" }\n'
MORE = LIST + '\n[[box]]\nname = "van-2"\naddress = "127.0.0.1:2"\n'
VAN_1 = {"targets": ["127.0.0.1:1"], "labels": {"instance": "van-1", "site": "berlin"}}
VAN_2 = {"targets": ["127.0.0.1:2"], "labels": {"instance": "van-2"}}


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    file = tmp_path / "boxes.toml"
    file.write_text(LIST)
    return file


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "netbond", "fleet", "sd", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=40)
        assert process.returncode == 0, rest


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip().removeprefix("netbond fleet: ")


def test_they_are_printed(boxes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "sd", str(boxes)]) == 0
    assert json.loads(capsys.readouterr().out) == [VAN_1]


def test_they_are_written_for_a_prometheus_of_another_user(boxes: Path, tmp_path: Path) -> None:
    output = tmp_path / "netbond.json"
    assert main(["fleet", "sd", str(boxes), "--output", str(output)]) == 0
    assert json.loads(output.read_text()) == [VAN_1]
    assert output.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["{boxes}", "--output", "{tmp}/a.txt"], 64, "name one that ends with .json, as Prometheus asks"),
        (
            ["{boxes}", "--output", "{tmp}/no/a.json"],
            69,
            "{tmp}/no/a.json: No such file or directory;",
        ),
        (["{boxes}", "--follow"], 64, "--follow needs --output FILE; say where the targets go"),
        (["{boxes}", "--listen", "7"], 64, "--listen 7; expected 'host:port' with a port from 1 to 65535"),
        (["{boxes}", "--listen", "192.0.2.1:9"], 69, "cannot serve targets at 192.0.2.1:9: Cannot assign"),
        (["{tmp}/none"], 78, "{tmp}/none: no such file; name a file that exists"),
        (["{tmp}"], 78, "{tmp} is not a regular file; name a text file"),
    ],
)
def test_what_is_wrong_is_said(
    boxes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    message: str,
) -> None:
    assert main(["fleet", "sd", *(word.format(boxes=boxes, tmp=tmp_path) for word in words)]) == status
    assert message.format(tmp=tmp_path) in capsys.readouterr().err


def test_a_wrong_list_leaves_the_file_as_it_is(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "netbond.json"
    output.write_text("before")
    boxes.write_text(LIST + LIST)
    assert main(["fleet", "sd", str(boxes), "--output", str(output)]) == 78
    assert output.read_text() == "before"
    assert capsys.readouterr().err.splitlines() == [
        f"netbond fleet: {boxes}:6: two boxes have the name 'van-1'; remove one, or correct it",
        f"netbond fleet: {boxes}:7: two boxes have the address '127.0.0.1:1'; remove one, or correct it",
    ]


def test_a_change_of_the_list_is_followed_and_a_wrong_one_is_not(boxes: Path, tmp_path: Path) -> None:
    output = tmp_path / "netbond.json"
    port = free_port()
    with running(str(boxes), "--output", str(output), "--listen", f"127.0.0.1:{port}") as process:
        at = f"http://127.0.0.1:{port}/sd"
        assert said(process) == f"1 target at {at}"
        assert fetched(at) == json.loads(output.read_text()) == [VAN_1]
        boxes.write_text(MORE)
        assert said(process) == "2 targets"
        assert fetched(at) == json.loads(output.read_text()) == [VAN_1, VAN_2]
        boxes.write_text("[[box]]\n")
        assert said(process) == f"{boxes}:1: box[1] lacks the key 'name'; add name = ..."
        assert said(process) == (
            f"{boxes}:1: box[1] lacks the key 'address'; add address = ...; the targets stay as they are"
        )
        assert fetched(at) == json.loads(output.read_text()) == [VAN_1, VAN_2]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(f"http://127.0.0.1:{port}/")


def fetched(url: str) -> object:
    with urllib.request.urlopen(url, timeout=20) as reply:  # noqa: S310 - it is http
        assert reply.headers["Content-Type"] == "application/json", "Prometheus insists on it"
        return json.load(reply)


@needs_prometheus
def test_a_real_prometheus_finds_the_boxes_by_file_and_over_http(boxes: Path, tmp_path: Path) -> None:
    output, port = tmp_path / "netbond.json", free_port()
    boxes.write_text(MORE)
    with running(str(boxes), "--output", str(output), "--listen", f"127.0.0.1:{port}") as process:
        assert said(process).startswith("2 targets at ")
        by_file = {"job_name": "file", "file_sd_configs": [{"files": [str(output)]}]}
        at = f"http://127.0.0.1:{port}/sd"
        over_http = {"job_name": "http", "http_sd_configs": [{"url": at, "refresh_interval": "1s"}]}
        prometheus = Prometheus(tmp_path, [by_file, over_http])
        try:
            prometheus.wait_for("count(up) == 4")
            found = {tuple(sorted(each["metric"].items())) for each in prometheus.ask("up")}
        finally:
            prometheus.stop()
    name = ("__name__", "up")
    assert found == {
        labels
        for job in ("file", "http")
        for labels in (
            (name, ("instance", "van-1"), ("job", job), ("site", "berlin")),
            (name, ("instance", "van-2"), ("job", job)),
        )
    }
