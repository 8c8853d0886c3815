"""The tables of the configuration: their defaults, and the chain of checks that names stand for."""

from __future__ import annotations

from dataclasses import fields

import pytest

from netbond.config.load import parse
from netbond.config.schema import (
    BUILT_IN_CHECKS,
    REPEATED,
    SINGLE,
    CheckConfig,
    Config,
    ReceiverConfig,
    SenderConfig,
    SysctlConfig,
    UplinkConfig,
)
from netbond.config.targets import parse as parse_target
from netbond.config.values import HostPort
from netbond.errors import ConfigError


def test_every_table_of_the_file_is_a_part_of_the_configuration() -> None:
    assert {part.name for part in fields(Config)} == set(SINGLE) | set(REPEATED)


def test_what_the_documentation_calls_a_default_may_be_written() -> None:
    for table, cls in SINGLE.items():
        for key in fields(cls):
            assert getattr(cls(), key.name) == key.metadata["kind"](key.metadata["default"]), table
    written = 'table = 0\nlabel = ""\nbudget = 0\nchecks = ""\ngateway = "auto"'
    assert parse(f'[[uplink]]\nmatch = "usb*"\n{written}').uplink == (UplinkConfig("usb*"),)
    with pytest.raises(ConfigError, match="table = 253 is not valid; expected 0 or a whole number from 1 to"):
        parse('[[uplink]]\nmatch = "usb0"\ntable = 253')


def test_sysctls() -> None:
    assert Config().sysctl == SysctlConfig(
        rp_filter=True,
        linkdown=True,
        multipath_hash="keep",
        use_neigh=False,
        socket_buffers=64 * 2**20,
        forwarding=True,
    )


def test_engines_are_called_by_what_they_listen_on() -> None:
    here, there = HostPort("::", 5000), HostPort("a.example", 1)
    assert SenderConfig(listen=here, receiver=there).name == "sender [::]:5000"
    assert SenderConfig(listen=here, receiver=there).receivers == (there,)
    assert SenderConfig(listen=here, receiver=(there, here)).receivers == (there, here)
    assert ReceiverConfig(listen=here, srt=there).name == "receiver [::]:5000"


# --- chains of checks --------------------------------------------------------------------------------------


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
