from __future__ import annotations

from dataclasses import dataclass, field

from netbond.system.by_identity import MOST, Before, by_identity, forget_unused


class Thing:
    """It is equal to every other thing."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    def __hash__(self) -> int:
        return 0


def test_the_same_objects_are_asked_about_once() -> None:
    asked: list[tuple[object, ...]] = []

    @by_identity
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


def test_what_was_not_asked_for_in_a_pass_is_forgotten() -> None:
    asked = []

    @by_identity
    def name(text: str) -> str:
        asked.append(text)
        return text

    for texts in ("ab", "a", "a", "ab"):
        forget_unused()
        for text in texts:
            name(text)
    assert asked == ["a", "b", "b"]


def test_without_passes_not_everything_is_kept() -> None:
    asked = []

    @by_identity
    def double(number: int) -> int:
        asked.append(number)
        return 2 * number

    assert [double(number) for number in range(2 * MOST)] == list(range(0, 4 * MOST, 2))
    assert double(0) == 0
    assert len(asked) == 2 * MOST + 1
    double(2 * MOST - 1)
    assert len(asked) == 2 * MOST + 1


def test_objects_that_are_gone_are_not_mistaken_for_new_ones_at_their_place() -> None:
    """An id is free again once its object has gone."""

    @by_identity
    def number(of: list[int]) -> int:
        return of[0]

    assert [number([value]) for value in range(100)] == list(range(100))


@dataclass(frozen=True)
class Pair:
    first: str
    second: str = field(default="", compare=False)


def test_an_equal_object_gives_way_to_the_one_before() -> None:
    before = Before(Pair)
    one = before.same("a", Pair("x", "y"))
    forget_unused()
    assert before.same("a", Pair("x", "y")) is one
    other = Pair("x", "z")  # it differs in what does not count in comparisons
    assert before.same("a", other) is other
    assert before.same("a", Pair("x", "z")) is other
    forget_unused()
    forget_unused()
    third = Pair("x", "z")
    assert before.same("a", third) is third
