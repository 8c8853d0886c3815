"""Names for the tables of the goal, in a folder of the test's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.desired import Desired, desired
from netbond.model import Facts
from netbond.outputs import table_names
from netbond.outputs.table_names import TableNames
from tests.unit.boxes import box
from tests.unit.places import agent_in

FACTS = box("usb0", "usb1")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "iproute2").mkdir()
    return Config(agent=agent_in(tmp_path, iproute2_dir=tmp_path / "iproute2"))


def names(folder: Path, kind: str = "rt_tables") -> list[str]:
    """The lines of our file, without comments."""
    text = (folder / f"{kind}.d/netbond.conf").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


async def test_each_table_of_an_uplink_has_its_name(config: Config, tmp_path: Path) -> None:
    output = TableNames(config)
    goal = desired(FACTS, config)
    assert await output.apply(FACTS, goal, config) == ()
    tables = [f"{uplink.table}\t{uplink.name}" for uplink in goal.uplinks]
    assert len(tables) == 2
    assert names(tmp_path / "iproute2") == [*tables, "222\tnetbond"]
    assert names(tmp_path / "iproute2", "rt_protos") == ["78\tnetbond"]
    await output.apply(Facts(), Desired(), config)
    assert names(tmp_path / "iproute2") == ["222\tnetbond"]
    assert await output.leave() == ()
    assert list((tmp_path / "iproute2").rglob("*.conf")) == []


async def test_policies_have_names_too(config: Config, tmp_path: Path) -> None:
    policy = parse('[[policy]]\nname = "bank"\nuplinks = ["usb0"]').policy
    config = replace(config, policy=policy)
    await TableNames(config).apply(FACTS, desired(FACTS, config), config)
    assert names(tmp_path / "iproute2")[-1] == "7801\tpolicy-bank"


async def test_the_files_are_looked_at_now_and_then(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in each pass: nothing depends on them."""
    output, goal = TableNames(config), desired(FACTS, config)
    await output.apply(FACTS, goal, config)
    file = tmp_path / "iproute2/rt_tables.d/netbond.conf"
    file.unlink()
    await output.apply(FACTS, goal, config)
    assert not file.exists()
    monkeypatch.setattr(table_names, "REWRITE_S", 0.0)
    await output.apply(FACTS, goal, config)
    assert file.exists()


async def test_a_reload_takes_them_to_another_folder(config: Config, tmp_path: Path) -> None:
    output, goal = TableNames(config), desired(FACTS, config)
    await output.apply(FACTS, goal, config)
    (tmp_path / "other").mkdir()
    await output.apply(FACTS, goal, Config(agent=agent_in(tmp_path, iproute2_dir=tmp_path / "other")))
    assert list((tmp_path / "iproute2").rglob("*.conf")) == []
    assert len(names(tmp_path / "other")) == 3
    await output.apply(FACTS, goal, Config(agent=agent_in(tmp_path)))
    assert list((tmp_path / "other").rglob("*.conf")) == []


async def test_a_file_of_somebody_else_is_a_problem_and_stays(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "iproute2/rt_tables.d/netbond.conf"
    file.parent.mkdir()
    file.write_text("100 mine\n")
    output, goal = TableNames(config), desired(FACTS, config)
    for _ in range(2):  # also in a pass in which the files are not looked at
        (problem,) = await output.apply(FACTS, goal, config)
        assert problem.startswith(f"{file}: ")
    assert await output.leave() == ()
    assert file.read_text() == "100 mine\n"
