"""[health], [[check]] and the checks of an [[uplink]]: what they mean, and what a user is told."""

from __future__ import annotations

import pytest

from netbond.config.load import parse
from netbond.config.schema import BUILT_IN_CHECKS, CheckConfig, Config
from netbond.config.targets import parse as parse_target
from netbond.errors import ConfigError


def names(config: Config, of: tuple[str, ...] | None = None) -> list[str]:
    return [check.name for check in config.chain(of)]


def test_without_a_word_only_the_gateway_is_asked() -> None:
    (check,) = parse("").chain(None)
    assert (check.kind, check.targets, check.interval, check.timeout) == ("gateway", (), 5.0, 2.0)


def test_a_chain_of_ones_own() -> None:
    config = parse(
        """
        [health]
        checks = ["gateway", "portal"]
        interval = 2
        timeout = 0.5

        [[check]]
        name = "portal"
        kind = "http"
        targets = ["http://check.example.org/ok"]
        expect = 200
        interval = 30

        [[uplink]]
        match = "usb*"
        checks = ["icmp"]

        [[uplink]]
        match = "eth*"
        checks = []
        """
    )
    gateway, portal = config.chain(None)
    assert (gateway.interval, gateway.timeout) == (2.0, 0.5)
    assert (portal.interval, portal.timeout, portal.expect) == (30.0, 0.5, 200)
    assert names(config, config.uplink[0].checks) == ["icmp"]
    assert names(config, config.uplink[1].checks) == []


def test_a_check_of_ones_own_replaces_a_built_in_one() -> None:
    config = parse('[health]\nchecks=["icmp"]\n[[check]]\nname="icmp"\nkind="icmp"\ntargets=["192.0.2.1"]')
    assert [check.targets for check in config.chain(None)] == [("192.0.2.1",)]


@pytest.mark.parametrize("check", BUILT_IN_CHECKS, ids=lambda check: str(check.name))
def test_built_in_checks_are_what_a_user_could_have_written(check: CheckConfig) -> None:
    assert check.name == check.kind
    for target in check.targets:
        parse_target(check.kind, target)


CHECK = '[[check]]\nname="x"\n'


REFUSED = [
    (
        '[health]\nchecks = ["gatway"]',
        "f: health.checks names 'gatway', which is no check; did you mean 'gateway'?",
    ),
    (
        '[[uplink]]\nmatch = "a"\nchecks = ["bank"]',
        "f: uplink[1].checks names 'bank', which is no check;"
        " add a [[check]] of that name, or choose from gateway, icmp, tcp, dns, http",
    ),
    ('[health]\nchecks = "icmp"', "f: health.checks = 'icmp' is not valid; expected a lis"),
    ('[health]\nchecks = ["icmp", "icmp"]', "f: health.checks = ['icmp', 'icmp'] is not valid"),
    ("[health]\ninterval = 0.1", "f: health.interval = 0.1 is not valid; expected a number"),
    ("[health]\ninterval = nan", "f: health.interval = nan is not valid; expected a number from 0.2"),
    ("[health]\ninterval = true", "f: health.interval = True is not valid; expected a number from 0.2"),
    ("[health]\ndown_after = 0", "f: health.down_after = 0 is not valid; expected a whole number from 1"),
    (
        "[health]\nhold_down = 500",
        "f: health.hold_down = 500 is more than hold_down_max = 300; make hold_down_max the larger one",
    ),
    (
        '[health]\nresolvers = ["dns.google"]',
        "f: health.resolvers = ['dns.google'] is not valid; expected a list of addresses of DNS servers",
    ),
    ("[health]\nenabled = false", "f: health has an unknown key 'enabled'"),
    ('[[check]]\nname = "x"', "f: check[1] lacks the key 'kind'; add kind = ..."),
    (CHECK + 'kind = "ping"', "f: check[1].kind = 'ping' is not valid; expected one of 'gateway'"),
    (CHECK + 'kind = "icmp"', "f: check[1] has no targets; add targets = [...], addresses or host names"),
    (
        CHECK + 'kind = "http"\ntargets = ["https://a.b/"]',
        "f: check[1].targets: 'https://a.b/' is not valid for kind = 'http'; expected plain 'http://host/p",
    ),
    (
        CHECK + 'kind = "gateway"\ntargets = ["10.0.0.1"]',
        "f: check[1].targets: '10.0.0.1' is not valid for kind = 'gateway'; expected no ta",
    ),
    (
        CHECK + 'kind = "icmp"\ntargets = ["1.1.1.1"]\nquery = "a.example"',
        "f: check[1].query is for kind = 'dns' only; leave it out",
    ),
    (
        CHECK + 'kind = "tcp"\ntargets = ["1.1.1.1:1"]\nexpect = 200',
        "f: check[1].expect is for kind = 'http' only; leave it out",
    ),
    (CHECK + 'kind = "dns"\ntargets = ["1.1.1.1"]\nquery = "1.1.1.1"', "f: check[1].query = '1.1.1.1'"),
    (
        CHECK + 'kind = "icmp"\ntargets = ["1.1.1.1"]\ninterval = 0.1',
        "f: check[1]: interval = 0.1, timeout = 0 is too short; an interval is at least 0.2 s",
    ),
    (CHECK + 'kind = "gateway"\n' + CHECK + 'kind = "gateway"', "f: two checks are named 'x'; give"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_errors(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_a_query_and_a_status_may_be_said_where_they_belong() -> None:
    parse(CHECK + 'kind = "dns"\ntargets = ["1.1.1.1"]\nquery = "a.example"')
    parse(CHECK + 'kind = "http"\ntargets = ["http://a.example"]\nexpect = 200')
