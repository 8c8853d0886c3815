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
from typing import Generic, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def by_identity(kept: int) -> Callable[[Callable[[*Arguments], Result]], Callable[[*Arguments], Result]]:
    """Make a function remember its results for the last `kept` different calls.

    Its arguments must be immutable, and so must its results: several callers get the same one. A tuple is the
    same if its items are the very same objects, a text or a number if it is equal.
    """

    def decorate(function: Callable[[*Arguments], Result]) -> Callable[[*Arguments], Result]:
        known: dict[tuple[object, ...], tuple[object, Result]] = {}

        @functools.wraps(function)
        def remembering(*args: *Arguments) -> Result:
            key = tuple(map(_key, args))
            found = known.pop(key, None)
            if found is None:
                found = (args, function(*args))  # the arguments are kept, so that no other gets their ids
                if len(known) >= kept:
                    del known[next(iter(known))]
            known[key] = found  # the last one used is the last to go
            return found[1]

        return remembering

    return decorate


def _key(value: object) -> object:
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

    def __init__(self, kind: type[Result], kept: int) -> None:
        """`kept`: of so many different keys."""
        self._values = operator.attrgetter(*(each.name for each in dataclasses.fields(kind)))  # type: ignore[arg-type] # of a dataclass
        self._kept = kept
        self._known: dict[object, Result] = {}

    def same(self, key: Hashable, found: Result) -> Result:
        """What was last found under this key if it is equal, else what is found now."""
        before = self._known.pop(key, None)
        if before is None or self._values(before) != self._values(found):
            before = found
            if len(self._known) >= self._kept:
                del self._known[next(iter(self._known))]
        self._known[key] = before
        return before
