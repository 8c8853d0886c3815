"""Binding a process to an uplink, as far as it can be tried without namespaces (tests/netns/test_exec.py)."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from netbond.errors import KernelLacksError, NetbondError, NotPermittedError
from netbond.programs import binding


def test_only_root_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotPermittedError, match="use sudo"):
        binding.bind("lo")


def test_no_such_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(NetbondError, match="there is no interface 'nosuch0'"):
        binding.bind("nosuch0")


def test_a_machine_whose_system_calls_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(KernelLacksError, match="does not know the system call bpf of vax"):
        binding.bind("lo")


@pytest.mark.parametrize("number", [1, 13])
def test_a_kernel_that_refuses(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(command: int, attributes: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(binding, "_bpf", refuse)
    with pytest.raises(KernelLacksError, match="CAP_BPF"):
        binding.bind("lo")


def test_without_name_servers_nothing_is_changed() -> None:
    assert binding.look_up_names_at([], "usb0") == "no DNS server for it is configured ([health] resolvers)"


def test_groups_that_have_ended_are_removed(tmp_path: Path) -> None:
    ended, alive, foreign = f"{binding.GROUP}4194304", f"{binding.GROUP}{os.getpid()}", "session-1.scope"
    for name in (ended, alive, foreign, f"{binding.GROUP}x"):
        (tmp_path / name).mkdir()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        binding._remove_ended(descriptor)
    finally:
        os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive, foreign, f"{binding.GROUP}x"])
