"""`netbond rehearse`: which links and which receiver, what is printed, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netbond.cli import main, rehearse
from netbond.cli import status as status_command
from netbond.config.values import HostPort
from netbond.errors import NotRunningError, UnavailableError
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process import rehearsing
from netbond.srtla.rehearsal import NOT_ACKNOWLEDGED, LinkResult, RehearsalResult
from netbond.srtla.sender import NO_ANSWER
from netbond.status.schema import from_json
from tests.unit.cli.snapshots import SNAPSHOT

KEY = b"0123456789abcdef"


class Played:
    """What would have been run, and the result that it has."""

    def __init__(self) -> None:
        self.receiver: HostPort | None = None
        self.specs: list[LinkSpec] = []
        self.most = 0
        self.key: bytes | None = None
        self.require_key = False
        self.confined: list[str] = []
        self.trouble = ""
        self.reasons: dict[str, str] = {}  # by label; others are measured

    def resolve(self, receiver: HostPort) -> dict[int, Any]:
        self.receiver = receiver
        return {}

    def __call__(
        self,
        _random: object,
        specs: list[LinkSpec],
        most: int,
        _now: float,
        *,
        key: bytes | None,
        require_key: bool,
    ) -> Played:
        self.specs, self.most, self.key, self.require_key = list(specs), most, key, require_key
        return self

    def run(
        self,
        _machine: object,
        _to: object,
        confine: Callable[[], None],
        told: Callable[[LinkResult], None],
    ) -> None:
        confine()
        for each in self.links():
            if not each.reason:
                told(each)

    def links(self) -> tuple[LinkResult, ...]:
        return tuple(
            LinkResult(spec.label, spec.address, spec.device, None, reason=self.reasons[spec.label])
            if spec.label in self.reasons
            else LinkResult(
                spec.label, spec.address, spec.device, 5_812_345, rtt_ms=50, full_rtt_ms=188, loss_pct=0.1
            )
            for spec in self.specs
        )

    def result(self, receiver: str) -> RehearsalResult:
        count = len(self.specs) - len(self.reasons)
        capacity, suggested = (5_812_345 * count, 5_200_000 * count) if count else (None, None)
        return RehearsalResult(receiver, capacity, False, suggested, 5_400_000, self.most, self.links())


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    made = Played()
    monkeypatch.setattr(rehearsing, "resolve", made.resolve)
    monkeypatch.setattr(rehearsing, "run", made.run)
    monkeypatch.setattr(rehearse, "Rehearsal", made)
    monkeypatch.setattr(rehearse, "_confine", made.confined.append)
    monkeypatch.setattr(status_command, "ask", nobody)
    return made


def nobody(*_: object) -> dict[str, Any]:
    raise NotRunningError("no agent")


@pytest.fixture
def ips(tmp_path: Path) -> str:
    path = tmp_path / "ips"
    path.write_text("10.0.0.10%usb0\n10.0.1.10%usb1 metered\n10.0.0.10%usb0\n10.0.2.10%usb2 idle\nx\n")
    return str(path)


@pytest.fixture
def empty(tmp_path: Path) -> str:
    path = tmp_path / "empty.toml"
    path.touch()
    return str(path)


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    path = tmp_path / "netbond.toml"
    path.write_text(
        f"""
        [agent]
        user = "somebody"
        [[sender]]
        listen = "127.0.0.1:6000"
        receiver = "bond.example.org:5000"
        [[sender]]
        listen = "127.0.0.1:6001"
        receiver = ["one.example.org:5000", "two.example.org:5001"]
        key_file = "{tmp_path}/key"
        require_key = true
        """
    )
    return str(path)


def test_links_of_a_list(played: Played, ips: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse", "h:5000", "--links", ips, "--config", config]) == 0
    assert capsys.readouterr().out == (
        "10.0.1.10%usb1  not measured: metered\n"
        "10.0.2.10%usb2  not measured: idle: carries no stream\n"
        "10.0.0.10%usb0         5.81 Mbit/s  round trip 50 ms, 188 ms when full, 0.1 % lost\n"
        "all                    5.81 Mbit/s  send at most 5.20 Mbit/s at a latency of 1 s\n"
        "5.4 MB used of 20.0 MB\n"
    )
    assert played.receiver == HostPort("h", 5000)
    assert played.specs == [LinkSpec("10.0.0.10%usb0", "10.0.0.10", "usb0")]
    assert (played.most, played.key, played.confined) == (20_000_000, None, ["somebody"])


def test_metered_links_if_asked_for_and_more_data(played: Played, ips: str, config: str) -> None:
    words = ["--links", ips, "--config", config, "--metered", "--max-data", "1.5GB"]
    assert main(["rehearse", "h:5000", *words]) == 0
    assert [spec.device for spec in played.specs] == ["usb0", "usb1"]
    assert played.most == 1_500_000_000


def test_json_has_all_links_in_the_order_of_the_list(
    played: Played, ips: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    played.reasons = {}
    assert main(["rehearse", "h:5000", "--links", ips, "--config", config, "--json", "--metered"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(link["device"], link["reason"]) for link in shown["links"]] == [
        ("usb0", ""),
        ("usb1", ""),
        ("usb2", "idle: carries no stream"),
    ]
    assert shown["capacity_bits_per_second"] == 2 * 5_812_345
    assert shown["receiver"] == "h:5000"


def test_the_receiver_is_that_of_the_first_sender(played: Played, ips: str, config: str) -> None:
    assert main(["rehearse", "--links", ips, "--config", config]) == 0
    assert (played.receiver, played.key) == (HostPort("bond.example.org", 5000), None)


def test_the_key_is_that_of_the_sender_with_this_receiver(
    played: Played, ips: str, config: str, tmp_path: Path
) -> None:
    assert main(["rehearse", "two.example.org:5001", "--links", ips, "--config", config]) == 0
    assert (played.key, played.require_key) == (KEY, True)
    (tmp_path / "other").write_bytes(KEY[::-1])
    (tmp_path / "other").chmod(0o600)
    words = ["--links", ips, "--config", config, "--key-file", str(tmp_path / "other")]
    assert main(["rehearse", "two.example.org:5001", *words]) == 0
    assert (played.key, played.require_key) == (KEY[::-1], False)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["h"], 64, "RECEIVER 'h' is not valid"),
        (["h:1", "--max-data", "10"], 64, "--max-data '10' is not valid; expected a number and one of MB"),
        (["h:1", "--max-data", "0.5MB"], 64, "--max-data '0.5MB' is too little; 1MB is the least"),
        (["h:1", "--key-file", "/nowhere"], 64, "--key-file /nowhere: No such file"),
        (["h:1", "--links", "/nowhere"], 69, "/nowhere: No such file or directory; see docs/send.md"),
        (["h:1", "--links", "/dev/null"], 69, "/dev/null has no links"),
    ],
)
def test_what_is_wrong_with_the_arguments(
    played: Played, empty: str, capsys: pytest.CaptureFixture[str], words: list[str], status: int, says: str
) -> None:
    assert main(["rehearse", "--config", empty, *words]) == status
    assert f"netbond rehearse: {says}" in capsys.readouterr().err
    assert played.receiver is None


def test_no_receiver_is_known(
    played: Played, empty: str, ips: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rehearse", "--config", empty, "--links", ips]) == 64
    assert "there is no [[sender]] with a receiver; name one: netbond rehearse" in capsys.readouterr().err


def test_all_links_are_metered(
    played: Played, empty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ips").write_text("10.0.0.10 metered\n")
    assert main(["rehearse", "h:1", "--config", empty, "--links", str(tmp_path / "ips")]) == 69
    assert "10.0.0.10: metered; --metered measures these, too" in capsys.readouterr().err
    assert played.receiver is None


@pytest.mark.parametrize(
    ("reasons", "trouble", "status", "says"),
    [
        ([NO_ANSWER] * 2, "", 69, f"h:5000: {NO_ANSWER}; check that an SRTLA receiver listens there"),
        ([NOT_ACKNOWLEDGED] * 2, "", 69, f"h:5000: {NOT_ACKNOWLEDGED}; is its SRT server running?"),
        (
            ["nothing listens at the receiver's port"] * 2,
            "",
            69,
            "h:5000: nothing listens at the receiver's port; start the receiver",
        ),
        (
            ["no route to the receiver", NO_ANSWER],
            "",
            69,
            f"usb0: no route to the receiver; 10.0.1.10%usb1: {NO_ANSWER}",
        ),
        (["x"] * 2, "refused by the receiver", 1, "h:5000: refused by the receiver; it may be full"),
        (
            ["x"] * 2,
            "refused by the receiver: it wants a key",
            1,
            "h:5000: refused by the receiver: it wants a key; name it: --key-file",
        ),
    ],
)
def test_nothing_could_be_measured(
    played: Played,
    empty: str,
    ips: str,
    capsys: pytest.CaptureFixture[str],
    reasons: list[str],
    trouble: str,
    status: int,
    says: str,
) -> None:
    played.reasons = dict(zip(("10.0.0.10%usb0", "10.0.1.10%usb1"), reasons, strict=True))
    played.trouble = trouble
    words = ["--metered", "--links", ips, "--config", empty]
    assert main(["rehearse", "h:5000", *words]) == status
    shown = capsys.readouterr()
    assert says in shown.err
    assert f"10.0.0.10%usb0  not measured: {reasons[0]}\n" in shown.out


def streaming(bitrate: int) -> dict[str, Any]:
    snapshot = json.loads(json.dumps(SNAPSHOT))
    for each in snapshot["engines"]:
        for link in (each["stats"] or {}).get("links", []) if each["role"] == "sender" else []:
            link["bitrate_bps"] = bitrate
    return dict(snapshot)


def test_a_stream_is_not_disturbed_unless_asked_for(
    played: Played,
    ips: str,
    config: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["rehearse", "h:5000", "--links", ips, "--config", config]
    monkeypatch.setattr(status_command, "ask", lambda _: streaming(900_000))
    assert main(words) == 1
    assert "carries a stream, which would be disturbed; --force does it" in capsys.readouterr().err
    assert played.specs == []
    assert main([*words, "--force"]) == 0
    monkeypatch.setattr(status_command, "ask", lambda _: streaming(1000))
    assert main(words) == 0
    assert rehearse.streaming(from_json(streaming(1000))) is None


def test_an_agent_that_does_not_tell_stops_nobody(
    played: Played, ips: str, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(_: object) -> dict[str, Any]:
        raise UnavailableError("no answer")

    monkeypatch.setattr(status_command, "ask", hangs)
    assert main(["rehearse", "h:5000", "--links", ips, "--config", config]) == 0


@pytest.mark.parametrize(
    ("bits", "at_least", "text"),
    [
        (5_812_345, False, "5.81 Mbit/s"),
        (145_000_000, True, "at least 145.0 Mbit/s"),
        (30_000, False, "0.03 Mbit/s"),
    ],
)
def test_rates(bits: int, at_least: bool, text: str) -> None:
    assert rehearse.rate(bits, at_least=at_least) == text
