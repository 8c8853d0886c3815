from __future__ import annotations

from dataclasses import dataclass, field

from netbond.system.by_identity import Before, by_identity


class Thing:
    """It is equal to every other thing."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    def __hash__(self) -> int:
        return 0


def test_the_same_objects_are_asked_about_once() -> None:
    asked: list[tuple[object, ...]] = []

    @by_identity(4)
    def pair(name: str, thing: Thing, things: tuple[Thing, ...]) -> tuple[object, ...]:
        """Its documentation stays."""
        asked.append((name, thing, things))
        return (name, thing, *things)

    one, other = Thing(), Thing()
    first = pair("a", one, (one, other))
    assert pair("a", one, (one, other)) is first
    assert pair(b"a".decode(), one, (one, other)) is first  # the same text is the same
    assert len(asked) == 1
    for name, thing, things in [("b", one, (one, other)), ("a", other, (one, other)), ("a", one, (one, one))]:
        assert pair(name, thing, things) is not first
    assert len(asked) == 4
    assert pair("a", one, (one, other)) is first
    assert pair.__doc__ == "Its documentation stays."


def test_what_was_not_asked_for_lately_goes_first() -> None:
    asked = []

    @by_identity(2)
    def name(text: str) -> str:
        asked.append(text)
        return text

    for text in ("a", "b", "a", "c", "a", "b"):
        name(text)
    assert asked == ["a", "b", "c", "b"]


def test_objects_that_are_gone_are_not_mistaken_for_new_ones_at_their_place() -> None:
    """An id is free again once its object has gone."""

    @by_identity(1)
    def number(of: list[int]) -> int:
        return of[0]

    assert [number([value]) for value in range(100)] == list(range(100))


@dataclass(frozen=True)
class Pair:
    first: str
    second: str = field(default="", compare=False)


def test_an_equal_object_gives_way_to_the_one_before() -> None:
    before = Before(Pair, 2)
    one = before.same("a", Pair("x", "y"))
    assert before.same("a", Pair("x", "y")) is one
    other = Pair("x", "z")  # it differs in what does not count in comparisons
    assert before.same("a", other) is other
    assert before.same("a", Pair("x", "z")) is other
    assert before.same("b", one) is one
    before.same("c", one)
    third = Pair("x", "z")
    assert before.same("a", third) is third  # "a" was forgotten
