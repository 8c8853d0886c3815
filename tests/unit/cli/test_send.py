"""`netbond send`: the drop-in's arguments and the agent's, and what the engine is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netbond.cli import main
from netbond.config.schema import EncoderConfig
from netbond.config.values import HostPort
from netbond.srtla.process import engine, sending


class Started(Exception):  # noqa: N818 - not an error: it ends the command where the engine would begin
    """With what the engine is made of."""


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(options: Any, *_: object) -> None:
        raise Started(options)

    monkeypatch.setattr(engine, "prepare", lambda _user, _fd: (None, {}))
    monkeypatch.setattr(engine, "set_up_logging", lambda _level: None)
    monkeypatch.setattr(sending, "SendEngine", start)


def options(*words: str) -> sending.SendOptions:
    with pytest.raises(Started) as caught:
        main(["send", *words])
    found = caught.value.args[0]
    assert isinstance(found, sending.SendOptions)
    return found


def test_as_srtla_send_is_called() -> None:
    found = options("6000", "bond.example", "5000", "/tmp/ips")
    assert found.config.listen == HostPort("", 6000)
    assert found.config.receiver == HostPort("bond.example", 5000)
    assert found.list_file == Path("/tmp/ips")


def test_as_the_agent_calls_it() -> None:
    found = options("--listen", "127.0.0.1:6000", "--receiver", "[2001:db8::1]:5000", "--control-fd", "3")
    assert found.config.listen == HostPort("127.0.0.1", 6000)
    assert found.config.receiver == HostPort("2001:db8::1", 5000)
    assert found.list_file is None


def test_several_receivers() -> None:
    words = [
        "--listen",
        "127.0.0.1:1",
        "--receiver",
        "a:1",
        "--receiver",
        "[::1]:2",
        "--receiver",
        "a:1",
        "-",
    ]
    assert options(*words).config.receivers == (HostPort("a", 1), HostPort("::1", 2))


@pytest.mark.parametrize(("word", "file"), [("-", None), ("ips", Path("ips"))])
def test_a_list_beside_listen(word: str, file: Path | None) -> None:
    words = ("--listen", "127.0.0.1:6000", "--receiver", "b:5000", word)
    assert options(*words).list_file == file


def test_the_file_of_an_encoder(tmp_path: Path) -> None:
    words = ("6000", "bond.example", "5000", "ips")
    assert options(*words).bitrate_file is None
    path = tmp_path / "bitrate"
    found = options("--bitrate-file", str(path), "--bitrate-max", "6M", *words)
    assert found.bitrate_file is not None
    assert found.bitrate_file.path == path
    assert found.config.encoder == EncoderConfig(path, bitrate_max=6_000_000)
    assert list(tmp_path.iterdir()) == []  # only its folder was opened


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--bitrate-file", "/none/br"], 69, "--bitrate-file /none/br: No such file or directory; name a"),
        (["--mode", "classic", "--bitrate-file", "br"], 64, "mode 'classic' has no advice for an encoder;"),
        (["--bitrate-file", "br", "--bitrate-max", "0.4M"], 64, "the least bitrate, 500000 bit/s, is more"),
        (["--bitrate-max", "4M"], 64, "--bitrate-max needs --bitrate-file; add --bitrate-file FILE"),
    ],
)
def test_mistakes_about_an_encoder(
    words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["send", *words, "6000", "h", "5000", "ips"]) == status
    assert capsys.readouterr().err.startswith(f"netbond send: {says}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["6000", "h", "5000"], "3 arguments given; expected LISTEN_PORT RECEIVER_HOST RECEIVER_PORT"),
        (
            [*("--listen", "127.0.0.1:1", "-"), *(f"--receiver=a:{n}" for n in range(1, 10))],
            "9 receivers given; 8 are the limit",
        ),
        (["--listen", "127.0.0.1:1"], "--listen and --receiver belong together"),
        (["--listen", "127.0.0.1:1", "--receiver", "b:1", "x", "y"], "2 arguments given besides --listen"),
        (["--listen", "127.0.0.1:1", "--receiver", "b:1"], "there is no list of links; add IPS_FILE"),
        (["0", "h", "5000", "x"], "LISTEN_PORT '0' is not a port"),
    ],
)
def test_mistakes(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", *words]) == 64
    assert capsys.readouterr().err.startswith(f"netbond send: {says}")


def test_the_socket_for_those_who_follow_is_opened_before_root_is_given_up_and_removed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there: list[bool] = []

    def prepare(user: str | None, _fd: int | None) -> tuple[None, dict[str, Any]]:
        there.append((tmp_path / "s").is_socket())
        return None, {}

    monkeypatch.setattr(engine, "prepare", prepare)
    found = options("6000", "h", "5000", "ips", "--watch-socket", str(tmp_path / "s"))
    assert found.watch_socket is not None
    assert there == [True]
    assert not (tmp_path / "s").exists()
    assert main(["send", "6000", "h", "5000", "ips", "--watch-socket", str(tmp_path / "no" / "s")]) == 69
    assert capsys.readouterr().err == (
        f"netbond send: --watch-socket {tmp_path}/no/s: No such file or directory; name another place, in a"
        " directory of one's own\n"
    )
