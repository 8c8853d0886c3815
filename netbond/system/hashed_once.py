"""Lets frozen dataclasses compute their hash once, which takes longer than anything else that a set does."""

from __future__ import annotations

from typing import TypeVar

_Kind = TypeVar("_Kind", bound="HashedOnce")


class HashedOnce:
    """The base of such a class, which must have `@hashed_once` above its `@dataclass`."""

    __slots__ = ("_hash",)
    _hash: int


def hashed_once(kind: type[_Kind]) -> type[_Kind]:
    """Keep the hash of each object of a frozen dataclass once it was asked for."""
    compute = kind.__hash__

    def once(self: _Kind) -> int:
        try:
            found = self._hash
        except AttributeError:
            found = compute(self)
            object.__setattr__(self, "_hash", found)
        return found

    kind.__hash__ = once  # type: ignore[method-assign,assignment]
    return kind
