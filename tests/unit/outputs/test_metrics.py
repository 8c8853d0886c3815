"""The metrics over HTTP for as long as the output runs; a port that is taken is only a problem."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from netbond.config.schema import Config
from netbond.config.values import HostPort
from netbond.desired import Desired
from netbond.model import Facts
from netbond.outputs.metrics import Metrics
from tests.unit.places import agent_in


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def serving(folder: Path, port: int) -> Config:
    return Config(agent=agent_in(folder, metrics=HostPort("127.0.0.1", port)))


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        return str(reply.read().decode())


async def test_they_are_served_from_start_to_stop(tmp_path: Path) -> None:
    port, asked = free_port(), list[None]()
    config = serving(tmp_path, port)

    def latest() -> None:
        asked.append(None)

    output = Metrics(config, latest)
    await output.start(lambda: None, ())
    try:
        assert await output.apply(Facts(), Desired(), config) == ()
        fetch(port)
        assert asked  # for the latest snapshot
    finally:
        await output.stop()
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(port)


async def test_a_port_that_is_taken_is_a_problem_in_each_pass(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])
        config = serving(tmp_path, port)
        output = Metrics(config, lambda: None)
        await output.start(lambda: None, ())
        for _ in range(2):
            (problem,) = await output.apply(Facts(), Desired(), config)
            assert problem.startswith(f"cannot serve metrics at 127.0.0.1:{port}: Address already in use")
        await output.stop()


async def test_without_an_address_nothing_listens(tmp_path: Path) -> None:
    config = Config(agent=agent_in(tmp_path))
    output = Metrics(config, lambda: None)
    before = len(list(Path("/proc/self/fd").iterdir()))
    await output.start(lambda: None, ())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert await output.apply(Facts(), Desired(), config) == ()
    await output.stop()
