"""What the lab cannot do without: each missing thing is named with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netbond.errors import NotPermittedError, UnavailableError
from netbond.lab import needs
from netbond.lab.needs import PROGRAMS, need_programs, need_root


def test_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotPermittedError, match="run it with sudo"):
        need_root()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    need_root()


def test_a_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="needs the program no-such; install it: apt install p"):
        need_programs({"no-such": "p"})
    (tmp_path / "no-such").touch(mode=0o755)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    need_programs({"no-such": "p"})


def test_the_tun_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(UnavailableError, match="modprobe tun"):
        need_programs({"sh": "dash"})


def test_the_lab_says_what_it_uses() -> None:
    assert PROGRAMS == {"ip": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base"}


def test_without_dhclient_busybox_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "has_program", {*PROGRAMS}.__contains__)
    with pytest.raises(UnavailableError, match="needs the program busybox; install it: apt install busybox"):
        need_programs()
    monkeypatch.setattr(needs, "has_program", {*PROGRAMS, "dhclient"}.__contains__)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    need_programs()


def test_without_root_the_command_says_so_in_a_line() -> None:
    code = """
import os, sys
import netbond.cli, netbond.cli.lab, netbond.lab.lab
if os.geteuid() == 0:
    os.setuid(65534)  # after the imports: the checkout may be closed to others
sys.exit(netbond.cli.main(["lab", "up"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 77
    assert "needs root" in result.stderr
    assert result.stderr.count("\n") == 1
