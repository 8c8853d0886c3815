"""`netbond doctor` as the command line shows it; what it looks at is another module's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.cli import doctor, doctor_look, main
from netbond.cli.agent_socket import AgentSocket
from netbond.config.schema import Config
from netbond.doctor.model import Seen, Setting
from tests.unit.doctor.boxes import healthy

STRICT = Setting(
    "net/ipv4/conf/usb1/rp_filter", "1", "sysctl -w net.ipv4.conf.usb1.rp_filter=2", "it drops answers"
)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """What is seen: the last of these."""
    found = [healthy()]
    monkeypatch.setattr(doctor_look, "look", lambda _agent, _config, network: found[-1])
    return found


def run(tmp_path: Path, *words: str) -> int:
    config = tmp_path / "netbond.toml"
    config.touch()
    return main(["doctor", "--config", str(config), *words])


def test_all_is_fine(tmp_path: Path, seen: list[Seen], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith(("error", "warning", "ok"))] == []
    assert shown[-1].endswith(" fine; --all shows what is fine")
    assert run(tmp_path, "--all") == 0
    assert "ok      traffic from 10.0.0.10 leaves via 10.0.0.1 dev usb0" in capsys.readouterr().out


def test_what_is_wrong(tmp_path: Path, seen: list[Seen], capsys: pytest.CaptureFixture[str]) -> None:
    seen.append(replace(healthy(), settings=(STRICT,)))
    assert run(tmp_path) == 2
    assert capsys.readouterr().out.splitlines()[:3] == [
        "error   usb1: rp_filter is 1: it drops answers",
        "        seen: /proc/sys/net/ipv4/conf/usb1/rp_filter is 1",
        "        mend: sysctl -w net.ipv4.conf.usb1.rp_filter=2",
    ]


def test_for_programs(tmp_path: Path, seen: list[Seen], capsys: pytest.CaptureFixture[str]) -> None:
    seen.append(replace(healthy(), pure_because="no compiler"))
    assert run(tmp_path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["severity"]) == (1, 1)
    (wrong,) = [each for each in found["findings"] if each["severity"] == "warning"]
    assert (wrong["code"], wrong["evidence"]) == ("flavour", "no compiler")


def test_a_broken_file_is_a_finding_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def look(agent: AgentSocket, _config: object, *, network: bool) -> Seen:
        return replace(healthy(), config_error=str(agent.error))

    monkeypatch.setattr(doctor_look, "look", look)
    config = tmp_path / "netbond.toml"
    config.write_text("[routing]\nlayout = 5\n")
    assert main(["doctor", "--config", str(config)]) == 2
    assert "routing.layout" in capsys.readouterr().out


def test_escape_sequences_stay_text(
    tmp_path: Path, seen: list[Seen], capsys: pytest.CaptureFixture[str]
) -> None:
    seen.append(replace(healthy(), pure_because="\x1b[31mred"))
    run(tmp_path)
    assert "\x1b" not in capsys.readouterr().out


def test_the_default_configuration_where_the_file_is_broken(tmp_path: Path) -> None:
    broken = tmp_path / "netbond.toml"
    broken.write_text("nonsense")
    assert doctor._config(broken) == Config()


# --- --fix -------------------------------------------------------------------------------------------------


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)


def fault(folder: Path, *, command: str = "") -> Seen:
    """A box on which a setting is wrong; the command that mends it leaves a file."""
    return replace(healthy(), settings=(replace(STRICT, command=command or f"touch {folder}/done"),))


@pytest.mark.usefixtures("root")
def test_what_is_safe_is_shown_then_asked_then_done(
    tmp_path: Path, seen: list[Seen], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        assert not (tmp_path / "done").exists()
        return answers.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    seen.append(fault(tmp_path))
    answers = [""]
    assert run(tmp_path, "--fix") == 2
    assert capsys.readouterr().out.splitlines() == [
        f"touch {tmp_path}/done  # rp_filter is 1: it drops answers", "nothing was done",
    ]  # fmt: skip
    assert asked == ["Run 1 command? [y/N] "]
    answers = ["y"]
    run(tmp_path, "--fix")
    assert (tmp_path / "done").exists()
    assert f"touch {tmp_path}/done: done" in capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_with_yes_nobody_is_asked_and_no_shell_is_used(
    tmp_path: Path, seen: list[Seen], capsys: pytest.CaptureFixture[str]
) -> None:
    seen.append(fault(tmp_path, command=f"touch {tmp_path}/a;b"))
    assert run(tmp_path, "--fix", "--yes") == 2  # it is still seen: the test's box does not change
    assert (tmp_path / "a;b").exists()
    seen.append(fault(tmp_path, command="/nowhere/x"))
    run(tmp_path, "--fix", "--yes")
    assert "/nowhere/x: failed: " in capsys.readouterr().out
    seen.append(fault(tmp_path, command="false"))
    run(tmp_path, "--fix", "--yes")
    assert "false: failed: exit status 1" in capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_nothing_is_safe(tmp_path: Path, seen: list[Seen], capsys: pytest.CaptureFixture[str]) -> None:
    seen.append(replace(healthy(), pure_because="no compiler"))
    assert run(tmp_path, "--fix") == 1
    assert capsys.readouterr().out == "nothing that can be mended without harm\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--yes"], 64), (["--fix", "--json"], 64), (["--fix"], 64), (["--fix", "--yes"], 77)],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, seen: list[Seen], monkeypatch: pytest.MonkeyPatch, words: list[str], status: int
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000 if status == 77 else 0)
    assert run(tmp_path, *words) == status


# --- --bundle ----------------------------------------------------------------------------------------------


def test_the_archive(
    tmp_path: Path, seen: list[Seen], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("netbond.cli.doctor_bundle.COMMANDS", {})
    seen.append(replace(healthy(), pure_because="no compiler"))
    path = tmp_path / "report.tar.gz"
    assert run(tmp_path, "--bundle", str(path)) == 0
    assert capsys.readouterr().out == f"{path}: look through it before you send it\n"
    assert path.exists()
    assert run(tmp_path, "--bundle", str(path)) == 64  # it exists
    assert run(tmp_path, "--bundle", str(tmp_path / "other"), "--json") == 64
