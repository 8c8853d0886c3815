"""Lists of boxes: what Prometheus gets of them, and which mistakes are named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from netbond import fleet
from netbond.config.mistakes import Mistakes
from netbond.errors import ConfigError
from tests.unit.config.wrong import without_line

DOCS = Path(__file__).parents[2] / "docs"

LIST = """
[labels]
fleet = "news"
site = "berlin"

[[box]]
name = "van-1"
address = "10.8.0.11"

[[box]]
name = "backpack 7"
address = "backpack-7.vpn.example.org:10470"
labels = { site = "köln", crew = "b" }

[[box]]
name = "receiver"
address = "[fd00::7]:9000"

[[box]]
name = "van-2"
address = "fd00::8"
"""


def test_each_box_is_a_target_with_its_name_as_instance() -> None:
    text = fleet.target_groups(fleet.read(LIST, Mistakes("list")))
    assert (
        text
        == """[
{"targets": ["10.8.0.11:10469"], "labels": {"instance": "van-1", "fleet": "news", "site": "berlin"}},
{"targets": ["backpack-7.vpn.example.org:10470"], "labels": {"instance": "backpack 7", "fleet": "news", \
"site": "köln", "crew": "b"}},
{"targets": ["[fd00::7]:9000"], "labels": {"instance": "receiver", "fleet": "news", "site": "berlin"}},
{"targets": ["[fd00::8]:10469"], "labels": {"instance": "van-2", "fleet": "news", "site": "berlin"}}
]
"""
    )
    assert len(json.loads(text)) == 4


def box(*lines: str) -> str:
    return "\n".join(["[[box]]", *lines])


ONE = ('name = "a"', 'address = "10.0.0.1"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list: it has no box; add a [[box]] with name and address"),
        ("[[box]", "list: not valid TOML: "),
        ("[[boxes]]", "list: unknown table 'boxes'; did you mean 'box'?"),
        ("[box]", "list: [box] is a single table; write it as [[box]]"),
        ("box = [1]", "list: box[1] is 1; write it as a table, [box]"),
        (box('name = "a"'), "list: box[1] lacks the key 'address'; add address = ..."),
        (box('adress = "10.0.0.1"'), "list: box[1] has an unknown key 'adress'; did you mean 'address'?"),
        (box('name = ""'), "list: box[1].name = '' is not valid; expected a name of at most"),
        (box('name = "a\\nb"'), "list: box[1].name = 'a\\nb' is not valid"),
        (box("address = 7"), "list: box[1].address = 7 is not valid; expected 'host' or 'host:port', like"),
        (box('address = "http://a:1"'), "list: box[1].address = 'http://a:1' is not valid; expected 'host'"),
        (box('address = "10.0.0.300"'), "list: box[1].address = '10.0.0.300' is not valid; expected 'host'"),
        (box('address = "a:70000"'), "list: box[1].address = 'a:70000' is not valid; expected 'host'"),
        (box('address = "fe80::1%eth0"'), "list: box[1].address = 'fe80::1%eth0' is not valid; expected"),
        (
            box(*ONE) + "\n" + box(*ONE),
            "list: two boxes have the name 'a'; remove one, or correct it",
        ),
        (
            box(*ONE) + "\n" + box('name = "b"', 'address = "10.0.0.1:10469"'),
            "list: two boxes have the address '10.0.0.1:10469'; remove one, or correct it",
        ),
        (
            box(*ONE, 'labels = { role = "van" }'),
            "list: box[1].labels = {'role': 'van'} is not valid; expected another name than role, which"
            " metrics have for something else; box_role, for example",
        ),
        (
            '[labels]\njob = "x"\n' + box(*ONE),
            "list: labels = {'job': 'x'} is not valid; expected another name than job",
        ),
        (box(*ONE, "labels = { site = 7 }"), "expected a text of at most 200 characters for site, in quotes"),
        (
            box(*ONE, 'labels = { __scheme__ = "https" }'),
            "expected names of letters, digits and '_', without '__' before them; not '__scheme__'",
        ),
        (box(*ONE, 'labels = { "a-b" = "c" }'), "expected names of letters, digits and '_'"),
        (box(*ONE, 'labels = "a"'), "expected labels, as in { site = "),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        fleet.read(text, Mistakes("list"))
    assert message in without_line(error.value)


def test_all_mistakes_are_named_with_their_lines() -> None:
    mistakes = Mistakes("list", all_of_them=True)
    lines = [
        "[labels]",
        'role = "van"',
        "[[box]]",
        'name = "a"',
        'address = "10.0.0.1"',
        "[[box]]",
        'name = "a"',
        'address = "10.0.0.1"',
        "[[box]]",
        'name = "b"',
        "[[box]]",
        'name = "c"',
        'address = "10.0.0.3"',
        "colour = 7",
    ]
    boxes = fleet.read("\n".join(lines), mistakes)
    assert [str(mistake).partition(";")[0] for mistake in mistakes.found] == [
        "list:1: labels = {'role': 'van'} is not valid",
        "list:7: two boxes have the name 'a'",
        "list:8: two boxes have the address '10.0.0.1:10469'",
        "list:9: box[3] lacks the key 'address'",
        "list:14: box[4] has an unknown key 'colour'",
    ]
    assert [box.name for box in boxes] == ["a", "a", "c"], "what could be read"
    mistakes = Mistakes("list", all_of_them=True)
    assert fleet.read("[box]", mistakes) == ()
    assert len(mistakes.found) == 1


def test_the_names_that_are_taken_are_those_of_the_metrics() -> None:
    """Prometheus would rename the metrics' own label to exported_..."""
    rows = re.findall(
        r"^\| `netbond_\w+` \| \w+ \| ([^|]*) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE
    )
    of_metrics = {name.strip() for row in rows for name in row.split(",")} - {""}
    assert fleet.TAKEN - {"alertname", "alertstate", "instance", "job"} == of_metrics


def test_the_example_in_the_documentation_is_valid_and_makes_what_stands_there() -> None:
    page = (DOCS / "fleet.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert (
        f"$ netbond fleet sd boxes.toml\n{fleet.target_groups(fleet.read(example, Mistakes('list')))}```"
        in page
    )
