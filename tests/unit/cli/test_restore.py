"""`netbond run --restore`: what a killed agent left changed is put back, and the rest is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from netbond.cli import restore
from netbond.cli.restore import Restored
from netbond.config.schema import AgentConfig, Config
from netbond.errors import UnavailableError
from netbond.kernel.taken_defaults import DefaultStore
from netbond.model import Facts, Interface
from netbond.plan import Operation
from netbond.refusals import Refusal
from netbond.router import nft
from netbond.status.control import ControlServer
from tests.unit.boxes import box, main_default

TAKEN = main_default("usb0", "10.0.0.1", metric=5)
ADD = "ip route add default via 10.0.0.1 dev usb0 table main proto 16 metric 5"


class FakeKernel:
    """A box with usb0, which takes every route, or refuses all."""

    refusing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> Facts:
        return box("usb0")

    async def apply(self, operations: list[Operation], _links: tuple[Interface, ...]) -> list[Refusal]:
        return [Refusal(each, 101) for each in operations] if self.refusing else []


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(restore, "Kernel", FakeKernel)
    return Config(agent=replace(AgentConfig(), state_dir=tmp_path, control_socket=tmp_path / "c.sock"))


async def test_nothing_was_changed(config: Config) -> None:
    assert await restore.restore(config) == Restored((), ())


async def test_defaults_are_given_back(config: Config) -> None:
    store = DefaultStore(config.agent.state_dir)
    store.save((TAKEN,))
    assert await restore.restore(config) == Restored((ADD,), ())
    assert not store.path.exists()


async def test_what_the_kernel_refuses_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeKernel, "refusing", True)
    DefaultStore(config.agent.state_dir).save((TAKEN,))
    found = await restore.restore(config)
    assert found.commands == ()
    assert [problem.startswith(f"{ADD}: ") for problem in found.problems] == [True]


async def test_a_record_that_makes_no_sense_is_told(config: Config) -> None:
    path = DefaultStore(config.agent.state_dir).path
    path.write_text("[5]")
    found = await restore.restore(config)
    assert found.commands == ()
    assert [problem.startswith(f"{path}: ") for problem in found.problems] == [True]


@pytest.mark.parametrize("fails", [False, True])
async def test_the_table_of_router_mode(config: Config, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    async def remove(_: nft.Router) -> None:
        if fails:
            raise UnavailableError("nft is not installed")

    monkeypatch.setattr(nft.Router, "remove", remove)
    (config.agent.state_dir / nft.STORE).write_text("{}")
    expected = (
        Restored((), ("nft is not installed",)) if fails else Restored(("nft delete table inet netbond",), ())
    )
    assert await restore.restore(config) == expected


async def test_not_beside_a_running_agent(config: Config) -> None:
    """It would change all of it again."""
    DefaultStore(config.agent.state_dir).save((TAKEN,))
    agent = ControlServer(config.agent.control_socket, {})
    await agent.start()
    try:
        with pytest.raises(UnavailableError):
            await restore.restore(config)
    finally:
        await agent.stop()
    assert DefaultStore(config.agent.state_dir).load() == (TAKEN,)
