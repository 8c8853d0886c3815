"""Dataclasses as JSON and back: exactly, strictly, tolerantly, and described by a schema."""

from __future__ import annotations

import enum
import ipaddress
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netbond import model
from netbond.dhcp.lease import Lease
from netbond.model import Facts
from netbond.system import typed_json
from netbond.system.typed_json import doc, from_json, json_schema, read_tolerant, to_json
from tests.unit.boxes import box


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: float = 0.5


@dataclass(frozen=True, slots=True)
class Cat:
    name: str
    kind: str = "tabby"  # a field of this name and the tag of a union do not collide


@dataclass(frozen=True, slots=True)
class Dog:
    name: str


@dataclass(frozen=True, slots=True)
class House:
    number: int = field(metadata=doc("Of the street."))
    label: str = field(default="", metadata=doc("", omit=True))
    share: float = 0.0
    open: bool | None = None
    colour: Colour = Colour.RED
    size: Literal["small", "large", 3] = "small"
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    file: Path | None = None
    built: date | None = None
    pets: tuple[Cat | Dog, ...] = ()
    first: Cat | None = None
    spot: Point = Point(1)
    pair: tuple[str, int] = ("a", 1)
    names: frozenset[str] = frozenset()
    by_name: Mapping[str, Dog] = field(default_factory=dict)
    anything: Any = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Written as "left-right"."""

    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.left}-{self.right}"

    @classmethod
    def from_text(cls, text: str) -> Pair:
        left, dash, right = text.partition("-")
        if not dash:
            raise ValueError("no dash")
        return cls(left, right)


@dataclass(frozen=True, slots=True)
class Circle:
    shape: Literal["circle"]
    radius: int


@dataclass(frozen=True, slots=True)
class Square:
    side: int
    shape: Literal["square", "rhombus"] = "square"


@dataclass(frozen=True, slots=True)
class Drawing:
    shapes: tuple[Circle | Square | None, ...] = ()
    pair: Pair = Pair("a", "b")


@dataclass(frozen=True, slots=True)
class Both:
    one: ipaddress.IPv4Address | ipaddress.IPv4Interface
    other: ipaddress.IPv4Address | ipaddress.IPv4Interface


@dataclass(frozen=True, slots=True)
class Chain:
    next: Chain | None = None


@dataclass(frozen=True, slots=True)
class Cable:
    callback: complex = 0j


FULL = House(
    7,
    label="corner",
    share=0.25,
    open=True,
    colour=Colour.BLUE,
    size=3,
    gateway=ipaddress.IPv6Address("fe80::1%usb0"),
    file=Path("/run/x"),
    built=date(2026, 11, 30),
    pets=(Dog("Rex"), Cat("Tom", "grey")),
    first=Cat("Kit"),
    spot=Point(2, 3.5),
    pair=("b", 2),
    names=frozenset({"b", "a"}),
    by_name={"z": Dog("Zoe"), "a": Dog("Ann")},
    anything={"deep": [1, {"x": None}]},
)


def through_text(value: object) -> object:
    return json.loads(json.dumps(to_json(value), allow_nan=False))


# --- exactly ----------------------------------------------------------------------------------------------


def test_the_form_is_plain_and_in_the_order_of_the_fields() -> None:
    assert json.dumps(to_json(FULL)) == json.dumps(
        {
            "number": 7,
            "label": "corner",
            "share": 0.25,
            "open": True,
            "colour": "blue",
            "size": 3,
            "gateway": "fe80::1%usb0",
            "file": "/run/x",
            "built": "2026-11-30",
            "pets": [{"class": "Dog", "name": "Rex"}, {"class": "Cat", "name": "Tom", "kind": "grey"}],
            "first": {"name": "Kit", "kind": "tabby"},
            "spot": {"x": 2, "y": 3.5},
            "pair": ["b", 2],
            "names": ["a", "b"],
            "by_name": {"z": {"name": "Zoe"}, "a": {"name": "Ann"}},
            "anything": {"deep": [1, {"x": None}]},
        }
    )


def test_what_is_omitted_is_only_the_default() -> None:
    assert "label" not in to_json(House(1))
    assert to_json(House(1, label="x"))["label"] == "x"
    assert to_json(House(1))["share"] == 0.0


@pytest.mark.parametrize("house", [FULL, House(1)])
def test_reading_gives_the_same_value_and_types(house: House) -> None:
    assert from_json(House, through_text(house)) == house
    read = from_json(House, through_text(house))
    for name in (each.name for each in fields(House)):
        assert type(getattr(read, name)) is type(getattr(house, name)), name
    assert read_tolerant(House, through_text(house)) == house


ADDRESSES = st.ip_addresses()
TEXT = st.text(max_size=5)
INTERFACES = st.builds(
    lambda a, n: ipaddress.ip_interface(f"{a}/{n if a.version == 6 else n % 33}"),
    ADDRESSES,
    st.integers(0, 128),
)
NETWORKS = INTERFACES.map(lambda interface: interface.network)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


LEASES = st.builds(
    Lease, TEXT, TEXT, INTERFACES, st.lists(ADDRESSES, max_size=2).map(tuple), FLOATS, st.integers(0, 9)
)
NEXTHOPS = st.builds(
    model.Nexthop, TEXT, st.none() | ADDRESSES, st.integers(1, 9), st.booleans(), st.booleans()
)
ROUTES = st.builds(
    model.Route,
    st.integers(0, 2**32),
    NETWORKS,
    st.lists(NEXTHOPS, max_size=2).map(tuple),
    TEXT,
    st.integers(0, 9),
    st.none() | ADDRESSES,
    nexthop_id=st.integers(0, 9),
)
RULES = st.builds(
    model.Rule,
    st.integers(0, 2**32),
    st.sampled_from((4, 6)),
    source=st.none() | NETWORKS,
    oif=TEXT,
    suppress_prefixlength=st.none() | st.integers(0, 128),
    destination=st.none() | NETWORKS,
    other=TEXT,
)
OBJECTS = st.builds(model.NexthopObject, st.integers(1), st.just(4), TEXT, st.none() | ADDRESSES)
GROUPS = st.builds(
    model.NexthopGroup,
    st.integers(1),
    st.just(6),
    st.lists(st.tuples(st.integers(), st.integers()), max_size=2).map(tuple),
)


def few(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=2).map(tuple)


FACTS = st.builds(
    Facts,
    interfaces=few(st.builds(model.Interface, TEXT, st.integers(0), st.booleans(), rx_bytes=st.integers(0))),
    addresses=few(st.builds(model.Address, TEXT, INTERFACES, st.none() | ADDRESSES, TEXT, st.booleans())),
    routes=few(ROUTES),
    rules=few(RULES),
    leases=few(LEASES),
    devices=few(st.builds(model.Device, TEXT, TEXT, TEXT)),
    nexthops=st.none() | few(OBJECTS | GROUPS),
    health=few(
        st.builds(model.Health, TEXT, st.just(4), st.just("down"), TEXT, FLOATS, st.none() | ADDRESSES)
    ),
    alive=st.frozensets(st.tuples(TEXT, ADDRESSES), max_size=2),
    roaming=st.frozensets(TEXT, max_size=3),
    metered=st.frozensets(TEXT, max_size=3),
    spent_plans=few(st.builds(model.SpentDataPlan, TEXT, st.just("off"), TEXT)),
    resolved=few(st.tuples(TEXT, few(ADDRESSES))),
)


@given(FACTS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_facts_pass_through_text_unchanged(facts: Facts) -> None:
    found = from_json(Facts, through_text(facts))
    assert found == facts
    assert repr(found.nexthops) == repr(facts.nexthops)
    assert [link.rx_bytes for link in found.interfaces] == [
        link.rx_bytes for link in facts.interfaces
    ]  # not compared
    assert [route.nexthops for route in found.routes] == [route.nexthops for route in facts.routes]


def test_a_box_passes_through_text_unchanged() -> None:
    objects = (model.NexthopGroup(2, 0, ((1, 3),)), model.NexthopObject(1, 4))
    whole = replace(box("usb0", "usb1"), nexthops=objects)
    assert from_json(Facts, through_text(whole)) == whole
    assert to_json(whole)["nexthops"][0] == {
        "class": "NexthopGroup",
        "id": 2,
        "family": 0,
        "members": [[1, 3]],
        "protocol": 0,
        "resilient": False,
    }


def test_the_hints_of_a_lease_are_those_that_the_type_checker_reads() -> None:
    assert tuple(typed_json._UNHINTED[Lease]) == Lease._fields


def test_a_class_with_a_text_form_is_a_string() -> None:
    drawing = Drawing(pair=Pair("x", "y-z"))
    assert to_json(drawing)["pair"] == "x-y-z"
    assert from_json(Drawing, through_text(drawing)) == drawing
    with pytest.raises(ValueError, match=r"^pair: 'xy' is no Pair$"):
        from_json(Drawing, {"pair": "xy"})


def test_a_literal_of_its_own_in_each_class_tells_a_union_apart() -> None:
    drawing = Drawing((Square(1, "rhombus"), None, Circle("circle", 2)))
    assert to_json(drawing)["shapes"] == [
        {"side": 1, "shape": "rhombus"},
        None,
        {"shape": "circle", "radius": 2},
    ]
    assert from_json(Drawing, through_text(drawing)) == drawing
    for wrong in ({"side": 1}, {"shape": "oval"}, {"shape": ["circle"]}):
        with pytest.raises(ValueError, match=r"^shapes\[0\]: shape is none of circle, square, rhombus$"):
            from_json(Drawing, {"shapes": [wrong]})
    assert read_tolerant(Drawing, {"shapes": [{"shape": "oval"}, {"shape": "square", "side": 3}]}) == Drawing(
        (None, Square(3))
    )


# --- strictly ---------------------------------------------------------------------------------------------


def changed(**values: object) -> dict[str, Any]:
    return {**to_json(FULL), **values}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "a list is no object"),
        ({}, "number: missing"),
        (changed(number="7"), "number: '7' is no integer"),
        (changed(number=True), "number: True is no integer"),
        (changed(number=7.0), "number: 7.0 is no integer"),
        (changed(share="1"), "share: '1' is no number"),
        (changed(share=math.inf), "share: inf is no JSON number"),
        (changed(share=10**400), "share: too large a number"),
        (changed(open=1), "open: 1 is no boolean"),
        (changed(colour="green"), "colour: 'green' is no Colour"),
        (changed(size=True), "size: True is none of 'small', 'large', 3"),
        (changed(gateway="10.0.0.0/8"), "gateway: '10.0.0.0/8' is no IPv4Address"),
        (changed(gateway=7), "gateway: 7 is no IPv4Address"),
        (changed(built="2026-13-01"), "built: '2026-13-01' is no date"),
        (changed(pets=[{"name": "Rex"}]), "pets[0]: class is none of Cat, Dog"),
        (changed(pets=[{"class": ["Cat"], "name": "Rex"}]), "pets[0]: class is none of Cat, Dog"),
        (changed(pets=[{"class": "Dog", "name": 1}]), "pets[0].name: 1 is no string"),
        (changed(first={"name": None}), "first.name: None is no string"),
        (changed(spot={"x": 1, "z": 2}), "spot: unknown key 'z'"),
        (changed(pair=["a"]), "pair: a list is no list of 2"),
        (changed(pair=["a", "b"]), "pair[1]: 'b' is no integer"),
        (changed(names="ab"), "names: 'ab' is no list"),
        (changed(by_name={"k": []}), "by_name['k']: a list is no object"),
        (changed(by_name=[]), "by_name: a list is no object"),
        (changed(by_name={1: {}}), "by_name[1]: the key is no string"),
        (changed(anything={"x": object()}), "anything: object is no JSON value"),
        (changed(more="\x1b[31m" + "x" * 99), "unknown key 'more'"),
        (changed(number="\x1b" * 99), "number: '" + r"\x1b" * 9 + r"\x1... is no integer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        from_json(House, value)
    assert str(caught.value) == problem


def test_an_address_is_no_interface_and_the_reverse() -> None:
    """IPv4Interface inherits from IPv4Address; the text tells them apart."""
    address, interface = ipaddress.IPv4Address("10.0.0.1"), ipaddress.IPv4Interface("10.0.0.1/32")
    both = Both(address, interface)
    assert to_json(both) == {"one": "10.0.0.1", "other": "10.0.0.1/32"}
    assert repr(from_json(Both, to_json(both))) == repr(both)


def test_depth_is_bounded_both_ways() -> None:
    chain = Chain()
    nested: list[Any] = []
    deep: dict[str, Any] = {"next": None}
    for _ in range(5000):
        chain, nested, deep = Chain(chain), [nested], {"next": deep}
    for attempt in (
        lambda: to_json(chain),
        lambda: to_json(House(1, anything=nested)),
        lambda: from_json(Chain, deep),
        lambda: from_json(House, {"number": 1, "anything": nested}),
    ):
        with pytest.raises(ValueError, match="nested more than 32 deep"):
            attempt()
    assert read_tolerant(House, {"number": 1, "anything": nested}) == House(1)


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(ValueError, match="share: nan is no JSON number"):
        to_json(House(1, share=math.nan))
    with pytest.raises(TypeError, match="complex"):
        to_json(Cable())


# --- tolerantly -------------------------------------------------------------------------------------------


def test_unknown_keys_are_passed_over_and_wrong_values_take_defaults() -> None:
    found = read_tolerant(
        House,
        changed(
            later="new",
            share="much",
            colour="green",
            size=None,
            gateway="nowhere",
            pets=[
                {"class": "Dog", "name": "Rex", "age": 3},
                {"class": "Fish"},
                "?",
                {"class": "Cat", "name": 1},
            ],
            first={"kind": "grey"},
            pair=[1, 2, 3],
            names=["a", 1, None],
            by_name={"a": {"name": "Ann"}, "b": 7},
        ),
    )
    assert found == replace(
        FULL,
        share=0.0,
        colour=Colour.RED,
        size="small",
        gateway=None,
        pets=(Dog("Rex"),),
        first=None,
        pair=("a", 1),
        names=frozenset({"a"}),
        by_name={"a": Dog("Ann")},
    )


@pytest.mark.parametrize("value", [None, [], "x", {}, {"number": "7"}])
def test_what_is_needed_and_missing_is_an_error_even_so(value: object) -> None:
    with pytest.raises(ValueError, match=r"^number: |no object$"):
        read_tolerant(House, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OTHERS = [key for key in to_json(FULL) if key != "number"]


@given(st.fixed_dictionaries({"number": st.integers()}, optional=dict.fromkeys(OTHERS, JSON)))
@settings(max_examples=80, deadline=None)
def test_tolerance_has_no_end_in_one_field(value: dict[str, Any]) -> None:
    """Whatever the others hold, what was read is well formed: it passes the strict way."""
    found = read_tolerant(House, value)
    assert from_json(House, through_text(found)) == found


# --- the schema -------------------------------------------------------------------------------------------


def test_the_schema_describes_the_form() -> None:
    whole = json_schema(House)
    assert whole["$schema"] == typed_json.SCHEMA
    assert whole["$ref"] == "#/$defs/House"
    assert set(whole["$defs"]) == {"House", "Cat", "Dog", "Point"}
    schema = whole["$defs"]["House"]
    properties = schema["properties"]
    assert properties["number"] == {"type": "integer", "description": "Of the street."}
    assert properties["open"] == {"type": ["boolean", "null"]}
    assert properties["colour"] == {"type": "string", "enum": ["red", "blue"]}
    assert properties["size"] == {"enum": ["small", "large", 3]}
    assert properties["first"] == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}]}
    assert properties["by_name"] == {"type": "object", "additionalProperties": {"$ref": "#/$defs/Dog"}}
    assert properties["names"] == {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    assert properties["anything"] == {}
    assert "label" in properties
    assert "label" not in schema["required"]
    assert whole["$defs"]["Point"]["required"] == ["x", "y"]
    assert properties["pets"]["items"]["anyOf"][1]["allOf"][1]["properties"]["class"] == {"const": "Dog"}
    json.dumps(whole)


def test_several_types_have_one_schema() -> None:
    whole = json_schema(Circle, Square)
    assert whole["anyOf"] == [{"$ref": "#/$defs/Circle"}, {"$ref": "#/$defs/Square"}]
    shapes = json_schema(Drawing)["$defs"]["Drawing"]["properties"]["shapes"]["items"]
    assert shapes["anyOf"] == [*whole["anyOf"], {"type": "null"}]


def test_a_type_that_refers_to_itself_has_a_schema() -> None:
    assert json_schema(Chain)["$defs"]["Chain"]["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/Chain"}
