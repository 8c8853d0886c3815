"""Turns frozen dataclasses into plain JSON values and back, as their type hints say.

Pure. One codec for what netbond writes for others or for itself later: state files, the channel to engines,
facts, the snapshot of status. The hints may be made of bool, int, float, str, None, Any (any JSON value),
Literal, StrEnum, IP addresses, interfaces and networks, Path, date, tuple, frozenset, dict[str, X],
dataclasses, named tuples, and unions of these.

Keys are the names of the fields, in their order. A field's metadata (`doc()`) may hold its description, and
that the key is left out while the value is the default. Text forms are those of str(); a class with
a class method `from_text` is written in this way, too.

In a union of several dataclasses, a field tells them apart that all of them have, as a Literal of its own in
each (`role: Literal["sender"]`). Without one, CLASS_KEY is added in front: no field can be called so.

Modules that declare such types import what their hints name at run time, not under TYPE_CHECKING.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import ipaddress
import math
import pathlib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from netbond.dhcp.lease import Lease

MAX_DEPTH = 32  # of nested objects and lists; facts need 6
CLASS_KEY = "class"  # a keyword of Python, so it collides with no field
SCHEMA = "https://json-schema.org/draft/2020-12/schema"

T = TypeVar("T")

# netbond.dhcp.lease avoids the cost of importing `typing`, so its types have no hints at run time.
_UNHINTED: dict[type, dict[str, Any]] = {
    Lease: {
        "device": str,
        "source": str,
        "address": ipaddress.IPv4Interface | ipaddress.IPv6Interface,
        "routers": tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
        "received": float,
        "ifindex": int,
    }
}


def doc(text: str, *, omit: bool = False) -> dict[str, Any]:
    """The metadata of a field: its description; `omit`: leave the key out while the value is the default."""
    return {"doc": text, "omit": omit}


def to_json(value: object) -> Any:
    """A dataclass, a named tuple, or a value that is JSON already, as plain JSON values.

    Types are trusted, as the type checker has seen them. ValueError for a float that is not finite, for what
    is nested deeper than MAX_DEPTH, and for what is no JSON value where the hint is Any.
    """
    kind = type(value)
    return _codec(kind if _is_object(kind) else Any).encode(value, 0)


def from_json(cls: type[T], value: object) -> T:
    """The `cls` that to_json() made `value` from; ValueError says which part is wrong, and why.

    Strict: each key is known, and each value of its type. A key that is absent takes its field's default.
    """
    found: T = _codec(cls).decode(value, tolerant=False, depth=0)
    return found


def read_tolerant(cls: type[T], value: object) -> T:
    """As from_json(), for what another version or an untrusted program has written.

    Unknown keys are passed over. A value of the wrong type takes its field's default, or null where null is
    allowed; without these, the object that needs it is left out of its list or mapping. ValueError if that
    reaches the whole value.
    """
    found: T = _codec(cls).decode(value, tolerant=True, depth=0)
    return found


def json_schema(*classes: type) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what to_json() makes of these, with descriptions from metadata `doc`."""
    definitions: dict[str, Any] = {}
    found = [_codec(cls).schema(definitions) for cls in classes]
    return {
        "$schema": SCHEMA,
        **(found[0] if len(found) == 1 else {"anyOf": found}),
        "$defs": definitions,
    }


class _WrongError(ValueError):
    """What is wrong; the way to it is put in front as the error passes up."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.steps: list[str] = []

    def __str__(self) -> str:
        way = "".join(reversed(self.steps)).lstrip(".")
        return f"{way}: {self.args[0]}" if way else str(self.args[0])


def _short(value: object) -> str:
    """A value from outside in a few printable characters."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = ascii(value[:41]) if isinstance(value, str) else ascii(value)
    return text if len(text) <= 42 else f"{text[:40]}..."


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _WrongError(f"nested more than {MAX_DEPTH} deep")


class _Codec:
    """One type: to JSON, from JSON, and its schema. This one is for Any."""

    types: tuple[type, ...] = (object,)  # of the values that it encodes, for the choice within a union

    def encode(self, value: Any, depth: int) -> Any:
        return _plain(value, depth)

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        return _plain(value, depth)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {}


def _plain(value: Any, depth: int) -> Any:
    """The value, made of new lists and dicts; only what JSON has."""
    _check_depth(depth)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    raise _WrongError(f"{type(value).__name__} is no JSON value")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _WrongError(f"{value} is no JSON number")
    return value


class _Plain(_Codec):
    """bool, int, str or None."""

    _NAMES: typing.ClassVar = {bool: "boolean", int: "integer", str: "string", types.NoneType: "null"}

    def __init__(self, kind: type) -> None:
        self.types = (kind,)
        self._kind = kind

    def encode(self, value: Any, depth: int) -> Any:
        return value

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        if type(value) is not self._kind:  # also: True is no int
            raise _WrongError(f"{_short(value)} is no {self._NAMES[self._kind]}")
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": self._NAMES[self._kind]}


class _Float(_Codec):
    types = (float, int)

    def encode(self, value: Any, depth: int) -> Any:
        return _finite(value)

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        if type(value) not in (float, int):
            raise _WrongError(f"{_short(value)} is no number")
        try:
            return _finite(float(value))
        except OverflowError:
            raise _WrongError("too large a number") from None

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "number"}


class _Text(_Codec):
    """What has a text form: `parse` is the way back from str()."""

    def __init__(self, kind: type, parse: Callable[[str], Any], schema: Mapping[str, Any]) -> None:
        # An interface is an address by inheritance, but not by its text form: see _Union.encode.
        self.types = (kind,)
        self._kind = kind
        self._parse = parse
        self._schema = dict(schema)

    def encode(self, value: Any, depth: int) -> Any:
        return str(value)

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        if isinstance(value, str):
            try:
                return self._parse(value)
            except ValueError:
                pass
        raise _WrongError(f"{_short(value)} is no {self._kind.__name__}")

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string", **self._schema}


def _interface(kind: Callable[[str], T]) -> Callable[[str], T]:
    """Of an interface's text form the prefix length is a part; that of an address is not taken for one."""

    def parse(text: str) -> T:
        if "/" not in text:
            raise ValueError("no prefix length")
        return kind(text)

    return parse


_TEXTS: dict[Any, tuple[Callable[[str], Any], dict[str, Any]]] = {
    ipaddress.IPv4Address: (ipaddress.IPv4Address, {"format": "ipv4"}),
    ipaddress.IPv6Address: (ipaddress.IPv6Address, {"format": "ipv6"}),
    ipaddress.IPv4Interface: (_interface(ipaddress.IPv4Interface), {}),
    ipaddress.IPv6Interface: (_interface(ipaddress.IPv6Interface), {}),
    ipaddress.IPv4Network: (_interface(ipaddress.IPv4Network), {}),
    ipaddress.IPv6Network: (_interface(ipaddress.IPv6Network), {}),
    pathlib.Path: (pathlib.Path, {}),
    datetime.date: (datetime.date.fromisoformat, {"format": "date"}),
}


class _Literal(_Codec):
    def __init__(self, choices: tuple[Any, ...]) -> None:
        self.types = tuple({type(choice) for choice in choices})
        self.choices = choices

    def encode(self, value: Any, depth: int) -> Any:
        return value

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        for choice in self.choices:
            if type(value) is type(choice) and value == choice:
                return choice
        raise _WrongError(f"{_short(value)} is none of {', '.join(map(repr, self.choices))}")

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"enum": list(self.choices)}


class _List(_Codec):
    """tuple[X, ...], or frozenset[X] as a sorted list."""

    def __init__(self, kind: type, item: _Codec) -> None:
        self.types = (kind,)
        self._kind = kind
        self._item = item

    def encode(self, value: Any, depth: int) -> Any:
        _check_depth(depth)
        found = [self._item.encode(item, depth + 1) for item in value]
        return sorted(found) if self._kind is frozenset else found

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        _check_depth(depth)
        if not isinstance(value, list):
            raise _WrongError(f"{_short(value)} is no list")
        found = []
        for i, item in enumerate(value):
            try:
                found.append(self._item.decode(item, tolerant, depth + 1))
            except _WrongError as error:
                if not tolerant:
                    error.steps.append(f"[{i}]")
                    raise
        return self._kind(found)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        unique = {"uniqueItems": True} if self._kind is frozenset else {}
        return {"type": "array", "items": self._item.schema(definitions), **unique}


class _Tuple(_Codec):
    """tuple[X, Y]: a list of that length."""

    types = (tuple,)

    def __init__(self, items: tuple[_Codec, ...]) -> None:
        self._items = items

    def encode(self, value: Any, depth: int) -> Any:
        _check_depth(depth)
        return [codec.encode(item, depth + 1) for codec, item in zip(self._items, value, strict=True)]

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        _check_depth(depth)
        if not isinstance(value, list) or len(value) != len(self._items):
            raise _WrongError(f"{_short(value)} is no list of {len(self._items)}")
        found = []
        for i, (codec, item) in enumerate(zip(self._items, value, strict=True)):
            try:
                found.append(codec.decode(item, tolerant, depth + 1))
            except _WrongError as error:
                error.steps.append(f"[{i}]")
                raise
        return tuple(found)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        items = [codec.schema(definitions) for codec in self._items]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


class _Mapping(_Codec):
    types = (dict, types.MappingProxyType)

    def __init__(self, item: _Codec) -> None:
        self._item = item

    def encode(self, value: Any, depth: int) -> Any:
        _check_depth(depth)
        return {key: self._item.encode(item, depth + 1) for key, item in value.items()}

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        _check_depth(depth)
        if not isinstance(value, dict):
            raise _WrongError(f"{_short(value)} is no object")
        found = {}
        for key, item in value.items():
            try:
                if not isinstance(key, str):
                    raise _WrongError("the key is no string")
                found[key] = self._item.decode(item, tolerant, depth + 1)
            except _WrongError as error:
                if not tolerant:
                    error.steps.append(f"[{_short(key)}]")
                    raise
        return found

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self._item.schema(definitions)}


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    codec: _Codec
    default: Callable[[], Any] | None = None  # None: it has none
    omit: bool = False
    doc: str = ""


class _Object(_Codec):
    """A dataclass or a named tuple."""

    def __init__(self, cls: type) -> None:
        self.types = (cls,)
        self.cls = cls

    @functools.cached_property
    def _fields(self) -> tuple[_Field, ...]:  # only when needed: types may refer to themselves
        return tuple(_fields(self.cls))

    def literals(self) -> dict[str, tuple[Any, ...]]:
        """The fields that are Literals, and their values."""
        return {f.name: f.codec.choices for f in self._fields if isinstance(f.codec, _Literal)}

    def encode(self, value: Any, depth: int) -> Any:
        _check_depth(depth)
        found = {}
        for field in self._fields:
            item = getattr(value, field.name)
            if field.omit and field.default is not None and item == field.default():
                continue
            try:
                found[field.name] = field.codec.encode(item, depth + 1)
            except _WrongError as error:
                error.steps.append(f".{field.name}")
                raise
        return found

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        _check_depth(depth)
        if not isinstance(value, dict):
            raise _WrongError(f"{_short(value)} is no object")
        arguments = {}
        for field in self._fields:
            try:
                if field.name not in value:
                    if field.default is None:
                        raise _WrongError("missing")
                else:
                    arguments[field.name] = field.codec.decode(value[field.name], tolerant, depth + 1)
            except _WrongError as error:
                if not tolerant or field.default is None:
                    error.steps.append(f".{field.name}")
                    raise
        if not tolerant:
            known = {field.name for field in self._fields}
            for key in value:
                if key not in known:
                    raise _WrongError(f"unknown key {_short(key)}")
        return self.cls(**arguments)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        name = self.cls.__name__
        if name not in definitions:
            whole: dict[str, Any] = {"title": name, "type": "object"}
            definitions[name] = whole  # before its fields, for types that refer to themselves
            properties = {field.name: field.codec.schema(definitions) for field in self._fields}
            for field in self._fields:
                if field.doc:
                    properties[field.name]["description"] = field.doc
            whole["properties"] = properties
            whole["required"] = [field.name for field in self._fields if not field.omit]
        return {"$ref": f"#/$defs/{name}"}


class _Union(_Codec):
    """One of several types. A key tells dataclasses apart; the other types are tried in their order."""

    def __init__(self, members: tuple[_Codec, ...]) -> None:
        self.types = tuple(kind for member in members for kind in member.types)
        self._nullable = types.NoneType in self.types
        self._members = members
        self._objects = [member for member in members if isinstance(member, _Object)]

    @functools.cached_property
    def _told_by(self) -> tuple[str, dict[Any, _Object]]:
        """The key that tells the dataclasses apart, and the class of each of its values; "" for just one."""
        if len(self._objects) < 2:
            return "", {}
        for name in self._objects[0].literals():
            choices = [(c, each) for each in self._objects for c in each.literals().get(name, (None,))]
            if len({choice for choice, _ in choices} - {None}) == len(choices):
                return name, dict(choices)
        found = {each.cls.__name__: each for each in self._objects}
        if len(found) != len(self._objects):
            raise TypeError("two classes of one name in a union")
        return CLASS_KEY, found

    def encode(self, value: Any, depth: int) -> Any:
        if value is None:
            return None
        for exact in (True, False):
            for member in self._members:
                if type(value) in member.types if exact else isinstance(value, member.types):
                    found = member.encode(value, depth)
                    if isinstance(member, _Object) and self._told_by[0] == CLASS_KEY:
                        return {CLASS_KEY: member.cls.__name__, **found}
                    return found
        raise _WrongError(f"{type(value).__name__} is no type of the union")

    def decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        if value is None and self._nullable:
            return None
        try:
            return self._decode(value, tolerant, depth)
        except _WrongError:
            if tolerant and self._nullable:
                return None
            raise

    def _decode(self, value: Any, tolerant: bool, depth: int) -> Any:
        key, tagged = self._told_by
        if key and isinstance(value, dict):
            tag = value.get(key)
            found = tagged.get(tag) if isinstance(tag, str | int) else None
            if found is None:
                raise _WrongError(f"{key} is none of {', '.join(map(str, tagged))}")
            if key == CLASS_KEY:
                value = {name: value[name] for name in value if name != CLASS_KEY}
            return found.decode(value, tolerant, depth)
        problems = []
        for member in self._members:
            if types.NoneType not in member.types:
                try:
                    return member.decode(value, tolerant, depth)
                except _WrongError as error:
                    problems.append(error)
        # What is wrong inside of an object or list says more than that it is no text.
        raise max(problems, key=lambda error: len(error.steps))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for member in self._members:
            schema = member.schema(definitions)
            if isinstance(member, _Object) and self._told_by[0] == CLASS_KEY:
                tag = {"properties": {CLASS_KEY: {"const": member.cls.__name__}}, "required": [CLASS_KEY]}
                schema = {"allOf": [schema, tag]}
            if schema not in found:
                found.append(schema)
        if all(set(schema) == {"type"} for schema in found):
            return {"type": [schema["type"] for schema in found]}
        return found[0] if len(found) == 1 else {"anyOf": found}


def _is_object(kind: Any) -> bool:
    return isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def _fields(cls: type) -> typing.Iterator[_Field]:
    hints = _UNHINTED.get(cls) or typing.get_type_hints(cls)
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            default: Callable[[], Any] | None = None
            if field.default is not dataclasses.MISSING:
                default = functools.partial(_same, field.default)
            elif field.default_factory is not dataclasses.MISSING:
                default = field.default_factory
            omit, doc = bool(field.metadata.get("omit")), str(field.metadata.get("doc", ""))
            yield _Field(field.name, _codec(hints[field.name]), default, omit, doc)
    else:
        defaults: dict[str, Any] = cls._field_defaults  # type: ignore[attr-defined]  # a named tuple's
        for name in cls._fields:  # type: ignore[attr-defined]
            default = functools.partial(_same, defaults[name]) if name in defaults else None
            yield _Field(name, _codec(hints[name]), default)


def _same(value: T) -> T:
    return value


@functools.cache
def _object(cls: type) -> _Object:
    return _Object(cls)


def _codec(hint: Any) -> _Codec:
    """The codec of a type hint; TypeError for one that has no form in JSON."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _Codec()
    if hint in (bool, int, str, None, types.NoneType):
        return _Plain(types.NoneType if hint is None else hint)
    if hint is float:
        return _Float()
    if hint in _TEXTS:
        return _Text(hint, *_TEXTS[hint])
    if hasattr(hint, "from_text"):
        return _Text(hint, hint.from_text, {})
    if _is_object(hint):
        return _object(hint)
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return _Text(hint, hint, {"enum": [str(member) for member in hint]})
    if origin in (typing.Union, types.UnionType):
        return _Union(tuple(map(_codec, arguments)))
    if origin is typing.Literal:
        return _Literal(arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        return _List(tuple, _codec(arguments[0]))
    if origin is tuple:
        return _Tuple(tuple(map(_codec, arguments)))
    if origin is frozenset:
        return _List(frozenset, _codec(arguments[0]))
    if origin in (dict, Mapping) and arguments[0] is str:
        return _Mapping(_codec(arguments[1]))
    raise TypeError(f"{hint} has no form in JSON")
