"""Lets a pure function remember what it made of the very same objects.

Most of what a pass of the agent decides about is the very same object as in the pass before
(netbond.kernel.rtnetlink.Reader). To compare ids costs a fraction of comparing contents. Nothing that is
remembered can be stale, as the arguments cannot change, and are kept as long as the result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def by_identity(kept: int) -> Callable[[Callable[[*Arguments], Result]], Callable[[*Arguments], Result]]:
    """Make a function remember its results for the last `kept` different calls.

    Its arguments must be immutable, and so must its results: several callers get the same one. A tuple is the
    same if its items are the very same objects, and a text if it is equal.
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
    if type(value) is tuple:
        return tuple(map(id, value))
    return value if type(value) is str else id(value)
