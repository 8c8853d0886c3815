"""`netbond status`: what a person reads, written out; what programs get; and an agent that is not there."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import os
import pty
import re
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

from netbond.cli import main, status
from netbond.cli.status import amount, duration, render
from netbond.control import Command, ControlServer


def uplink(
    device: str,
    address: str,
    gateway: str | None,
    source: str,
    table: int,
    state: str = "up",
    reason: str = "",
    since: float | None = None,
) -> dict[str, Any]:
    return {
        "name": device,
        "device": device,
        "family": 4,
        "address": address,
        "prefix_length": 24,
        "gateway": gateway,
        "gateway_source": source,
        "gateway_since": since,
        "table": table,
        "weight": 1,
        "state": state,
        "reason": reason,
        "in_ecmp": True,
        "rx_bytes": 1,
        "tx_bytes": 2,
        "rx_bps": 1_500_000,
        "tx_bps": 850,
    }


def link(label: str, **rest: Any) -> dict[str, Any]:
    return {
        "label": label,
        "address": "10.0.0.10",
        "device": label,
        "state": "up",
        "reason": "",
        "window": 20500,
        "in_flight": 12,
        "rtt_ms": 48,
        "packets": 1,
        "bytes": 1,
        "lost": 3,
        "loss_pct": 0.3,
        "bitrate_bps": 2_134_567,
        **rest,
    }


SNAPSHOT: dict[str, Any] = {
    "version": 1,
    "agent": {
        "running": True,
        "version": "0.1.0",
        "pid": 70123,
        "uptime_s": 3720.0,
        "config": "/etc/netbond/netbond.toml",
        "changes": 31,
        "problems": ["usb7: no such interface now"],
    },
    "uplinks": [
        uplink("usb0", "192.168.100.100", "192.168.100.1", "dhclient", 100),
        uplink("usb1", "192.168.100.100", "192.168.100.1", "main default (gone)", 101),
        uplink(
            "usb2", "10.0.0.10", "10.0.0.1", "configuration", 102, state="no carrier", reason="no carrier"
        ),
        uplink("wwan0", "10.64.3.9", None, "main default", 130, state="down", reason="interface is down"),
    ],
    "ecmp": {
        "table": 222,
        "legs": [
            {"family": 4, "device": "usb0", "gateway": "192.168.100.1", "weight": 2},
            {"family": 4, "device": "usb1", "gateway": None, "weight": 1},
        ],
    },
    "engines": [
        {
            "name": "sender 127.0.0.1:6000",
            "role": "sender",
            "state": "running",
            "pid": 70130,
            "restarts": 2,
            "reason": "",
            "last_exit": "killed by SIGKILL",
            "stats": {
                "state": "connected",
                "receiver": "bond.example.org:5000",
                "receiver_address": "192.0.2.7:5000",
                "caller": "127.0.0.1:43210",
                "links": [
                    link("usb0"),
                    link("usb1", state="down", reason="silent for 5 s", rtt_ms=None, bitrate_bps=0),
                    link(
                        "wwan0", state="error", reason="stalled: [bold]packets[/] without any \x1b[2Janswer"
                    ),
                ],
            },
        },
        {
            "name": "receiver 0.0.0.0:5000",
            "role": "receiver",
            "state": "running",
            "pid": 70131,
            "restarts": 0,
            "reason": "",
            "last_exit": "",
            "stats": {
                "groups": [
                    {
                        "number": 1,
                        "id": "0a1b2c3d",
                        "links": [
                            {
                                "peer": "192.0.2.1:40000",
                                "packets": 12345,
                                "bitrate_bps": 2_100_000,
                                "idle_s": 0.02,
                            }
                        ],
                    }
                ],
                "refused": {"table_full": 0, "unknown_peer": 12, "quota": 1},
            },
        },
        {
            "name": "sender 127.0.0.1:6001",
            "role": "sender",
            "state": "failed",
            "pid": None,
            "restarts": 4,
            "reason": "port 6001 is taken",
            "last_exit": "port 6001 is taken",
            "stats": None,
        },
    ],
}

VIEW = r"""
netbond 0.1.0  pid 70123, up 1 h 2 min, 31 changes, /etc/netbond/netbond.toml
! usb7: no such interface now

Uplinks (rx and tx in bit/s)
  device address         gateway       from     table    rx  tx state
  usb0   192.168.100.100 192.168.100.1 dhclient   100 1.50M 850 up
  usb1   192.168.100.100 192.168.100.1 main*      101 1.50M 850 up
  usb2   10.0.0.10       10.0.0.1      config     102 1.50M 850 no carrier
  wwan0  10.64.3.9       -             main       130 1.50M 850 down
  wwan0: interface is down
  main*: as last seen in the main table; the route there is gone

Default for unbound traffic (table 222)
  device  gateway        weight  share
  usb0    192.168.100.1       2   67 %
  usb1    -                   1   33 %

sender 127.0.0.1:6000  running, pid 70130, 2 restarts (last: killed by SIGKILL)
  connected: bond.example.org:5000 (192.0.2.7:5000), caller 127.0.0.1:43210
  link   window  in flight    RTT   loss  bit/s  share  state
  usb0     20.5         12  48 ms  0.3 %  2.13M   50 %  up
  usb1     20.5         12      -  0.3 %      0    0 %  down: silent for 5 s
  wwan0    20.5         12  48 ms  0.3 %  2.13M   50 %  error: stalled:
                                                        [bold]packets[/] without
                                                        any \x1b[2Janswer

receiver 0.0.0.0:5000  running, pid 70131
  group     peer             packets   idle  bit/s
  0a1b2c3d  192.0.2.1:40000    12345  0.0 s  2.10M
  refused: unknown_peer 12, quota 1

sender 127.0.0.1:6001  failed: port 6001 is taken, 4 restarts
"""


def shown(snapshot: dict[str, Any], width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, emoji=False, highlight=False).print(render(snapshot))
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


# --- the view ----------------------------------------------------------------------------------------------


def test_the_view_at_80_columns() -> None:
    assert shown(SNAPSHOT) == VIEW.lstrip("\n")


def test_a_box_with_nothing() -> None:
    agent = {**SNAPSHOT["agent"], "problems": [], "config": None, "uptime_s": 3.2, "changes": 0}
    nothing = {"agent": agent, "uplinks": [], "ecmp": {"table": 222, "legs": []}, "engines": []}
    assert shown(nothing) == (
        "netbond 0.1.0  pid 70123, up 3 s, 0 changes, no configuration file\n"
        "\n"
        "No uplinks: no interface has an address and a known gateway.\n"
        "\n"
        "Default for unbound traffic (table 222): none of netbond's, no uplink is usable\n"
    )


def test_long_names_keep_every_line_within_80_columns() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    for row in snapshot["uplinks"]:
        row.update(name="enx001122334455", address="192.168.100.100", gateway="192.168.100.1")
    text = shown(snapshot)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("enx001122334455 192.168.100.100 192.168.100.1") == 4


def test_engines_before_they_have_links_and_after_they_failed() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    sender, receiver, _ = snapshot["engines"]
    sender.update(state="starting", reason="not ready after 12 s", last_exit="", restarts=0)
    sender["stats"] = {"state": "resolving", "receiver": "bond.example.org:5000", "links": []}
    receiver.update(stats={"groups": []})
    text = shown(snapshot)
    assert "sender 127.0.0.1:6000  starting: not ready after 12 s, pid 70130\n" in text
    assert "\n  resolving: bond.example.org:5000, caller not yet heard\n" in text
    assert "receiver 0.0.0.0:5000  running, pid 70131\n  no sender connected\n" in text


@pytest.mark.parametrize("strange", [None, "x", [], {}, -1, 10**400, float("1e300"), True, [1], {"a": 1}])
def test_nothing_that_an_engine_says_breaks_the_view(strange: object) -> None:
    def spoiled(value: object) -> object:
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return strange

    snapshot = copy.deepcopy(SNAPSHOT)
    for engine in snapshot["engines"]:
        engine["stats"] = spoiled(engine["stats"])
    assert "sender 127.0.0.1:6000  running" in shown(snapshot)
    for engine in snapshot["engines"]:
        engine["stats"] = {"links": strange, "groups": [{"links": strange}, strange]}
    assert "sender 127.0.0.1:6000  running" in shown(snapshot)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.00k"),
        (1000, "1.00k"),
        (9_994, "9.99k"),
        (9_996, "10.0k"),
        (99_960, "100k"),
        (999_400, "999k"),
        (999_600, "1.00M"),
        (12_345_678, "12.3M"),
        (2_500_000_000, "2.50G"),
        (12_345_000_000_000, "12345G"),
        (None, None),
        ("7", None),
        (True, None),
    ],
)
def test_amounts_have_three_digits(number: object, says: str | None) -> None:
    assert amount(number) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3660, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        ("x", "-"),
    ],
)
def test_durations(seconds: object, says: str) -> None:
    assert duration(seconds) == says


# --- the command -------------------------------------------------------------------------------------------


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
    assert "usb0   192.168.100.100 192.168.100.1 dhclient" in table.out
    assert "\x1b" not in table.out, "no colours where nobody sees them"
    assert "error: stalled: [bold]packets[/] without any \\x1b[2Janswer" in table.out, (
        "a line is a line in a pipe"
    )
    assert json.loads(plain.out) == SNAPSHOT
    assert (table.err, plain.err) == ("", "")


def test_the_socket_is_that_of_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netbond.toml"
    file.write_text(f'[agent]\ncontrol_socket = "{tmp_path}/s"\n')
    monkeypatch.setenv("NETBOND_CONFIG", str(file))
    with an_agent(tmp_path / "s", {"status": SNAPSHOT}):
        assert main(["status"]) == 0
        assert main(["status", "--config", str(file)]) == 0
        file.write_text("[agnet]")
        assert main(["status"]) == 78
        assert "unknown table 'agnet'" in capsys.readouterr().err
        assert main(["status", "--socket", f"{tmp_path}/s"]) == 0, "a broken file is no reason to see nothing"


HELD = {
    "rules": ["priority 40 from all oif usb0 lookup 100 protocol 78"],
    "routes": ["default dev usb0 table 100"],
}


def test_no_agent_says_so_in_one_line_and_still_shows_the_kernel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the real kernel holds is for tests/netns/test_status.py.
    monkeypatch.setattr(status, "read_kernel", lambda protocol: HELD)
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
    assert json.loads(plain.out) == {"version": 1, "agent": {"running": False, "error": line}, "kernel": HELD}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"ok": False, "error": "no\x1b[2J"}, "the agent refuses: no\\x1b[2J"),
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
    monkeypatch.setattr(status, "read_kernel", lambda protocol: HELD)
    with an_agent(tmp_path / "s", answer):
        assert main(["status", "--socket", str(tmp_path / "s")]) == 69
    assert capsys.readouterr().err == f"netbond status: {says}\n"


def test_an_agent_that_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "read_kernel", lambda protocol: HELD)
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
        "--socket", str(tmp_path / "s"), PYTHONIOENCODING="latin-1", PYTHONUNBUFFERED=""
    )
    with an_agent(tmp_path / "s", {"status": snapshot}):
        process = subprocess.Popen(
            arguments, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(2)]
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(10) == 1
    assert first[1].startswith("! \\u30e2\\u30c7\\u30e0")


def test_watch_draws_again_until_ctrl_c(tmp_path: Path) -> None:
    answer = {"status": copy.deepcopy(SNAPSHOT)}
    arguments, environ = command(
        "--watch", "--socket", str(tmp_path / "s"), TERM="xterm", COLUMNS="80", LINES="50"
    )
    leader, follower = pty.openpty()
    seen = bytearray()

    def until(what: bytes) -> None:
        deadline = time.monotonic() + 15
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
            assert process.wait(10) == 0
            until(b"\x1b[?1049l")  # the screen is as it was before
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
        assert process.wait(10) == 0
        process.stdout.close()
    assert lines == [SNAPSHOT, SNAPSHOT]


def test_the_page_lists_just_these_keys() -> None:
    page = (Path(__file__).parents[2] / "docs" / "status.md").read_text()
    for section, example in {
        "agent": SNAPSHOT["agent"],
        "uplinks": SNAPSHOT["uplinks"][0],
        "ecmp": {**SNAPSHOT["ecmp"], **SNAPSHOT["ecmp"]["legs"][0]},
        "engines": SNAPSHOT["engines"][0],
    }.items():
        found = re.search(rf"^### `{section}`\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
        assert found, section
        assert set(re.findall(r"^\| `(\w+)` \|", found[1], re.MULTILINE)) == set(example)
