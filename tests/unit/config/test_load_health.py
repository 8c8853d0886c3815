"""[health], [[check]] and the checks of an [[uplink]]: what they mean, and what a user is told."""

from __future__ import annotations

import pytest

from netbond.config.load import parse
from netbond.errors import ConfigError
from tests.unit.config.wrong import without_line

CHECK = '[[check]]\nname="x"\n'

REFUSED = [
    ('[health]\nchecks = "icmp"', "f: health.checks = 'icmp' is not valid; expected a lis"),
    ('[health]\nchecks = ["icmp", "icmp"]', "f: health.checks = ['icmp', 'icmp'] is not valid"),
    ("[health]\ninterval = 0.1", "f: health.interval = 0.1 is not valid; expected a number"),
    ("[health]\ninterval = nan", "f: health.interval = nan is not valid; expected a number from 0.2"),
    ("[health]\ninterval = true", "f: health.interval = True is not valid; expected a number from 0.2"),
    ("[health]\ndown_after = 0", "f: health.down_after = 0 is not valid; expected a whole number from 1"),
    (
        '[health]\nresolvers = ["dns.google"]',
        "f: health.resolvers = ['dns.google'] is not valid; expected a list of addresses of DNS servers",
    ),
    ("[health]\nenabled = false", "f: health has an unknown key 'enabled'"),
    ('[[check]]\nname = "x"', "f: check[1] lacks the key 'kind'; add kind = ..."),
    (CHECK + 'kind = "ping"', "f: check[1].kind = 'ping' is not valid; expected one of 'gateway'"),
    (CHECK + 'kind = "dns"\ntargets = ["1.1.1.1"]\nquery = "1.1.1.1"', "f: check[1].query = '1.1.1.1'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_errors(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert without_line(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
