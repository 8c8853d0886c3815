"""Tests in virtual machines, for scripts/vm; none without NETBOND_VM_STATE, the folder of the images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.world import World

collect_ignore_glob = [] if "NETBOND_VM_STATE" in os.environ else ["test_*.py"]


@pytest.fixture(scope="module")
def state() -> Path:
    """The folder with the images."""
    return Path(os.environ["NETBOND_VM_STATE"]).resolve()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """What is beyond the modems."""
    with World() as made:
        yield made
