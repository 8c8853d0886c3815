"""A stream through a lab: the user's templates as commands, and what is said when a program is missing."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from netbond.errors import UnavailableError, UsageError
from netbond.lab import netns, stream
from netbond.lab.lab import Lab
from netbond.lab.netns import Process
from netbond.lab.stream import Stream, command_line

VALUES: dict[str, object] = {"lport": 6010, "rhost": "bond.lab", "ips": "/run/a b/ips"}


def test_a_template_is_filled_in_after_it_is_split() -> None:
    assert command_line("srtla_send {lport} '{rhost}' {ips} -v", "--sender", VALUES) == [
        "srtla_send", "6010", "bond.lab", "/run/a b/ips", "-v",
    ]  # fmt: skip


@pytest.mark.parametrize("template", ["x {port}", "x {0}", "x '", "x {lport", "x {lport.real.no}"])
def test_a_template_that_cannot_be_filled_in_names_what_it_may_have(template: str) -> None:
    with pytest.raises(UsageError, match=r"--sender .*; it may have \{lport\} \{rhost\} \{ips\}"):
        command_line(template, "--sender", VALUES)


class FakeLab:
    """A lab with these programs."""

    logs = Path("/run/logs")

    def __init__(self, **processes: Process) -> None:
        self._processes = processes

    def process(self, key: str) -> Process | None:
        return self._processes.get(key)

    def last_words(self, key: str) -> str:
        return f"last words of {key}"


def waiting(lab: FakeLab, key: str) -> None:
    of = Stream.__new__(Stream)
    of.lab = cast("Lab", lab)
    of._wait_for_port("box", 6000, key, "the SRTLA sender")


@pytest.mark.parametrize(
    ("key", "option"), [("agent", "with --agent"), ("receiver", "without --no-receiver")]
)
def test_what_the_lab_does_not_run_is_named_with_the_option(key: str, option: str) -> None:
    with pytest.raises(UnavailableError, match=f"the lab has no {key}; start the lab {option}"):
        waiting(FakeLab(), key)


def test_a_program_that_ends_before_its_port_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "udp_ports", lambda _: {5000})
    gone = Process(2**22 + 1, 1)
    with pytest.raises(UnavailableError, match="does not open port 6000: last words of agent"):
        waiting(FakeLab(agent=gone), "agent")
    monkeypatch.setattr(netns, "udp_ports", lambda _: {6000})
    waiting(FakeLab(agent=gone), "agent")
    assert stream.PORT_TIMEOUT_S > 0
