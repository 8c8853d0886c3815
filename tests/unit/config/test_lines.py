"""The lines of tables and keys in a TOML text."""

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from netbond.config.lines import line_numbers, line_of

TEXT = """\
# [not] = "a table"
title = "x"
[agent]
ip_list = "/x"   # why
"log_level" = "info"

[[uplink]]
match = { path = "*1.2*", driver = "x" }
checks = [
    "gateway",  # weight = 3
    "icmp",
]
note = '''
[agent]
weight = 5
'''
[[uplink]]
  weight = 2
[[receiver]]
[[receiver.key]]
name = "a"
[[receiver.key]]
name = "b"
[[receiver]]
[[receiver.key]]
name = "c"
[sender.encoder] # a comment
"""


def test_each_table_and_key_has_its_line() -> None:
    tomli.loads(TEXT)
    assert line_numbers(TEXT) == {
        "title": 2,
        "agent": 3,
        "agent.ip_list": 4,
        "agent.log_level": 5,
        "uplink[1]": 7,
        "uplink[1].match": 8,
        "uplink[1].checks": 9,
        "uplink[1].note": 13,
        "uplink[2]": 17,
        "uplink[2].weight": 18,
        "receiver[1]": 19,
        "receiver[1].key[1]": 20,
        "receiver[1].key[1].name": 21,
        "receiver[1].key[2]": 22,
        "receiver[1].key[2].name": 23,
        "receiver[2]": 24,
        "receiver[2].key[1]": 25,
        "receiver[2].key[1].name": 26,
        "sender.encoder": 27,
    }


@pytest.mark.parametrize(
    ("where", "line"),
    [("uplink[1].match.path", 8), ("uplink[2].match", 17), ("uplink[3].match", 0), ("", 0), ("nothing", 0)],
)
def test_what_has_no_line_has_that_of_what_it_is_in(where: str, line: int) -> None:
    assert line_of(where, line_numbers(TEXT)) == line


@given(st.text(alphabet="a[]=\"'\n#{}, .\\", max_size=80))
def test_no_text_is_too_much(text: str) -> None:
    lines = text.splitlines()
    assert all(1 <= line <= len(lines) for line in line_numbers(text).values())
