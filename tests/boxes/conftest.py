"""Tests in booted systems, for scripts/boxes; none without NETBOND_BOXES, the folder of the systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

collect_ignore_glob = [] if "NETBOND_BOXES" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def state() -> Path:
    """The folder with the systems and wheels."""
    return Path(os.environ["NETBOND_BOXES"]).resolve()
