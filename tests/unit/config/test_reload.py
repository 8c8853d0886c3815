"""Which keys of the configuration a reload applies, and which need a restart."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from netbond.config.load import parse
from netbond.config.reload import reloaded
from netbond.config.schema import REPEATED, SINGLE, Config

NEED_RESTART = {
    "agent.control_socket": '"/run/other.sock"',
    "agent.metrics": '""',
    "agent.state_dir": '"/run/other"',
    "agent.data_dir": '"/var/lib/other"',
    "agent.user": '"daemon"',
    "agent.networkmanager": "false",
    "agent.modemmanager": "false",
    "routing.protocol": "79",
}


def test_which_keys_need_a_restart() -> None:
    marked = [
        f"{table}.{f.name}" for table, cls in SINGLE.items() for f in fields(cls) if f.metadata["restart"]
    ]
    assert marked == list(NEED_RESTART)


def test_no_key_of_a_repeated_table_needs_a_restart() -> None:
    """`reloaded` could not say which [[uplink]] of before is which of now."""
    assert not [f.name for cls in REPEATED.values() for f in fields(cls) if f.metadata["restart"]]


@pytest.mark.parametrize(("name", "value"), NEED_RESTART.items())
def test_a_key_that_needs_a_restart_keeps_its_value_and_is_named(name: str, value: str) -> None:
    table, _, key = name.partition(".")
    new = parse(f"[{table}]\n{key} = {value}")
    assert new != Config()
    assert reloaded(Config(), new) == (Config(), (name,))


def test_all_other_keys_are_applied() -> None:
    old = parse('[agent]\ndata_dir = "/srv/old"\nlog_level = "debug"')
    new = parse(
        '[agent]\ndata_dir = "/srv/new"\non_stop = "keep"\n[health]\ninterval = 7\n[[uplink]]\nmatch = "usb0"'
    )
    applied, names = reloaded(old, new)
    assert names == ("agent.data_dir",)
    assert applied == replace(new, agent=replace(new.agent, data_dir=old.agent.data_dir))


def test_several_keys_are_named_in_the_order_of_the_tables() -> None:
    new = parse('[routing]\nprotocol = 99\n[agent]\nuser = "daemon"\nmetrics = ""')
    assert reloaded(Config(), new) == (Config(), ("agent.metrics", "agent.user", "routing.protocol"))


def test_nothing_has_changed() -> None:
    config = parse('[[uplink]]\nmatch = "usb0"')
    assert reloaded(config, config) == (config, ())
