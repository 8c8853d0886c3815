"""Mistakes in a configuration: all at once, each with its line."""

import pytest

from netbond.config.load import parse, read
from netbond.config.mistakes import Mistakes
from netbond.errors import ConfigError


def mistakes_of(text: str) -> list[str]:
    mistakes = Mistakes("f", all_of_them=True)
    read(text, mistakes)
    return [str(each) for each in mistakes.found]


def test_all_of_them() -> None:
    assert mistakes_of(
        "[agent]\nrealtime = 1\nlog_level = 'loud'\n[[uplink]]\nmatch = 'a'\nlabel = 'x'\n[[uplink]]\n"
        "match = 'b'\nlabel = 'x'\nchecks = ['pong']\n[[uplink]]\nmatch = 'c*'\nlabel = 'y'\n"
    ) == [
        "f:2: agent.realtime = 1 is not valid; expected true or false",
        "f:3: agent.log_level = 'loud' is not valid; expected one of 'debug', 'info', 'warning', 'error'",
        "f:9: label 'x' is given twice; each interface needs a label of its own",
        "f:13: uplink 'c*' sets label = 'y' for a pattern; a table and a label belong to one interface: match"
        " path, serial, mac or exact name",
        "f:10: uplink[2].checks names 'pong', which is no check; add a [[check]] of that name, or choose from"
        " gateway, icmp, tcp, dns, http",
    ]


def test_tables_are_not_compared_while_one_is_missing() -> None:
    """It would be called by a wrong number."""
    text = "[[uplink]]\nweight = 1\n[[uplink]]\nmatch = 'b*'\nlabel = 'x'\n"
    assert mistakes_of(text) == ["f:1: uplink[1] lacks the key 'match'; add match = ..."]


def test_a_required_key_that_is_mistyped_is_one_mistake() -> None:
    (only,) = mistakes_of("[[uplink]]\nmatsh = 'a'\n")
    assert only == "f:2: uplink[1] has an unknown key 'matsh'; did you mean 'match'?"


def test_a_long_value_is_cut_short() -> None:
    (only,) = mistakes_of(f"[agent]\nlog_level = '{'x' * 100_000}'\n")
    assert len(only) < 400


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("ip_list_ipv6 = True", "write true, in small letters"),
        ("ip_list_ipv6 = False", "write false, in small letters"),
        ("ip_list_ipv6 = yes", "write true"),
        ("ip_list_ipv6 = off # no", "write false"),
        ("ip_list = \u201c/tmp/x\u201d", 'write straight quotes: "usb0"'),
        ("ip_list = /tmp/x", 'write text in quotes: "usb0"'),
        ("ip_list = None", "leave the key out"),
        ("metrics = 127.0.0.1:10469", 'write an address in quotes: "192.168.8.1"'),
        ("budget = 50GB", 'write a number with a unit in quotes: "50GB"'),
        ("ip_list: '/tmp/x'", "write key = value"),
        ("// a comment", "a comment begins with #"),
        ("[[uplink]", "close the brackets: [table] or [[table]]"),
        ("ip_list =", "write a value after the ="),
        ('ip_list = "/tmp', "correct that line"),
    ],
)
def test_what_people_write_who_know_other_formats(line: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[agent]\n{line}\n[health]\n", "f")
    assert str(caught.value).startswith("f:2: not valid TOML: ")
    assert str(caught.value).endswith(f"; {hint}")


def test_what_is_not_closed() -> None:
    with pytest.raises(ConfigError, match=r"f: not valid TOML: .*; close the quote or bracket that is open"):
        parse("[agent]\nip_list = '/tmp", "f")


def test_a_byte_order_mark() -> None:
    with pytest.raises(ConfigError, match="f: it begins with a byte order mark; save it as UTF-8"):
        parse("\ufeff[agent]\n", "f")


def warnings_of(*patterns: str) -> list[str]:
    mistakes = Mistakes("f", all_of_them=True)
    read("".join(f"[[uplink]]\nmatch = '{pattern}'\n" for pattern in patterns), mistakes)
    return [str(each).partition(";")[0] for each in mistakes.warnings]


def test_a_pattern_behind_one_that_takes_all() -> None:
    taken = "f:4: it never applies: uplink[1], which stands before it, takes the same interfaces"
    assert warnings_of("usb*", "usb0") == [taken]
    assert warnings_of("usb0", "usb*") == []
    assert warnings_of("usb?", "usb*") == []
    assert warnings_of("eth0.*", "^usb[0-9]+$") == [
        "f:4: '^usb[0-9]+$' looks like a regular expression, and is none: it matches no interface"
    ]


def test_the_first_given_key_is_the_place() -> None:
    mistakes = Mistakes("f", {"a.y": 3, "a.x": 5})
    assert mistakes.first("a", ["x", "y"]) == "a.y"
    assert mistakes.first("b", ["x", "y"]) == "b.x"
