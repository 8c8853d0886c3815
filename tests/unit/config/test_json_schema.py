"""The JSON Schema for editors says of a file what netbond says, as far as a schema can."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from netbond.cli import main
from netbond.cli.config import EXAMPLE
from netbond.config import crosscheck
from netbond.config.json_schema import DIALECT, json_schema, plain
from netbond.config.load import parse
from netbond.config.schema import INNER, NESTED, REPEATED, SINGLE
from netbond.config.values import InvalidValueError
from netbond.errors import ConfigError
from tests.unit import test_match
from tests.unit.config import (
    test_crosscheck,
    test_load,
    test_load_dbus,
    test_load_health,
    test_load_metered,
    test_load_router,
)

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json_schema()
TABLES: dict[str, type[Any]] = {**SINGLE, **REPEATED}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

# Everything in the example, also what is only there to be uncommented.
WHOLE_EXAMPLE = re.sub(r"^#(?=\S)", "", EXAMPLE, flags=re.MULTILINE)


def refused() -> Iterator[str]:
    """The files that the tests of the configuration refuse."""
    for module in (test_load, test_load_dbus, test_load_health, test_crosscheck):
        yield from (text for text, _ in module.REFUSED)
    yield from (f"[router]\n{text}" for text, _ in test_load_router.REFUSED)
    yield from (f'[[uplink]]\nmatch = "usb0"\nbudget = {text}' for text in test_load_metered.REFUSED)
    for uplinks, _ in test_match.REFUSED:
        yield "".join(f"[[uplink]]\n{text}\n" for text in uplinks)


def toml_blocks(page: Path) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == DIALECT
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_every_key_is_described() -> None:
    tables = {name: SCHEMA["properties"][name] for name in SINGLE}
    tables |= {name: SCHEMA["properties"][name]["items"] for name in REPEATED}
    for name, cls in TABLES.items():
        assert list(tables[name]["properties"]) == [key.name for key in fields(cls)]
        for key in tables[name]["properties"].values():
            assert key["description"].endswith((".", ")"))
            assert "](" not in key["description"]
            if "default" in key:
                jsonschema.Draft202012Validator(key).validate(key["default"])
    for name, cls in NESTED.items():
        outer, _, inner = name.partition(".")
        table = tables[outer]["properties"][inner]["items"]
        assert table["title"] == f"[[{name}]]"
        assert list(table["properties"]) == [key.name for key in fields(cls)]
    assert tables["uplink"]["required"] == ["match"]
    assert tables["agent"]["properties"]["data_dir"]["description"].endswith("needs a restart of the agent.")


def test_links_are_left_out_of_descriptions() -> None:
    assert plain("See [metered.md](metered.md#a). `[]`: none ([x](y)).") == "See metered.md. `[]`: none (x)."


@pytest.mark.parametrize("text", [EXAMPLE, WHOLE_EXAMPLE], ids=["live", "uncommented"])
def test_the_example_is_valid(text: str) -> None:
    VALIDATOR.validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (page.name, text)
        for page in sorted(DOCS.glob("*.md"))
        if page.name != "fleet.md"  # that is a list of boxes: tests/unit/test_fleet.py
        for text in toml_blocks(page)
    ],
)
def test_the_examples_in_the_documentation_are_valid(page: str, text: str) -> None:
    parse(text, page)
    VALIDATOR.validate(tomllib.loads(text))


def test_the_documentation_has_examples() -> None:
    assert toml_blocks(DOCS / "config.md")


@pytest.mark.parametrize("text", [text for text in refused() if "not valid TOML" not in text])
def test_what_is_refused_for_a_single_value_the_schema_refuses_too(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cross-checks find, of several keys together, a schema cannot say: there it must accept."""
    try:
        data = tomllib.loads(text)
    except ValueError:
        return  # no file at all
    monkeypatch.setattr(crosscheck, "check", lambda *_: None)
    try:
        parse(text)
        said = ""
    except ConfigError as error:
        said = str(error)
    if not any(words in said for words in BEYOND_A_SCHEMA):
        assert VALIDATOR.is_valid(data) == (not said), said


# What a schema has no words for, by what netbond says of it.
BEYOND_A_SCHEMA = (
    "expected a mask of 8 or more bits in a row",
    "interval = nan is not valid",
)


# --- value by value ----------------------------------------------------------------------------------------


def values() -> list[Any]:
    """All values that stand in examples and in refused files, and some that look like them."""
    found: list[Any] = []

    def collect(value: Any) -> None:
        found.append(value)
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                collect(inner)

    for text in (WHOLE_EXAMPLE, *refused()):
        try:
            collect(tomllib.loads(text))
        except ValueError:
            continue
    found += [True, False, -1, 0, 1, 255, 256, 2**31, 65536, 0.1, 31.5, 86401, "", " "]
    found += ["x" * 64, "x" * 65, "x" * 200, "a b", "a/b", "/", "/a b", "a\nb", "a.", "-a", "a-", "A.b-C_d"]
    found += ["1.2.3", "256.1.1.1", "01.2.3.4", "::", "::1", "1::2::3", "fe80::1", "fe80::1%usb0"]
    found += ["0.0.0.0/0", "::/0", "10.0.0.1/8", "10.0.0.0/8", "10.0.0.0/255.0.0.0", "2001:db8::/32"]
    found += ["[::1]:0", "[::1]:65535", "[::1]:65536", "[1.2.3.4]:5", "h:00080", "h:000080", "1.2.3.4:80"]
    found += ["1.2.3.4", "[h]:1", "auto", "none", "5 GB", "1.5GiB", "5kB"]
    found += ["299999", "31M", "30M", "0.5M", "800k", "800000", "0.8m", "200k", 300_000, 30_000_001, 299_999]
    found += [[], [1], [1, 2], [2, 1], [1, 253], [1, 2, 3], [""], ["a", "a"], ["a"] * 9, list("abcdefghi")]
    found += [["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.1"], ["auto"], ["10.0.0.0/8", "a.example"]]
    found += [{}, {"usb": 100}, {"usb": 249}, {"usb": 100, "eth": 102}, {"usb0": 100}, {"path": "*"}]
    found += [{"x": "y"}, {"name": "usb*", "mac": "a\tb"}]
    return found


RATES_OUTSIDE = ["31M", "200k"]  # a pattern has no numbers

# By key, what only netbond refuses: a schema has no words for it.
ONLY_NETBOND_REFUSES: dict[str, list[Any]] = {
    "table_bases": [{"usb": 100, "eth": 102}],  # these overlap
    "tables": [[2, 1]],  # the lower one comes first
    "mark_mask": [value for value in values() if type(value) is int],  # bits in a row
    "gateway": ["1::2::3", ["1::2::3"]],  # one gap at most
    "resolvers": [["1::2::3"]],
    "destination": ["10.0.0.1/8", "1::2::3", ["10.0.0.1/8"], ["1::2::3"]],  # host bits
    "source": ["10.0.0.1/8", "1::2::3", ["10.0.0.1/8"], ["1::2::3"]],
    "bitrate_min": RATES_OUTSIDE,
    "bitrate_max": RATES_OUTSIDE,
}


def test_of_every_value_for_every_key() -> None:
    """Whatever netbond takes the schema takes, and the other way round but for what is named above.

    Numbers apart that only TOML can write: 5.0 is an integer to JSON Schema, and nan is within all limits.
    """
    distinct = {repr(value): value for value in values()}.values()
    tried = [value for value in distinct if not isinstance(value, float) or 0 < value % 1 < 1]
    odd: dict[str, list[Any]] = {}
    for cls in (*TABLES.values(), *NESTED.values(), *INNER.values()):
        for key in fields(cls):
            if "table" in key.metadata or "inner" in key.metadata:
                continue  # its keys have their turn
            kind = key.metadata["kind"]
            validator = jsonschema.Draft202012Validator(kind.schema)
            for value in [*tried, *([value] for value in tried)]:
                try:
                    kind(value)
                except InvalidValueError:
                    if validator.is_valid(value) and value not in ONLY_NETBOND_REFUSES.get(key.name, []):
                        odd.setdefault(key.name, []).append(value)
                else:
                    assert validator.is_valid(value), (key.name, value)
    assert odd == {}
