"""`netbond watch`: as JSON, as lines, as a table, and over a restart of what it follows."""

from __future__ import annotations

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
from rich.console import Console

from netbond.cli import main, watch
from netbond.cli.watch import in_words, view
from netbond.srtla.advice import Advice, LinkAdvice
from netbond.srtla.watch import VERSION, WatchLine
from netbond.system.typed_json import to_json

LINKS = (
    LinkAdvice("usb0", "up", 4_000_000, "measured", 150, 35, 48, 0.1, 3_500_000),
    LinkAdvice("usb1", "up", 5_500_000, "at_least", None, 0, 30, 0.0, 5_100_000),
    LinkAdvice("usb2", "up", 1_500_000, "remembered", 9000, 0, 55, 0.0, 0),
    LinkAdvice("usb3", "up", None, "unknown", None, 0, None, 0.0, 0),
    LinkAdvice("\x1b[2Jevil", "down", None, "unknown", None, 0, None, 0.0, 0),
)
LINE = WatchLine(
    VERSION, "127.0.0.1:6000", "connected", Advice(8_500_000, 9_500_000, 35, 1000, 0.02, 30, LINKS)
)
QUIET = WatchLine(VERSION, "127.0.0.1:6000", "registering", None)


def said(line: WatchLine) -> bytes:
    return json.dumps({"ok": True, **to_json(line)}).encode() + b"\n"


@contextmanager
def telling(path: Path, *connections: bytes) -> Iterator[list[bytes]]:
    """A server that answers one connection after the other with these, and closes each; what was asked."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    asked: list[bytes] = []

    def serve() -> None:
        for data in connections:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(data)
        listener.close()
        path.unlink()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        thread.join(10)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PERIOD_S", 0.01)


REFUSED = b'{"ok": false, "error": "there is no sender \\u001b[2J"}\n'


def test_json_is_what_is_told_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with telling(tmp_path / "s", said(LINE) + said(QUIET) + REFUSED) as asked:
        assert main(["watch", "--socket", str(tmp_path / "s"), "--json", "127.0.0.1:6000"]) == 69
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [to_json(LINE), to_json(QUIET)]
    assert err == "netbond watch: the other end refuses: there is no sender \\x1b[2J\n"
    assert json.loads(asked[0]) == {"sender": "127.0.0.1:6000", "command": "watch"}


def test_a_restart_of_the_other_end_is_outlived_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with telling(tmp_path / "s", said(LINE), b"", said(QUIET) + REFUSED):
        assert main(["watch", "--socket", str(tmp_path / "s"), "--json"]) == 69
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err.splitlines() == [
        f"netbond watch: what answered at {tmp_path}/s has ended; start it again; trying again",
        "netbond watch: the other end refuses: there is no sender \\x1b[2J",
    ]


def test_nobody_there_at_first_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--socket", str(tmp_path / "s")]) == 3
    assert capsys.readouterr().err == (
        f"netbond watch: nobody answers at {tmp_path}/s; start it: netbond run, or netbond send"
        " --watch-socket PATH\n"
    )


def test_the_socket_is_that_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text(f'[agent]\ncontrol_socket = "{tmp_path}/s"\n')
    with telling(tmp_path / "s", said(QUIET) + REFUSED):
        assert main(["watch", "--config", str(file)]) == 69
    assert capsys.readouterr().out.endswith("127.0.0.1:6000 registering: no advice\n")


def test_people_get_a_line_each_second_of_each_sender(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PERIOD_S", 60.0)
    other = WatchLine(VERSION, "127.0.0.1:6001", "resolving", None)
    with telling(tmp_path / "s", said(LINE) * 5 + said(other) + said(LINE) + REFUSED):
        assert main(["watch", "--socket", str(tmp_path / "s")]) == 69
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "127.0.0.1:6000 connected: send 8.50M of 9.50M bit/s, queued 35 of 1000 ms, loss 0.0 %, RTT 30 ms;"
        " usb0 4.00M, usb1 >5.50M, usb2 ~1.50M, usb3 unknown, \\x1b[2Jevil down",
        "127.0.0.1:6001 resolving: no advice",
    ]


def test_what_is_told_by_another_version_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with telling(tmp_path / "s", b'{"ok": true, "version": "two"}\n'):
        assert main(["watch", "--socket", str(tmp_path / "s")]) == 69
    assert "what is told is not understood: version" in capsys.readouterr().err


def test_a_table_on_a_terminal_until_ctrl_c(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "netbond", "watch", "--socket", str(tmp_path / "s")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env=environment)
    connection, _ = listener.accept()
    connection.sendall(said(LINE))
    seen, deadline = "", time.monotonic() + 60
    while "evil" not in seen and time.monotonic() < deadline:
        seen += os.read(master, 65536).decode()
    assert "send 8.50M of 9.50M bit/s" in seen
    assert "\x1b[2Jevil" not in seen
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    for each in (connection, listener):
        each.close()
    os.close(master)
    os.close(slave)


def test_the_table() -> None:
    console = Console(width=80, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(view(LINE))
        console.print(view(QUIET))
    assert captured.get() == (
        "127.0.0.1:6000  connected: send 8.50M of 9.50M bit/s\n"
        "  queued 35 of 1000 ms, loss 0.0 %, RTT 30 ms\n"
        "  link         capacity  bit/s  queued    RTT   loss  state\n"
        "  usb0            4.00M  3.50M   35 ms  48 ms  0.1 %  up   \n"
        "  usb1           >5.50M  5.10M    0 ms  30 ms  0.0 %  up   \n"
        "  usb2           ~1.50M      0    0 ms  55 ms  0.0 %  up   \n"
        "  usb3                -      0    0 ms      -  0.0 %  up   \n"
        "  \\x1b[2Jevil         -      0    0 ms      -  0.0 %  down \n"
        "127.0.0.1:6000  registering: no advice\n"
    )


def test_numbers_without_sense_are_shown_nevertheless() -> None:
    """An engine faces the internet: what it says need not make sense."""
    huge: Any = 10**400
    advice = Advice(
        huge,
        huge,
        huge,
        huge,
        1e300,
        huge,
        (LinkAdvice("a", "up", huge, "measured", 1, huge, huge, 1e300, huge),),
    )
    line = WatchLine(VERSION, "s", "connected", advice)
    assert in_words(line).startswith("s connected: send - of - bit/s, queued 0 of - ms")
    with Console(width=80).capture() as _:
        Console(width=80).print(view(line))
