"""[router] in the configuration: what is accepted, and what is said of what is not."""

from __future__ import annotations

import pytest

from netbond.config.load import parse
from netbond.errors import ConfigError
from tests.unit.config.wrong import without_line

REFUSED = [
    ('lan = "eth1"', "router.lan = 'eth1' is not valid; expected a list of interface names or patterns"),
    ('lan = ["a b"]', "router.lan = ['a b'] is not valid; expected an interface name or a pattern"),
    ("mark_mask = 0xff00ff", "router.mark_mask = 16711935 is not valid; expected a mask of 8"),
    ("mark_mask = 0x7f000000", "router.mark_mask = 2130706432 is not valid; expected a mask of 8"),
    ('ipv6 = "on"', "router.ipv6 = 'on' is not valid; expected one of 'off', 'masquerade', 'forward'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_configuration_errors(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[router]\n{text}", "f.toml")
    assert without_line(caught.value).startswith(f"f.toml: {says}")


@pytest.mark.parametrize("mask", ["0xff000000", "0x1fe", "0xffffffff", "0xff"])
def test_masks(mask: str) -> None:
    assert parse(f"[router]\nmark_mask = {mask}").router.mark_mask == int(mask, 16)
