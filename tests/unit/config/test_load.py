"""The configuration file: what it means, and what a user is told who got it wrong."""

import argparse
import os
from pathlib import Path

import pytest

from netbond.config.load import LARGEST, config_argument, default_path, load, parse, read
from netbond.config.mistakes import Mistakes
from netbond.config.schema import Config, EncoderConfig
from netbond.config.values import HostPort
from netbond.errors import ConfigError
from tests.unit.config.wrong import without_line

FULL = """
[agent]
ip_list = "/tmp/srtla_ips"
control_socket = "/run/netbond/control.sock"
metrics = "127.0.0.1:10469"
state_dir = "/run/netbond"

[[uplink]]
match = "usb*"
weight = 1
gateway = "auto"
enabled = true

[[sender]]
listen = "127.0.0.1:6000"
receiver = "bond.example.org:5000"

[[receiver]]
listen = "0.0.0.0:5000"
srt = "127.0.0.1:5002"
"""


def test_full_file() -> None:
    config = parse(FULL)
    assert config.agent.ip_list == Path("/tmp/srtla_ips")
    assert config.agent.metrics == HostPort("127.0.0.1", 10469)
    (uplink,) = config.uplink
    assert (uplink.match, uplink.weight, uplink.gateway, uplink.enabled) == ("usb*", 1, ("auto",), True)
    assert config.sender[0].receiver == HostPort("bond.example.org", 5000)
    assert config.receiver[0].listen == HostPort("0.0.0.0", 5000)


def test_the_keys_others_rely_on_are_the_defaults() -> None:
    assert parse(FULL).agent == Config().agent


def test_an_empty_string_turns_off() -> None:
    agent = parse('[agent]\nmetrics = ""\nip_list = ""').agent
    assert agent.metrics is None
    assert agent.ip_list is None


def test_a_weight_that_follows_what_is_measured() -> None:
    (uplink,) = parse('[[uplink]]\nmatch = "usb*"\nweight = "auto"').uplink
    assert uplink.weight == "auto"


RECEIVER = '[[receiver]]\nlisten = "[::1]:5000"\nsrt = "h:1"\n'

REFUSED = [
    ("[agent]\nmetrics = 5\n", "f.toml: agent.metrics = 5 is not valid; expected a string"),
    ('[agent]\nip_lst = "/x"', "f.toml: agent has an unknown key 'ip_lst'; did you mean 'ip_list'?"),
    ("[agnet]\n", "f.toml: unknown table 'agnet'; did you mean 'agent'?"),
    ('[agent]\nstate_dir = "run"', "f.toml: agent.state_dir = 'run' is not valid; expected an abs"),
    ('[uplink]\nmatch = "usb*"', "f.toml: [uplink] is a single table; write it as [[uplink]]"),
    ("[[uplink]]\nweight = 2", "f.toml: uplink[1] lacks the key 'match'; add match = ..."),
    (
        '[[uplink]]\nmatch = "a"\n[[uplink]]\nmatch = "b"\nweight = 0',
        "f.toml: uplink[2].weight = 0 is not valid; expected a whole number from 1 to 256",
    ),
    (
        '[[uplink]]\nmatch = "a"\nweight = true',
        "f.toml: uplink[1].weight = True is not valid; expected a whole number from 1 to 256",
    ),
    (
        '[[uplink]]\nmatch = "a"\ngateway = "10.0.0"',
        "f.toml: uplink[1].gateway = '10.0.0' is not valid;"
        " expected 'auto', 'none' (point-to-point), an IP address",
    ),
    (
        '[[sender]]\nlisten = "6000"\nreceiver = "h:1"',
        "f.toml: sender[1].listen = '6000' is not valid; expected 'host:port' with a port from 1 to 65535"
        " (IPv6 in brackets: '[::1]:5000')",
    ),
    (
        '[[sender]]\nlisten = "h:1"\nreceiver = "h:1"',
        "f.toml: sender[1].listen = 'h:1' is not valid;"
        " expected an address of this box and a port, like '127.0.0.1:6000' or '[::]:5000'",
    ),
    ("[agent\n", "f.toml: not valid TOML: "),
    ("agent = 1\n", "f.toml: agent is 1; write it as a table, [agent]"),
    (
        '[[sender]]\nlisten="[::1]:6000"\nreceiver="h:1"\nlatency = 19',
        "f.toml: sender[1].latency = 19 is not valid; expected 0 or milliseconds from 20 to 8000",
    ),
    (
        '[[receiver]]\nlisten="[::1]:6000"\nsrt="h:1"\nworkers = 0',
        "f.toml: receiver[1].workers = 0 is not valid; expected a whole number from 1 to 64",
    ),
    (
        '[[sender]]\nlisten="[::1]:6000"\nreceiver="h:1"\nencoder = "/run/br"',
        "f.toml: sender[1].encoder is '/run/br'; write it as a table, [sender.encoder]",
    ),
    (
        '[[sender]]\nlisten="[::1]:6000"\nreceiver="h:1"\n[sender.encoder]\nbitrate_min = "1M"',
        "f.toml: sender[1].encoder lacks the key 'bitrate_file'; add bitrate_file = ...",
    ),
    (
        '[[sender]]\nlisten="[::1]:6000"\nreceiver="h:1"\n[sender.encoder]\nbitrate_file="/b"\nbitrate_min=5',
        "f.toml: sender[1].encoder.bitrate_min = 5 is not valid; expected bit/s from 300000 to 30000000, as",
    ),
    (
        RECEIVER + 'key = "secret"',
        "f.toml: receiver[1].key is 'secret'; write each as a table, [[receiver.key]]",
    ),
    (
        RECEIVER + '[[receiver.key]]\nname = "a"\nfile = "/a"\n' * 65,
        "f.toml: receiver[1].key has 65 tables; 64 are the limit",
    ),
    (
        RECEIVER + '[[receiver.key]]\nname = "a"\nfile = "a"\n',
        "f.toml: receiver[1].key[1].file = 'a' is not valid; expected an absolute path",
    ),
]  # fmt: skip


def test_a_table_inside_of_a_table_belongs_to_the_one_before() -> None:
    text = """
        [[sender]]
        listen = "127.0.0.1:6000"
        receiver = "h:1"
        [sender.encoder]
        bitrate_file = "/run/br"
        bitrate_min = 400000
        bitrate_max = "6.5M"
        bitrate_overhead = 0

        [[sender]]
        listen = "127.0.0.1:6001"
        receiver = "h:1"
        """
    first, second = parse(text).sender
    assert first.encoder == EncoderConfig(Path("/run/br"), 400_000, 6_500_000, 0.0)
    assert second.encoder is None


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_errors_name_file_key_value_and_remedy(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.toml")
    assert without_line(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 78


def test_all_mistakes_are_collected_if_they_are_wanted() -> None:
    """What can be made is made beside them."""
    text = "agent = 1\n[sundries]\n[routing]\nipv6 = false\n[[receiver]]\nlisten = 'h:1'\nkey = 2\nkye = 3\n"
    mistakes = Mistakes("f.toml", all_of_them=True)
    config = read(text, mistakes)
    assert [str(each).split("; ")[0] for each in mistakes.found] == [
        "f.toml:2: unknown table 'sundries'",
        "f.toml:1: agent is 1",
        "f.toml:6: receiver[1].listen = 'h:1' is not valid",
        "f.toml:7: receiver[1].key is 2",
        "f.toml:8: receiver[1] has an unknown key 'kye'",
        "f.toml:5: receiver[1] lacks the key 'srt'",
    ]
    assert not config.routing.ipv6
    assert config.receiver == ()


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: no such file"):
        load(tmp_path / "x.toml")


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"x\.toml: not UTF-8 at byte 0"):
        load(tmp_path / "x.toml")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO that nobody writes to would hold up a start for ever."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "large").write_bytes(b"#" * (LARGEST + 1))
    for path, why in (
        (tmp_path / "fifo", "fifo is not a regular file"),
        (tmp_path, "is not a regular file"),
        (tmp_path / "loop", "loop: symbolic links lead in a circle"),
        (tmp_path / "large", "large is larger than 1048576 bytes"),
    ):
        with pytest.raises(ConfigError, match=why):
            load(path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text('[agent]\nlog_level = "debug"')
    (tmp_path / "link").symlink_to("real")
    assert load(tmp_path / "link").agent.log_level == "debug"


@pytest.mark.root
def test_root_reads_no_file_that_everybody_can_write(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[agent]\nlog_level = "debug"')
    file.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == (f"{file} is not read: {file} is writable by everybody; chmod o-w {file}")
    file.chmod(0o664)
    assert load(file).agent.log_level == "debug"


def test_users_read_what_they_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.toml"
    file.touch()
    file.chmod(0o666)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load(file) == Config()


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000])
def test_what_no_parser_can_bear_is_an_error_in_a_line(value: str) -> None:
    """On a reload it would end the agent."""
    with pytest.raises(ConfigError, match="not valid TOML"):
        parse(f"a = {value}", "f.toml")


def test_the_default_place_may_be_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("netbond.config.load.DEFAULT_PATH", tmp_path / "netbond.toml")
    assert load(None) == Config()
    (tmp_path / "netbond.toml").write_text('[agent]\nlog_level = "debug"')
    assert load(None).agent.log_level == "debug"


def test_which_file_the_environment_and_the_command_line_name() -> None:
    assert default_path({}) is None
    assert default_path({"NETBOND_CONFIG": "/etc/x.toml"}) == Path("/etc/x.toml")
    parser = argparse.ArgumentParser()
    config_argument(parser)
    assert parser.parse_args(["--config", "y.toml"]).config == Path("y.toml")
