"""The options of `netbond send` and `netbond recv`: the agent's are understood, all are checked."""

from __future__ import annotations

import argparse
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from netbond.cli import recv, send
from netbond.cli.engine_options import (
    WORDS,
    address_port,
    given,
    host_name,
    host_port,
    key_of,
    keys_of,
    port_number,
    stats_key_of,
)
from netbond.config.schema import EncoderConfig, KeyConfig, ReceiverConfig, SenderConfig, ServerConfig
from netbond.config.values import HostPort
from netbond.engines.child import EngineConfig, engine_arguments
from netbond.errors import UsageError

WHERE = HostPort("127.0.0.1", 6000)
KEY = Path("/etc/netbond/key")


def parsed(engine: type[EngineConfig], *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    (send if engine is SenderConfig else recv).configure(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "engine",
    [
        SenderConfig(WHERE, WHERE),
        SenderConfig(
            *(WHERE, WHERE),
            mode="classic",
            latency=300,
            key_file=KEY,
            require_key=True,
            probe_metered=True,
            show_stream_ids=True,
        ),
        ReceiverConfig(WHERE, WHERE),
        ReceiverConfig(
            *(WHERE, WHERE),
            timeout=5.5,
            group_timeout=60.0,
            groups=300,
            groups_per_source=50,
            group_dir=Path("/run/g"),
            server=(ServerConfig("live/*", WHERE), ServerConfig("#!::r=a,m=b", WHERE)),
            key=(KeyConfig("alice", KEY), KeyConfig("bob", Path("/etc/b=b"))),
            workers=3,
            srtla_stats=True,
            stats_listen=WHERE,
            stats_key_file=KEY,
            key_file=KEY,
            require_key=True,
            show_stream_ids=True,
        ),
    ],
)
def test_what_the_configuration_can_say_the_command_understands(engine: EngineConfig) -> None:
    kind = type(engine)
    args = parsed(kind, *engine_arguments(engine)[1:])
    assert kind(WHERE, WHERE, **given(args, kind)) == engine
    assert getattr(args, "receiver", [str(WHERE)]) == [str(WHERE)]
    assert args.listen == str(WHERE)


@pytest.mark.parametrize("engine", [SenderConfig, ReceiverConfig])
def test_every_key_with_a_default_has_words(engine: type[EngineConfig]) -> None:
    keys = {key.name for key in fields(engine) if key.default is not MISSING}
    inner = {key.name for key in fields(EncoderConfig)}
    assert (keys - {"encoder"} | inner if "encoder" in keys else keys) <= set(WORDS)


@pytest.mark.parametrize(
    ("engine", "words", "key", "value"),
    [
        (SenderConfig, ["--latency", "0"], "latency", 0),
        (SenderConfig, ["--key-file", "relative"], "key_file", Path("relative")),
        (ReceiverConfig, ["--timeout", "3600"], "timeout", 3600.0),
        (ReceiverConfig, ["--workers", "64"], "workers", 64),
    ],
)
def test_values(engine: type[EngineConfig], words: list[str], key: str, value: object) -> None:
    flags = {each.name: False for each in fields(engine) if isinstance(each.default, bool)}
    assert given(parsed(engine, *words), engine) == {**flags, key: value}


@pytest.mark.parametrize(
    ("engine", "words", "says"),
    [
        (SenderConfig, ["--mode", "x"], "--mode 'x' is not valid; expected one of 'adaptive', 'classic'"),
        (
            SenderConfig,
            ["--latency", "19"],
            "--latency '19' is not valid; expected 0 or milliseconds from 20 to 8000",
        ),
        (SenderConfig, ["--latency", "1s"], "--latency '1s' is not valid"),
        (
            ReceiverConfig,
            ["--timeout", "0.5"],
            "--timeout '0.5' is not valid; expected a number",
        ),
        (ReceiverConfig, ["--group-timeout", "nan"], "--group-timeout 'nan' is not valid"),
        (ReceiverConfig, ["--timeout", "long"], "--timeout 'long' is not valid"),
        (
            ReceiverConfig,
            ["--workers", "65"],
            "--workers '65' is not valid; expected a whole number from 1 to 64",
        ),
        (ReceiverConfig, ["--workers", "1.5"], "--workers '1.5' is not valid"),
    ],
)
def test_values_that_are_not_valid(engine: type[EngineConfig], words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as error:
        given(parsed(engine, *words), engine)
    assert str(error.value).startswith(says)


def test_the_options_of_an_encoder_make_its_table() -> None:
    words = ["--bitrate-file", "br", "--bitrate-min", "800k", "--bitrate-max", "8000000"]
    words += ["--bitrate-overhead", "0.1", "--encoder-pid-file", "pid", "--encoder-process", "belacoder"]
    encoder = EncoderConfig(Path("br"), 800_000, 8_000_000, 0.1, Path("pid"), "belacoder")
    assert given(parsed(SenderConfig, *words), SenderConfig)["encoder"] == encoder
    assert given(parsed(SenderConfig, "--bitrate-file", "br"), SenderConfig)["encoder"] == EncoderConfig(
        Path("br")
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--encoder-process", "x"], "--encoder-process needs --bitrate-file; add --bitrate-file FILE"),
        (
            ["--bitrate-file", "f", "--bitrate-min", "1"],
            "--bitrate-min '1' is not valid; expected bit/s from",
        ),
        (["--bitrate-file", "f", "--bitrate-max", "6Mbit"], "--bitrate-max '6Mbit' is not valid; expected"),
        (["--bitrate-file", "f", "--bitrate-overhead", "8%"], "--bitrate-overhead '8%' is not valid"),
        (["--bitrate-file", "f", "--encoder-process", "a b"], "--encoder-process 'a b' is not valid"),
    ],
)
def test_mistakes_about_an_encoder(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as error:
        given(parsed(SenderConfig, *words), SenderConfig)
    assert str(error.value).startswith(says)


def test_a_key_that_is_required_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--require-key needs a key"):
        key_of(parsed(SenderConfig, "--require-key"))
    assert key_of(parsed(SenderConfig)) is None
    path = tmp_path / "key"
    path.write_bytes(b"0123456789abcdef\n")
    path.chmod(0o600)
    assert key_of(parsed(SenderConfig, "--key-file", str(path))) == b"0123456789abcdef"


def test_the_page_of_streams_needs_an_address_and_a_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"0123456789abcdef\n")
    path.chmod(0o644)
    assert stats_key_of(parsed(ReceiverConfig)) is None
    for words in (["--stats-listen", "127.0.0.1:8181"], ["--stats-key-file", str(path)]):
        with pytest.raises(UsageError, match="the page of streams needs an address and a key"):
            stats_key_of(parsed(ReceiverConfig, *words))
    words = ["--stats-listen", "127.0.0.1:8181", "--stats-key-file", str(path)]
    with pytest.raises(UsageError, match=r"--stats-key-file .*: others can read or write it"):
        stats_key_of(parsed(ReceiverConfig, *words))
    path.chmod(0o600)
    assert stats_key_of(parsed(ReceiverConfig, *words)) == b"0123456789abcdef"


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (port_number, "65535", 65535),
        (port_number, "0", "X '0' is not a port"),
        (port_number, "5e3", "X '5e3' is not a port"),
        (host_name, "[::1]", "::1"),
        (host_name, "a b", "X 'a b' is not a host"),
        (host_port, "h:5", HostPort("h", 5)),
        (host_port, "h", "X 'h' is not valid"),
        (address_port, "[::]:5", HostPort("::", 5)),
        (address_port, "h:5", "X 'h:5' has no address"),
    ],
)
def test_places(read: Any, text: str, value: object) -> None:
    if not (isinstance(value, str) and value.startswith("X ")):
        assert read(text, "X") == value
        return
    with pytest.raises(UsageError) as error:
        read(text, "X")
    assert str(error.value).startswith(value)


@pytest.mark.parametrize("text", ["live/*", "live/*=5003", "=127.0.0.1:5003", "a=b=c:0"])
def test_an_srt_server_that_is_wrong(text: str) -> None:
    with pytest.raises(UsageError, match=f"--srt-server {re.escape(repr(text))} is not valid; expected "):
        given(parsed(ReceiverConfig, "--srt-server", text), ReceiverConfig)


@pytest.mark.parametrize("text", ["alice", "alice=", "=file", "a b=file"])
def test_a_named_key_that_is_wrong(text: str) -> None:
    with pytest.raises(UsageError, match=f"--key {re.escape(repr(text))} is not valid; expected "):
        given(parsed(ReceiverConfig, "--key", text), ReceiverConfig)


def test_the_keys_of_a_receiver_are_read(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two", "three")]
    for file in files:
        file.write_text(f"{file.name:0>16}\n")
        file.chmod(0o600)

    def keys(*words: str) -> list[tuple[str, bytes]]:
        args = parsed(ReceiverConfig, *words)
        return [(key.name, key.secret) for key in keys_of(args, given(args, ReceiverConfig).get("key", ()))]

    named = [("a", b"0000000000000one"), ("b", b"0000000000000two")]
    words = ("--key", f"a={files[0]}", "--key", f"b={files[1]}")
    assert keys() == []
    assert keys(*words) == keys("--require-key", *words) == named
    assert keys("--key-file", str(files[2]), *words) == [*named, ("", b"00000000000three")]
    files[1].chmod(0o644)
    with pytest.raises(UsageError, match=r"--key .*two: others can read or write it"):
        keys(*words)
    with pytest.raises(UsageError, match="--require-key needs a key"):
        keys("--require-key")
