"""Lets a pure function remember what it made of the very same objects.

Most of what a pass of the agent decides about is the very same object as in the pass before
(netbond.kernel.rtnetlink.Reader). To compare ids costs a fraction of comparing contents. Nothing that is
remembered can be stale, as the arguments cannot change, and are kept as long as the result.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

MOST = 2048  # results that are kept of one function, if nobody calls forget_unused()


class _Memory(Generic[Result]):
    """What was asked for since the last turn, and in the turn before."""

    def __init__(self) -> None:
        self.used: dict[Hashable, Result] = {}
        self.before: dict[Hashable, Result] = {}
        _memories.append(self)

    def turn(self) -> None:
        self.before, self.used = self.used, {}

    def keep(self, key: Hashable, found: Result) -> None:
        if len(self.used) >= MOST // 2:
            self.turn()
        self.used[key] = found


_memories: list[_Memory[Any]] = []


def forget_unused() -> None:
    """Forget what nobody has asked for since this was called the last time. To be called in each pass."""
    for memory in _memories:
        memory.turn()


def by_identity(function: Callable[[*Arguments], Result]) -> Callable[[*Arguments], Result]:
    """Make a function remember its results.

    Its arguments must be immutable, and so must its results: several callers get the same one. A tuple is the
    same if its items are the very same objects, a text or a number if it is equal.
    """
    memory: _Memory[tuple[object, Result]] = _Memory()

    @functools.wraps(function)
    def remembering(*args: *Arguments) -> Result:
        key = tuple(map(_key, args))
        found = memory.used.get(key)
        if found is None:
            # The arguments are kept, so that no other object gets their ids.
            found = memory.before.get(key) or (args, function(*args))
            memory.keep(key, found)
        return found[1]

    return remembering


def _key(value: object) -> Hashable:
    if isinstance(value, tuple):
        return tuple(map(id, value))
    if isinstance(value, str):
        return value
    # A number alone could be an id. True and False have ids of their own.
    return ("", value) if type(value) is int else id(value)


class Before(Generic[Result]):
    """Gives the object of before in place of an equal one, for by_identity to find it the same.

    All fields of the dataclass have to be equal, those that do not count in comparisons, too.
    """

    def __init__(self, kind: type[Result]) -> None:
        self._values = operator.attrgetter(*(each.name for each in dataclasses.fields(kind)))  # type: ignore[arg-type] # of a dataclass
        self._memory: _Memory[Result] = _Memory()

    def same(self, key: Hashable, found: Result) -> Result:
        """What was last found under this key if it is equal, else what is found now."""
        before = self._memory.used.get(key) or self._memory.before.get(key)
        if before is None or self._values(before) != self._values(found):
            before = found
        self._memory.keep(key, before)
        return before
