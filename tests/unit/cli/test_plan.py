"""`netbond plan`: what the agent would change now, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.cli import main
from netbond.config.load import load
from netbond.desired import desired
from netbond.model import Facts, Override
from tests.unit.boxes import box


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "netbond.toml"
    path.write_text(
        f'[agent]\nstate_dir = "{tmp_path}"\ncontrol_socket = "{tmp_path}/c.sock"\n'
        "[sysctl]\nrp_filter = false\nlinkdown = false\nsocket_buffers = 0\nforwarding = false\n"
        'multipath_hash = "keep"\nuse_neigh = false\n'
    )
    return path


def settled(path: Path) -> Facts:
    goal = desired(box("usb0"), load(path))
    return replace(box("usb0"), routes=goal.routes, rules=goal.rules)


def test_nothing_to_do(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("netbond.sources.once.gather", lambda _: settled(config))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["plan", "--config", str(config)]) == 0
    assert capsys.readouterr().out == ""


def test_changes_are_commands_with_their_reasons(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = settled(config)
    facts = replace(there, rules=there.rules[1:])
    monkeypatch.setattr("netbond.sources.once.gather", lambda _: facts)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    command = "ip rule add priority 40 from all oif usb0 lookup 100 protocol 78"
    assert main(["plan", "--config", str(config)]) == 2
    assert capsys.readouterr().out == f"{command}  # missing\n"
    assert main(["plan", "--json", "--config", str(config)]) == 2
    assert json.loads(capsys.readouterr().out) == [{"command": command, "why": "missing"}]


def test_what_people_have_set_is_beside_the_commands(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = replace(settled(config), overrides=(Override("usb0", weight=3),))
    monkeypatch.setattr("netbond.sources.once.gather", lambda _: facts)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["plan", "--config", str(config)]) == 0
    assert tuple(capsys.readouterr()) == ("", "# usb0: set weight 3\n")


def test_router_mode_is_roots(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + '[router]\nlan = ["eth1"]\n')
    monkeypatch.setattr("netbond.sources.once.gather", lambda _: box("usb0"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["plan", "--config", str(config)]) == 2
    assert "# the table of nftables is left out: only root may see it" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_what_nft_is_to_read_is_shown(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    async def pending(*_: object) -> str:
        return "# the table is missing\ntable inet netbond {}\n"

    monkeypatch.setattr("netbond.sources.once.gather", lambda _: settled(config))
    monkeypatch.setattr("netbond.router.nft.Router.pending", pending)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main(["plan", *(["--json"] if as_json else []), "--config", str(config)]) == 2
    shown = capsys.readouterr().out
    if as_json:
        assert json.loads(shown) == [
            {"command": "nft -f -", "why": "the table is missing", "input": "table inet netbond {}\n"}
        ]
    else:
        assert shown == "nft -f - <<'END'\n# the table is missing\ntable inet netbond {}\nEND\n"
