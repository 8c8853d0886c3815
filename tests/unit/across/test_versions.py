"""What docs/versions.md promises: no name that users of a version rely on goes without a word.

names_0_1.json has the names of 0.1.0 (commit 7364346): its configuration's keys, the keys of a recorded
`netbond status --json`, its metrics with their labels, its commands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import netbond
from netbond.cli import COMMANDS
from netbond.config.schema import REPEATED, SINGLE

ROOT = Path(__file__).parents[3]
EARLIER: dict[str, Any] = json.loads((Path(__file__).parent / "names_0_1.json").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
SINCE = CHANGELOG.partition("\n## 0.1.0")[0]
RECORDED = json.loads((ROOT / "tests" / "recordings" / "box.json").read_text())


def paths(value: object, where: str = "") -> Iterator[str]:
    """The keys of a JSON document: "uplinks[].device"."""
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{where}.{key}" if where else key
            yield path
            yield from paths(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{where}[]")


def metrics() -> set[str]:
    """The names in docs/metrics.md, which is made from the code, each also with its labels: "name label"."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    found = set()
    for name, labels in re.findall(r"^\| `(netbond_[a-z_]+)` \| \w+ \| ([^|]*)\|", text, re.MULTILINE):
        found |= {name, *(f"{name} {label.strip(' `')}" for label in labels.split(","))}
    return found


NOW = {
    "configuration": {f"{n}.{f.name}" for n, table in {**SINGLE, **REPEATED}.items() for f in fields(table)},
    "status --json": set(paths(RECORDED["status --json"])),
    "metrics": metrics(),
    "commands": set(COMMANDS),
}


@pytest.mark.parametrize("kind", EARLIER)
def test_a_name_that_is_gone_is_in_the_changelog(kind: str) -> None:
    names = EARLIER[kind]
    earlier = (
        [*names, *(f"{name} {label}" for name in names for label in names[name])]
        if kind == "metrics"
        else names
    )
    gone = [name for name in earlier if name not in NOW[kind]]
    assert [name for name in gone if f"`{name}`" not in SINCE] == []


def test_the_version_is_one_in_all_places() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{netbond.__version__}"\n' in project
    newest = re.search(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d{2}-\d{2})\)$", CHANGELOG, re.MULTILINE)
    assert newest is not None, "a version in CHANGELOG.md has a date"
    assert newest[1] == netbond.__version__
