"""Budgets and kernel settings in the configuration file."""

import pytest

from netbond.config.load import parse
from netbond.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"50GB"', 50 * 10**9),
        ('"50GiB"', 50 * 2**30),
        ('"1.5 TB"', 1_500_000_000_000),
        ('"0.5MiB"', 2**19),
        ('"512MB"', 512_000_000),
        ('""', 0),
        ("0", 0),
    ],
)
def test_budgets(text: str, expected: int) -> None:
    uplink = parse(f'[[uplink]]\nmatch = "usb0"\nbudget = {text}').uplink[0]
    assert (uplink.budget, uplink.budget_day, uplink.budget_action) == (expected, 1, "warn")


REFUSED = ['"50"', '"GB"', '"50gb"', '"-5GB"', '"5e9GB"', "50", "false", '"1,5GB"']


@pytest.mark.parametrize("text", REFUSED)
def test_budgets_that_could_be_misread(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a number and one of MB, GB, TB, MiB, GiB, TiB, like '50GB'"):
        parse(f'[[uplink]]\nmatch = "usb0"\nbudget = {text}')


@pytest.mark.parametrize("line", ["budget_day = 0", "budget_day = 32", 'budget_action = "stop"'])
def test_budget_errors(line: str) -> None:
    with pytest.raises(ConfigError, match=line.split(" ", maxsplit=1)[0]):
        parse(f'[[uplink]]\nmatch = "usb0"\n{line}')


def test_sysctl_errors() -> None:
    with pytest.raises(ConfigError, match="one of 'keep', 'addresses', 'flows'"):
        parse('[sysctl]\nmultipath_hash = "1"')
