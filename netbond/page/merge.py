"""Compares two states of the page: a JSON merge patch (RFC 7396) has only what changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

State = Mapping[str, Any]  # JSON values without null, which means in a patch that a key goes


def patch(before: State, after: State) -> dict[str, Any]:
    """Return what makes `after` of `before`; {}: nothing has changed. Lists are whole values."""
    changes: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := patch(old, value):
                changes[key] = inner
        elif old != value or type(old) is not type(value):
            changes[key] = value
    return changes
