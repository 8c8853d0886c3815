"""For the unit tests: a system bus of a test's own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.buses import PrivateBus


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    """A running system bus, which netbond takes for the machine's."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed")
    with PrivateBus(anybody=True) as running:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", running.address)
        yield running
