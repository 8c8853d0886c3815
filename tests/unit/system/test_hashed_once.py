from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace

from netbond.system.hashed_once import HashedOnce, hashed_once

asked: list[int] = []


class Part(int):
    def __hash__(self) -> int:
        asked.append(int(self))
        return int(self)


@hashed_once
@dataclass(frozen=True, slots=True)
class Thing(HashedOnce):
    part: Part
    note: str = field(default="", compare=False)


def test_the_hash_is_computed_once_and_equal_things_have_the_same() -> None:
    asked.clear()
    one, other = Thing(Part(1)), Thing(Part(1), "another")
    assert hash(one) == hash(one) == hash(other)
    assert asked == [1, 1]
    assert {one: "found"}[other] == "found"


def test_a_changed_copy_has_its_own() -> None:
    one = Thing(Part(1))
    hash(one)
    assert hash(replace(one, part=Part(2))) != hash(one)
    assert replace(one, note="x") == one


def test_it_is_no_part_of_what_is_kept() -> None:
    one = Thing(Part(1))
    hash(one)
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 - made here
    assert again == one
    assert not hasattr(again, "_hash")
