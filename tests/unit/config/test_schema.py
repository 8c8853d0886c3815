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
    KeyConfig,
    ReceiverConfig,
    SenderConfig,
    ServerConfig,
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


def test_a_command_is_asked_less_often_and_waited_for_longer() -> None:
    check = '[health]\nchecks = ["x"]\n[[check]]\nname = "x"\nkind = "command"\ncommand = ["/bin/true"]\n'
    (plain,) = parse(check).chain(None)
    assert (plain.interval, plain.timeout, plain.user) == (30.0, 10.0, "nobody")
    (quick,) = parse(f"{check}interval = 1\ntimeout = 2").chain(None)
    assert (quick.interval, quick.timeout) == (1.0, 2.0)


def test_a_check_of_ones_own_replaces_a_built_in_one() -> None:
    config = parse('[health]\nchecks=["icmp"]\n[[check]]\nname="icmp"\nkind="icmp"\ntargets=["192.0.2.1"]')
    assert [check.targets for check in config.chain(None)] == [("192.0.2.1",)]


@pytest.mark.parametrize("check", BUILT_IN_CHECKS, ids=lambda check: str(check.name))
def test_built_in_checks_are_what_a_user_could_have_written(check: CheckConfig) -> None:
    assert check.name == check.kind
    for target in check.targets:
        parse_target(check.kind, target)


SERVERS = """
[[receiver]]
listen = "0.0.0.0:5000"
srt = "127.0.0.1:5002"
[[receiver.server]]
pattern = "studio/*"
srt = "127.0.0.1:5003"
[[receiver.server]]
pattern = "#!::r=b,x=1"
srt = "127.0.0.1:5002"
"""


def test_the_srt_servers_of_a_receiver() -> None:
    (receiver,) = parse(SERVERS).receiver
    assert [str(each) for each in receiver.server] == [
        "studio/*=127.0.0.1:5003",
        "#!::r=b,x=1=127.0.0.1:5002",
    ]
    assert tuple(ServerConfig.parse(str(each)) for each in receiver.server) == receiver.server
    assert [str(each) for each in receiver.servers] == ["127.0.0.1:5002", "127.0.0.1:5003"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('pattern = "studio/*"\n', "", "receiver[1].server[1] lacks the key 'pattern'; add pattern = ..."),
        (
            '"studio/*"',
            '""',
            "receiver[1].server[1].pattern = '' is not valid; expected a pattern for stream",
        ),
        ('"studio/*"', '"a\\n"', "is not valid; expected a pattern for stream ids, like 'live/*'"),
        ("5003", "0", "receiver[1].server[1].srt = '127.0.0.1:0' is not valid; expected 'host:port'"),
        ("5003", "5000", "has srt = '127.0.0.1:5000', which is itself; name the port of the SRT server"),
        ("pattern =", "pattren =", "receiver[1].server[1] has an unknown key 'pattren'; did you mean 'patt"),
    ],
)
def test_an_srt_server_that_is_wrong_is_named(old: str, new: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SERVERS.replace(old, new, 1))
    assert error in str(caught.value)


@pytest.mark.parametrize("value", ["1", "[1]", '"a"', "{pattern = 1}"])
def test_tables_within_a_table_are_written_as_such(value: str) -> None:
    own = '[[receiver]]\nlisten = "0.0.0.0:5000"\nsrt = "127.0.0.1:5002"\n'
    with pytest.raises(ConfigError, match=r"write each as a table, \[\[receiver.server\]\]"):
        parse(f"{own}server = {value}\n")
    tables = '[[receiver.server]]\npattern = "a"\nsrt = "127.0.0.1:5003"\n' * 65
    with pytest.raises(ConfigError, match=r"receiver\[1\].server has 65 tables; 64 are the limit"):
        parse(own + tables)


KEYS = """
[[receiver]]
listen = "0.0.0.0:5000"
srt = "127.0.0.1:5002"
require_key = true
[[receiver.key]]
name = "alice"
file = "/etc/netbond/alice"
[[receiver.key]]
name = "bob"
file = "/etc/netbond/b=b"
"""


def test_the_keys_of_a_receiver() -> None:
    (receiver,) = parse(KEYS).receiver
    assert [str(each) for each in receiver.key] == ["alice=/etc/netbond/alice", "bob=/etc/netbond/b=b"]
    assert tuple(KeyConfig.parse(str(each)) for each in receiver.key) == receiver.key


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"bob"', '"alice"', "receiver 0.0.0.0:5000 has two keys named 'alice'; give each a name of its own"),
        ('"bob"', '"b=b"', "receiver[1].key[2].name = 'b=b' is not valid; expected a name of letters"),
        ('"/etc/netbond/alice"', '"alice"', "receiver[1].key[1].file = 'alice' is not valid"),
        (KEYS[KEYS.index("[[receiver.key") :], "", "has require_key and no key_file; add key_file = ..."),
    ],
)
def test_a_key_that_is_wrong_is_named(old: str, new: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(KEYS.replace(old, new, 1))
    assert error in str(caught.value)
