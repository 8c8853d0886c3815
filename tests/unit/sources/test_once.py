"""The facts for a command that runs once: the agent's if it tells them, else from the same sources."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from netbond.config.schema import Config
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import LeaseStore
from netbond.errors import NetbondError, NotRunningError, UnavailableError
from netbond.model import FACTS_VERSION, Health, Interface
from netbond.sources import once
from netbond.sources.once import ask_agent, gather
from netbond.status.control import request
from netbond.system.typed_json import to_json
from tests.unit.boxes import box
from tests.unit.places import config_in, content

FACTS = replace(box("usb0"), health=(Health("usb0", 4, "down", "silent"),))  # which only an agent can know
ANSWER = {"ok": True, "version": FACTS_VERSION, "facts": to_json(FACTS)}


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """In a folder whose path leaves room for a socket's name (108 bytes)."""
    return config_in(tmp_path_factory.mktemp("o"))


@contextmanager
def agent(config: Config, answer: object) -> Iterator[list[dict[str, Any]]]:
    """Something that takes the agent's place, and answers so. What it was asked."""
    asked: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(config.agent.control_socket))
        server.listen(1)
        server.settimeout(10)

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                asked.append(json.loads(lines.readline()))
                line = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                connection.sendall(line + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            thread.join(10)


def test_the_facts_of_the_agent(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(config, ANSWER) as asked:
        assert gather(config) == FACTS
    assert asked == [{"command": "facts"}]
    assert capsys.readouterr().err == ""


def test_without_an_agent_they_are_assembled_and_nothing_is_said_or_written(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    state_dir = config.agent.state_dir
    lo = Lease("lo", "dhclient", IPv4Interface("10.9.9.9/24"), (IPv4Address("10.9.9.1"),), 5.0, 1)
    LeaseStore(state_dir / "leases").save(lo._replace(device="was-lo"))
    before = content(state_dir.parent)
    facts = gather(config)
    assert facts.leases == (lo,)  # of the kernel's own loopback, whatever it was called then
    assert Interface("lo", 1) in [Interface(link.name, link.index) for link in facts.interfaces]
    assert content(state_dir.parent) == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ANSWER | {"version": FACTS_VERSION + 1}, "the agent runs another version of netbond; restart it"),
        ({"ok": True}, "the agent runs another version of netbond; restart it"),
        ({"ok": False, "error": "the command 'facts' is for root"}, "the command 'facts' is for root"),
        ({"ok": False, "error": "a\x1b[31m\nb"}, "a\\x1b[31m\\nb"),
        (ANSWER | {"facts": {"interfaces": 5}}, "the agent's facts are invalid: "),
        (ANSWER | {"facts": None}, "the agent's facts are invalid: "),
        (b"[]", "what answers at "),
    ],
    ids=str,
)
def test_an_agent_that_does_not_tell(
    answer: object, says: str, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(config, answer):
        facts = gather(config)
    assert facts.health == ()
    assert any(link.name == "lo" for link in facts.interfaces)
    line = capsys.readouterr().err
    assert line.startswith(f"# what only the agent knows is left out: {says}")
    assert line.count("\n") == 1


def test_what_a_source_cannot_read_is_said(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.agent.state_dir / "leases"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    gather(config)
    assert capsys.readouterr().err == f"# {folder}: users other than root can write there\n"


def test_which_error_it_is(config: Config) -> None:
    with pytest.raises(NotRunningError):
        ask_agent(config)
    with agent(config, b"{"), pytest.raises(UnavailableError):
        ask_agent(config)
    config.agent.control_socket.unlink()
    with agent(config, {"ok": False, "error": "no"}), pytest.raises(NetbondError, match=r"^no$"):
        ask_agent(config)


def test_a_silent_agent_is_not_waited_for(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "request", functools.partial(request, timeout=0.05))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(config.agent.control_socket))
        server.listen(1)
        with pytest.raises(UnavailableError, match="does not answer"):
            ask_agent(config)
