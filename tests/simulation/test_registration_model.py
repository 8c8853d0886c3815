"""Registration and key under attack, all orders of events up to a depth: a short search in each scenario."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from netbond.srtla import flavour
from tests import registration_model
from tests.registration_model import CLIENT, SCENARIOS, VICTIM, World, comes_back, start

STEPS = 300


def test_short_searches_find_nothing() -> None:
    """In plain Python: the search copies states, and compiled objects cannot be copied. The long search is a
    command: `python -m tests.registration_model`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.registration_model", "--steps", str(STEPS)],
        env=os.environ | {"NETBOND_PURE": "1"}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f" {STEPS} steps") == len(SCENARIOS)


@pytest.fixture
def world() -> World:
    return start(SCENARIOS[0])


def test_the_search_would_see_a_live_link_that_is_put_out(world: World) -> None:
    address = next(iter(CLIENT))
    world.receiver._drop_link(world.receiver._peers[address], "for a test", world.now)
    world.pump()
    (fault,) = world.check()
    assert "a live link is put out" in fault


def test_the_search_would_see_an_answer_that_is_too_large(world: World) -> None:
    world.receiver._reply(VICTIM, bytes(100))
    world.pump()
    (fault,) = world.check()
    assert "amplification" in fault


@pytest.mark.skipif(flavour() == "compiled", reason="compiled objects cannot be copied")
def test_the_search_would_see_a_lock_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "deliver", World.drop)
    monkeypatch.setattr(registration_model, "BACK_WITHIN_S", 3.0)
    world.silence(5)
    assert comes_back(world) == [
        f"the client is locked out: the attacker {what}" for what in ("stops", "goes on")
    ]


def test_the_search_would_see_a_group_without_the_key() -> None:
    world = start(next(each for each in SCENARIOS if each.key == "required"))
    assert world.check() == []
    world.made.clear()
    (fault,) = world.check()
    assert "no owner of the key" in fault
