"""Failures that the user is told in one line, and the exit statuses that scripts rely on."""

from __future__ import annotations

import pytest

from netbond import errors
from netbond.errors import NetbondError


def test_what_is_wrong_then_what_to_do() -> None:
    assert (
        str(NetbondError("no agent runs", "start it: netbond run")) == "no agent runs; start it: netbond run"
    )
    assert str(NetbondError("no agent runs")) == "no agent runs"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("NetbondError", 1),
        ("NotRunningError", 3),
        ("UsageError", 64),
        ("UnavailableError", 69),
        ("KernelLacksError", 71),
        ("NotPermittedError", 77),
        ("ConfigError", 78),
    ],
)
def test_exit_statuses_stay(name: str, status: int) -> None:
    """docs/cli.md and sysexits.h say them; systemd units and scripts go by them."""
    kind = getattr(errors, name)
    assert issubclass(kind, NetbondError)
    assert kind("x").exit_status == status
