"""What the agent makes of an engine: how it starts it, what it believes of it, when it tries again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import netbond
from netbond.config.schema import ReceiverConfig, SenderConfig
from netbond.config.values import HostPort
from netbond.engines.child import (
    MOST_GROUPS,
    MOST_LINKS,
    MOST_PROBLEMS,
    MOST_WORKERS,
    Backoff,
    LogLines,
    RateLimit,
    describe_exit,
    engine_arguments,
    interpreter,
    of_channel,
    read_statistics,
    restart_helps,
)
from netbond.srtla.statistics import (
    GroupStatistics,
    PeerStatistics,
    ReceiverStatistics,
    SenderStatistics,
    WorkerStatistics,
)
from netbond.system.typed_json import to_json
from tests.unit.health.test_stream_evidence import LINK, stats

# --- how it is started -------------------------------------------------------------------------------------


def test_arguments() -> None:
    sender = SenderConfig(listen=HostPort("127.0.0.1", 6000), receiver=HostPort("bond.example.org", 5000))
    receiver = ReceiverConfig(listen=HostPort("::", 5000), srt=HostPort("127.0.0.1", 5002))
    assert engine_arguments(sender) == [
        "send",
        "--listen",
        "127.0.0.1:6000",
        "--receiver",
        "bond.example.org:5000",
    ]
    assert engine_arguments(receiver) == ["recv", "--listen", "[::]:5000", "--srt", "127.0.0.1:5002"]
    several = SenderConfig(HostPort("::", 6000), (HostPort("a.example", 1), HostPort("b.example", 2)))
    both = ["--receiver", "a.example:1", "--receiver", "b.example:2"]
    assert engine_arguments(several) == ["send", "--listen", "[::]:6000", *both]


def test_arguments_of_every_key() -> None:
    where = HostPort("127.0.0.1", 6000)
    key = {"key_file": Path("/etc/netbond/key"), "require_key": True}
    sender = SenderConfig(
        *(where, where),
        mode="classic",
        latency=300,
        probe_metered=True,
        **key,  # type: ignore[arg-type]  # by key
    )
    receiver = ReceiverConfig(
        *(where, where),
        timeout=5.5,
        group_timeout=60.0,
        groups=300,
        groups_per_source=50,
        group_dir=Path("/run/g"),
        workers=3,
        **key,  # type: ignore[arg-type]
    )
    assert engine_arguments(sender) == [
        *["send", "--listen", "127.0.0.1:6000", "--receiver", "127.0.0.1:6000"],
        *["--mode", "classic", "--latency", "300", "--key-file", "/etc/netbond/key", "--require-key"],
        "--probe-metered",
    ]
    assert engine_arguments(receiver) == [
        *["recv", "--listen", "127.0.0.1:6000", "--srt", "127.0.0.1:6000"],
        *["--timeout", "5.5", "--group-timeout", "60", "--groups", "300", "--groups-per-source", "50"],
        *["--group-dir", "/run/g", "--workers", "3"],
        *["--key-file", "/etc/netbond/key", "--require-key"],
    ]


PACKAGE = Path("/opt/netbond/lib/netbond")


@pytest.mark.parametrize(
    ("path", "environ", "isolated"),
    [
        (["/opt/netbond/bin", "/usr/lib/python3.11", "/opt/netbond/lib"], {}, True),
        # Found because it was started from the checkout, and nowhere else.
        (["/opt/netbond/lib", "/usr/lib/python3.11"], {}, False),
        (["", "/usr/lib/python3.11"], {}, False),
        # Both: the child finds it without help.
        (["/opt/netbond/lib", "/usr/lib/python3.11", "/opt/netbond/lib"], {}, True),
        (["/bin", "/opt/netbond/lib", "/usr/lib/python3.11"], {"PYTHONPATH": "/opt/netbond/lib"}, False),
        (["/bin", "/x", "/opt/netbond/lib"], {"PYTHONPATH": "/x:/opt/netbond/lib:/y"}, False),
    ],
)
def test_python_is_isolated_when_netbond_is_installed(
    path: list[str], environ: dict[str, str], isolated: bool
) -> None:
    command, environment = interpreter(PACKAGE, path, {"LD_PRELOAD": "/x.so", "HOME": "/root", **environ})
    assert command == [sys.executable, "-I" if isolated else "-Ps", "-m", "netbond"]
    given = {} if isolated else {"PYTHONPATH": "/opt/netbond/lib"}
    assert environment == {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **given}


def test_the_child_imports_this_very_netbond(tmp_path: Path) -> None:
    (tmp_path / "netbond.py").write_text("raise SystemExit('the working directory was imported')")
    package = Path(netbond.__file__).parent
    command, environment = interpreter(package, sys.path, os.environ)
    code = "import netbond, sys; print(netbond.__file__)"
    result = subprocess.run(
        [*command[:2], "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(result.stdout.strip()).parent == package


# --- when it is started again ------------------------------------------------------------------------------


def test_pauses_double_up_to_ten_seconds() -> None:
    backoff = Backoff()
    pauses = [backoff.died(0.0, ready=False, restart_helps=True) for _ in range(9)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0])


def test_half_a_minute_of_good_life_begins_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.died(0.0, ready=False, restart_helps=True)
    assert backoff.died(29.9, ready=True, restart_helps=True) == pytest.approx(3.2)
    assert backoff.died(3600, ready=False, restart_helps=True) == pytest.approx(6.4), "it never was ready"
    assert backoff.died(30.0, ready=True, restart_helps=True) == pytest.approx(0.1)
    assert backoff.died(1.0, ready=True, restart_helps=True) == pytest.approx(0.2)


def test_what_a_restart_does_not_mend_is_tried_every_ten_seconds() -> None:
    backoff = Backoff()
    assert backoff.died(0.1, ready=False, restart_helps=False) == 10.0
    assert backoff.died(0.1, ready=False, restart_helps=True) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("status", "line", "says", "helps"),
    [
        (0, "", "ended with status 0", True),
        (1, "out of memory", "ended with status 1: out of memory", True),
        (64, "netbond send: no such option", "ended with status 64: netbond send: no such option", False),
        (78, "", "ended with status 78", False),
        (-9, "the last line tells nothing of this", "killed by SIGKILL", True),
        (-11, "", "killed by SIGSEGV", True),
        (-63, "", "killed by signal 63", True),
    ],
)
def test_exits_in_words(status: int, line: str, says: str, helps: bool) -> None:
    assert describe_exit(status, line) == says
    assert restart_helps(status) is helps


# --- how much it may say -----------------------------------------------------------------------------------


def test_a_flood_is_too_many_lines_or_bytes_in_a_second() -> None:
    limit = RateLimit(lines=3, octets=100)
    assert [limit.take(10, 5.0 + n / 10) for n in range(4)] == [True, True, True, False]
    assert limit.take(100, 6.0)
    assert not limit.take(1, 6.9)
    assert limit.take(1, 7.1)


@pytest.mark.parametrize(
    ("lines_a_second", "octets", "fits"),
    [(20, 80_000, True), (90, 1000, True), (110, 100, False), (2, 1 << 20, False), (10, 200_000, False)],
)
def test_what_an_engine_may_say_to_the_agent(lines_a_second: int, octets: int, fits: bool) -> None:
    """For half a minute. 2 MiB a second is a flood; a receiver with 200 streams says less than 1.5."""
    limit = of_channel()
    assert all(limit.take(octets, n / lines_a_second) for n in range(30 * lines_a_second)) is fits


def test_statistics_are_cut_at_what_an_engine_can_have() -> None:
    sender = replace(stats(), links=(LINK,) * 500, problems=("x",) * 500)
    found = read_statistics("sender", to_json(sender))
    assert isinstance(found, SenderStatistics)
    assert (len(found.links), len(found.problems)) == (MOST_LINKS, MOST_PROBLEMS)
    peer = PeerStatistics("192.0.2.1:5", 1, 1, 1, 0.0)
    group = GroupStatistics("0a", False, 1, 1, 1, 1, (peer,) * 70, 5)
    worker = WorkerStatistics(1, 1, 1)
    receiver = ReceiverStatistics("receiver", "x", "x", (group,) * 260, 0, workers=(worker,) * 300)
    other = read_statistics("receiver", to_json(receiver))
    assert isinstance(other, ReceiverStatistics)
    assert (len(other.groups), len(other.groups[0].links)) == (MOST_GROUPS, MOST_LINKS)
    assert len(other.workers) == MOST_WORKERS


# --- its log -----------------------------------------------------------------------------------------------


def test_log_lines_are_put_together_and_cut() -> None:
    log = LogLines(width=10)
    assert log.feed(b"one\ntw", 0.0) == ["one"]
    assert log.feed(b"o\n\n  \n", 0.0) == ["two"]
    assert log.feed(b"x" * 9 + b"\xc3", 0.0) == []
    assert log.feed(b"\xa4\n", 0.0) == ["xxxxxxxxxä"]
    assert log.feed(b"y" * 100_000, 0.0) == []
    assert len(log._rest) < 100, "what cannot be shown is not kept"
    assert log.feed(b"y" * 100_000 + b"\nlast", 0.0) == ["yyyyyyyyy…"]
    assert log.feed(b"", 0.0) == ["last"]
    assert log.feed(b"", 0.0) == []


def test_log_lines_cannot_steer_a_terminal() -> None:
    log = LogLines()
    assert log.feed(b"\x1b[2Jgone\r\x07 \xe2\x80\xae\xff\n", 0.0) == ["\\x1b[2Jgone\\r\\x07 \\u202e�"]


def test_a_chatty_child_is_cut_short() -> None:
    log = LogLines(limit=RateLimit(lines=2))
    assert log.feed(b"1\n2\n3\n4\n5\n", 0.0) == ["1", "2"]
    assert log.feed(b"6\n", 1.5) == ["(3 lines left out)", "6"]


def test_a_child_that_fills_the_log() -> None:
    """50 lines of 500 characters a second passed, 2 GB a day."""
    log = LogLines()
    passed = sum(len("".join(log.feed(b"x" * 499 + b"\n", n / 50))) for n in range(50 * 600))
    assert passed * 6 * 24 < 220e6
