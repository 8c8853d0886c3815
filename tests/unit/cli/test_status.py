"""`netbond status`: with an agent, without one, with one that hangs, and again and again."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netbond.cli import main, status
from netbond.status.control import Command, ControlServer
from netbond.status.schema import KernelStatus
from tests.unit.cli.snapshots import SNAPSHOT


@contextmanager
def an_agent(path: Path, answer: Any) -> Iterator[None]:
    """A control server in a thread that answers status with `answer`."""
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        server = ControlServer(path, {"status": Command(lambda request, peer: answer, anybody=True)})
        await server.start()
        started.set()
        await asyncio.to_thread(stop.wait)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(5)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_running_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status", "--socket", str(tmp_path / "s")]) == 0
        table = capsys.readouterr()
        assert main(["status", "--socket", str(tmp_path / "s"), "--json"]) == 0
        plain = capsys.readouterr()
    assert "192.168.100.100 192.168.100.1 (dhclient" in table.out, "an age depends on the day of the test"
    assert "\x1b" not in table.out, "no colours where nobody sees them"
    assert "error: stalled: [bold]packets[/] without any \\x1b[2Janswer" in table.out, (
        "a line is a line in a pipe"
    )
    assert json.loads(plain.out) == SNAPSHOT
    assert (table.err, plain.err) == ("", "")
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status", "--socket", str(tmp_path / "s"), "--all"]) == 0
    assert "RSRP -92 dBm" in capsys.readouterr().out
    assert "RSRP" not in table.out


def test_the_socket_is_that_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text(f'[agent]\ncontrol_socket = "{tmp_path}/s"\n')
    monkeypatch.setenv("NETBOND_CONFIG", str(file))
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status"]) == 0
        assert main(["status", "--config", str(file)]) == 0


def test_a_broken_file_is_no_reason_to_see_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "read_kernel", lambda protocol: KERNEL)
    file = tmp_path / "netbond.toml"
    file.write_text(f'[agent]\ncontrol_socket = "{tmp_path}/s"\n[agnet]\n')
    asked = ["status", "--config", str(file)]
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(asked) == 0
        shown = capsys.readouterr()
        assert main([*asked, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == SNAPSHOT
        assert main([*asked, "--check"]) == 2
        checked = capsys.readouterr()
        assert main([*asked, "--socket", f"{tmp_path}/s"]) == 0
        assert capsys.readouterr().err == ""
    assert "usb0" in shown.out
    assert shown.err.startswith(f"netbond status: {file}:3: unknown table 'agnet'")
    assert shown.err.endswith("; asking the running agent, which goes on with what it read before\n")
    assert "; a restart would fail: " in checked.out
    assert main(asked) == 78
    without = capsys.readouterr()
    assert "the agent is not running" in without.err
    assert "unknown table 'agnet'" in without.err
    assert "oif usb0" in without.out


def verdict(text: str, code: int) -> dict[str, Any]:
    return {"status": {**SNAPSHOT, "verdict": {"text": text, "code": code}}}


def test_check_is_a_line_and_an_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    asked = ["status", "--check", "--socket", str(path)]
    for code in range(4):
        with an_agent(path, verdict("STREAMING 6.0 Mbit/s over 4 of 4 links", code)):
            assert main(asked) == code
            assert capsys.readouterr().out == "STREAMING 6.0 Mbit/s over 4 of 4 links\n"
            assert main([*asked, "--json"]) == code
            assert json.loads(capsys.readouterr().out) == {
                "text": "STREAMING 6.0 Mbit/s over 4 of 4 links",
                "code": code,
            }
    assert main([*asked, "--watch"]) == 64
    capsys.readouterr()
    assert main(asked) == 2
    assert capsys.readouterr().out == (
        f"NO AGENT: the agent is not running (nobody answers at {path}); start it: netbond run\n"
    )
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen()
        assert main(asked) == 2
        assert "does not answer" in capsys.readouterr().out
    path.unlink()
    unclear: Any
    for unclear in ({"status": {}}, {"ok": False, "error": "no"}, {"status": {"agent": {}}}):
        with an_agent(path, unclear):
            assert main(asked) == 3
            assert capsys.readouterr().out.startswith("UNKNOWN: ")


HELD = {
    "rules": ["priority 40 from all oif usb0 lookup 100 protocol 78"],
    "routes": ["default dev usb0 table 100"],
}


KERNEL = KernelStatus(tuple(HELD["rules"]), tuple(HELD["routes"]))


def test_no_agent_says_so_in_one_line_and_still_shows_the_kernel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the real kernel holds is for tests/netns/test_status.py.
    monkeypatch.setattr(status, "read_kernel", lambda protocol: KERNEL)
    path = tmp_path / "s"
    line = f"the agent is not running (nobody answers at {path}); start it: netbond run"
    assert main(["status", "--socket", str(path)]) == 3
    table = capsys.readouterr()
    assert table.err == f"netbond status: {line}\n"
    assert table.out == (
        "Of netbond's the kernel still holds\n"
        "ip rule   priority 40 from all oif usb0 lookup 100 protocol 78\n"
        "ip route  default dev usb0 table 100\n"
    )
    assert main(["status", "--socket", str(path), "--json"]) == 3
    plain = capsys.readouterr()
    assert plain.err == f"netbond status: {line}\n"
    assert json.loads(plain.out) == {
        "version": 1,
        "agent": {"running": False, "error": line},
        "kernel": HELD,
        "verdict": {"text": f"NO AGENT: {line}", "code": 2},
    }


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"ok": False, "error": "no\x1b[2J"}, "the agent refuses: no\\x1b[2J"),
        (
            {"status": {"agent": {"running": True}}},
            "what the agent shows is not understood: version: missing; restart it after an update",
        ),
        ({"status": {}}, "the agent has nothing to show yet; ask again in a moment"),
        ({}, "the agent has nothing to show yet; ask again in a moment"),
    ],
)
def test_an_agent_that_gives_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.setattr(status, "read_kernel", lambda protocol: KERNEL)
    with an_agent(tmp_path / "s", answer):
        assert main(["status", "--socket", str(tmp_path / "s")]) == 69
    assert capsys.readouterr().err == f"netbond status: {says}\n"


def test_an_agent_that_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "read_kernel", lambda protocol: KERNEL)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen()
        assert main(["status", "--socket", str(tmp_path / "s")]) == 69
    out, err = capsys.readouterr()
    assert "does not answer at" in err
    assert "oif usb0" in out


def command(*arguments: str, **environ: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "netbond", "status", *arguments], {**os.environ, **environ}


def test_a_terminal_of_other_letters_and_a_reader_who_leaves(tmp_path: Path) -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["agent"]["problems"] = ["モデム" * 3] * 20_000
    arguments, environ = command(
        "--all", "--socket", str(tmp_path / "s"), PYTHONIOENCODING="latin-1", PYTHONUNBUFFERED=""
    )
    with an_agent(tmp_path / "s", {"status": snapshot}):
        process = subprocess.Popen(
            arguments, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(5)]
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(40) == 1
    assert any(line.startswith("! \\u30e2\\u30c7\\u30e0") for line in first)


def test_watch_draws_again_until_ctrl_c(tmp_path: Path) -> None:
    answer = {"status": copy.deepcopy(SNAPSHOT)}
    arguments, environ = command(
        "--watch", "--socket", str(tmp_path / "s"), TERM="xterm", COLUMNS="80", LINES="50"
    )
    leader, follower = pty.openpty()
    seen = bytearray()

    def until(what: bytes) -> None:
        deadline = time.monotonic() + 60
        while what not in seen:
            assert time.monotonic() < deadline, seen
            seen.extend(os.read(leader, 65536))

    with an_agent(tmp_path / "s", answer):
        process = subprocess.Popen(arguments, env=environ, stdin=follower, stdout=follower, stderr=follower)
        try:
            until(b"31 changes")
            answer["status"]["agent"]["changes"] = 32
            until(b"32 changes")
            process.send_signal(signal.SIGINT)
            assert process.wait(40) == 0
            until(b"\x1b[?1049l")  # the screen is as it was before, and the last picture stays
            left = bytes(seen)[bytes(seen).rindex(b"\x1b[?1049l") :]
            while b"32 changes" not in left:
                seen.extend(os.read(leader, 65536))
                left = bytes(seen)[bytes(seen).rindex(b"\x1b[?1049l") :]
            assert b"STREAMING" in left or b"NOT RUNNING" in left
        finally:
            process.kill()
            process.wait()
            os.close(leader)
            os.close(follower)
    assert b"\x1b[32m" in seen, "green: up"
    assert b"Traceback" not in seen


def test_watch_in_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "s"
    arguments, environ = command("--watch", "--socket", str(path))
    refused = subprocess.run(arguments, env=environ, capture_output=True, text=True)
    assert refused.returncode == 64
    assert refused.stderr.startswith("netbond status: --watch needs a terminal; --json --watch prints")
    arguments, environ = command("--watch", "--json", "--socket", str(path))
    with an_agent(path, {"status": SNAPSHOT}):
        process = subprocess.Popen(arguments, env=environ, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
        process.stdout.close()
    assert lines == [SNAPSHOT, SNAPSHOT]


def test_watch_in_plain_words_says_what_is_another(tmp_path: Path) -> None:
    """Rates and ages are others each second: a screen reader would never end."""
    path = tmp_path / "s"
    arguments, environ = command("--watch", "--plain", "--socket", str(path), PYTHONUNBUFFERED="1")
    answer = verdict("STREAMING 6.0 Mbit/s over 4 of 4 links", 0)
    with an_agent(path, answer):
        process = subprocess.Popen(arguments, env=environ, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = [process.stdout.readline()]
        answer["status"]["verdict"]["text"] = "STREAMING 850 kbit/s over 4 of 4 links"
        time.sleep(1.5)
        for age in (3, 4):
            text = f"STREAMING 5.9 Mbit/s over 3 of 4 links; usb3: no answer for {age} s"
            answer["status"]["verdict"]["text"] = text
            time.sleep(1.2)
        said.append(process.stdout.readline())
    said.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 0
    process.stdout.close()
    texts = [line.partition(" ")[2].strip() for line in said]
    assert texts[0] == "STREAMING 6.0 Mbit/s over 4 of 4 links"
    assert texts[1].startswith("STREAMING 5.9 Mbit/s over 3 of 4 links; usb3: no answer for")
    assert texts[2].startswith("NO AGENT: ")


def test_plain_is_a_sentence_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status", "--plain", "--socket", str(tmp_path / "s")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Verdict: NOT RUNNING: sender 127.0.0.1:6001: port 6001 is taken")
    assert "Link usb0: up, 2.13M bit/s, round trip 48 ms, loss 0.3 per cent." in lines


def test_the_schema_needs_no_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["$defs"]["Snapshot"]["properties"]) >= set(SNAPSHOT)
