"""`netbond page` by hand: its options, what it refuses, and that it serves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from netbond.cli import page as command
from netbond.cli.parser import Parser
from netbond.config.schema import PageConfig
from netbond.config.values import HostPort
from netbond.errors import UsageError


def config(*words: str) -> PageConfig:
    parser = Parser(prog="netbond page")
    command.configure(parser)
    return command.page_config(parser.parse_args(list(words)))


def test_options_are_the_keys() -> None:
    assert config() == PageConfig(enabled=True)
    words = ["--listen", "[::]:443", "--hosts", "a.lan", "--hosts", "b.lan", "--token-file", "t"]
    assert config(*words, "--certificate", "c", "--user", "web") == PageConfig(
        enabled=True,
        listen=HostPort("::", 443),
        hosts=("a.lan", "b.lan"),
        token_file=Path("t"),
        certificate=Path("c"),
        user="web",
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--listen", "box:1"], "--listen 'box:1' is not valid; expected an address"),
        (["--hosts", "127.0.0.1"], "--hosts .* is not valid"),
        (["--control"], "control = true without token_file"),
        (["--listen", "0.0.0.0:1"], "is open to others, without token_file and certificate"),
    ],
)
def test_what_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        config(*words)


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    for text in ("", "no certificate"):
        (tmp_path / "c.pem").write_text(text)
        with pytest.raises(UsageError, match=r"--certificate .*name a certificate and its key"):
            command.tls_of(PageConfig(certificate=tmp_path / "c.pem"))
    with pytest.raises(UsageError, match="No such file"):
        command.tls_of(PageConfig(certificate=tmp_path / "none.pem"))
    assert command.tls_of(PageConfig()) is None


def test_it_serves_without_an_agent_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = ["page", "--listen", f"127.0.0.1:{port}", "--socket", str(tmp_path / "c.sock")]
    process = subprocess.Popen(
        [sys.executable, "-m", "netbond", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"http://127.0.0.1:{port}/\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as reply:
            assert reply.status == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=20) as reply:
            said = b""
            end = time.monotonic() + 30
            while b"the agent is not running" not in said:
                assert time.monotonic() < end
                said += reply.readline()
        # It can neither run programs nor end others.
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
    finally:
        os.kill(process.pid, signal.SIGTERM)
        _, complaints = process.communicate(timeout=40)
    assert (process.returncode, complaints) == (0, "")
