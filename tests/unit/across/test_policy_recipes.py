"""Each configuration in docs/policies.md is valid, and does something on a box with such uplinks."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.desired import desired
from tests.unit.boxes import box, link

PAGE = Path(__file__).parents[3] / "docs" / "policies.md"
RECIPES = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
TIERS = re.findall(r"^\| `(\[.*\])` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

LINES = box("dsl", "cable", "fibre", "lte")
FACTS = replace(
    LINES,
    interfaces=(*LINES.interfaces, link("br-guest")),
    users=(("backup", 34),),
    resolved=tuple(
        (f"{name}.example", (ipaddress.ip_address("192.0.2.1"),)) for name in ("bank", "chat", "vpn")
    ),
)


@pytest.mark.parametrize("text", RECIPES)
def test_recipes(text: str) -> None:
    (policy,) = desired(FACTS, parse(text)).policies
    (way,) = (way for way in policy.ways if way.family == 4)
    assert (way.best, way.tier) == (1, 1)


def test_there_are_as_many_as_expected() -> None:
    assert (len(RECIPES), len(TIERS)) == (9, 5)


@pytest.mark.parametrize("tiers", TIERS)
def test_tiers(tiers: str) -> None:
    (policy,) = desired(FACTS, parse(f'[[policy]]\nname = "p"\nuplinks = {tiers}')).policies
    assert policy.ways[0].tier == 1
