"""Root given up for an ordinary user."""

from __future__ import annotations

import os

import pytest

from netbond.errors import NotPermittedError, UnavailableError
from netbond.srtla.process import privileges


def test_dropping_to_nobody_at_all() -> None:
    with pytest.raises(UnavailableError, match="there is no user 'no-such-user' to run as"):
        privileges.drop("no-such-user")


def test_dropping_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(NotPermittedError, match="cannot become user 'root' without root"):
        privileges.drop("root")
