"""`netbond config`: the example and the documentation say what the program does."""

import json
import os
import re
import tomllib
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from netbond.cli import main
from netbond.cli.config import EXAMPLE
from netbond.config.load import parse
from netbond.config.schema import INNER, NESTED, REPEATED, SINGLE, Config
from netbond.config.values import HostPort

DOCS = Path(__file__).parents[3] / "docs/config.md"


def test_the_example_holds_the_defaults_and_every_key() -> None:
    assert parse(EXAMPLE) == Config()
    data = tomllib.loads(EXAMPLE)
    for name, cls in SINGLE.items():
        assert set(data[name]) == {spec.name for spec in fields(cls)}


def test_the_commented_parts_of_the_example_are_right_too() -> None:
    text = re.sub(r"^#(?=\S)", "", EXAMPLE, flags=re.MULTILINE)
    config = parse(text)
    assert [(u.match, u.weight, u.gateway, u.enabled, u.table) for u in config.uplink] == [
        ("eth0", 2, ("auto",), True, 0),
        ("path=*usb-0:1.2:*", 1, ("auto",), True, 0),
        ("usb0", 1, ("192.168.8.1",), True, 100),
        ("wwan*", 1, ("auto",), True, 0),
        ("wwan2", 1, ("auto",), True, 0),
        ("wlan0", 1, ("auto",), True, 0),
        ("eth2", 1, ("auto",), True, 0),
        ("wwan1", 1, ("auto",), True, 0),
        ("wwan0", 1, ("auto",), True, 0),
        ("docker*", 1, ("auto",), False, 0),
    ]
    assert config.sender[0].receiver == HostPort("bond.example.org", 5000)
    assert config.receiver[0].srt == HostPort("127.0.0.1", 5002)
    assert [check.name for check in config.chain(config.uplink[2].checks)] == ["gateway", "portal", "names"]
    used = {name: {key for item in tomllib.loads(text)[name] for key in item} for name in REPEATED}
    assert used == {name: {spec.name for spec in fields(cls)} for name, cls in REPEATED.items()}
    for path, cls in INNER.items():
        table, name = path.split(".")
        assert set(tomllib.loads(text)[table][0][name]) == {spec.name for spec in fields(cls)}


def test_every_line_of_the_example_fits_a_screen() -> None:
    assert max(map(len, EXAMPLE.splitlines())) <= 110
    assert EXAMPLE.isascii()


def toml(spec: Field[Any]) -> str:
    """A default as docs/config.md writes it."""
    value = spec.default
    if "inner" in spec.metadata:
        return "*none*"
    if isinstance(spec.metadata.get("default"), str):
        return f'`"{spec.metadata["default"]}"`'
    if value is MISSING:
        return "*required*"
    if value is None:
        return '`""`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value == ("auto",):
        return '`"auto"`'
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return "`{" + ", ".join(f"{name} = {number}" for name, number in value) + "}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{value}`" if isinstance(value, int | float) else f'`"{value}"`'


@pytest.mark.parametrize(
    ("heading", "cls"),
    [(f"[{name}]", cls) for name, cls in SINGLE.items()]
    + [(f"[[{name}]]", cls) for name, cls in {**REPEATED, **NESTED}.items()]
    + [(f"[{name}]", cls) for name, cls in INNER.items()],
)
def test_the_documentation_has_every_key_and_its_default(heading: str, cls: type[Any]) -> None:
    section = DOCS.read_text(encoding="utf-8").split(f"# {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| \S", section, flags=re.MULTILINE)
    assert rows == [(spec.name, toml(spec)) for spec in fields(cls)]


# --- the command -------------------------------------------------------------------------------------------


def test_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "example"]) == 0
    assert capsys.readouterr().out == EXAMPLE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no uplink rules, no senders, no receivers"),
        (
            '[[uplink]]\nmatch="a"\n[[uplink]]\nmatch="b"\n[[sender]]\nlisten="127.0.0.1:1"\nreceiver="h:1"',
            "2 uplink rules, 1 sender, no receivers",
        ),
    ],
)
def test_check(text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "n.toml"
    file.write_text(text)
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok: {says}\n"


def test_check_finds_the_file_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "n.toml"
    monkeypatch.setenv("NETBOND_CONFIG", str(file))
    assert main(["config", "check"]) == 78
    assert f"{file}: no such file" in capsys.readouterr().err
    file.touch()
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith(f"{file}: ok: ")
    monkeypatch.delenv("NETBOND_CONFIG")
    for module in ("netbond.config.load", "netbond.cli.config"):
        monkeypatch.setattr(f"{module}.DEFAULT_PATH", tmp_path / "default.toml")
    assert main(["config", "check"]) == 0
    said = capsys.readouterr().out
    assert said == f"{tmp_path}/default.toml: ok: there is no such file, so the defaults are used\n"


def test_check_names_the_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "n.toml"
    file.write_text("[agent]\nip_lst = 5\n")
    assert main(["config", "check", str(file)]) == 78
    said = capsys.readouterr()
    assert said.out == ""
    what = "agent has an unknown key 'ip_lst'; did you mean 'ip_list'?"
    assert said.err == f"netbond config: {file}:2: {what}\n"


def test_check_names_all_errors_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "n.toml"
    wrong = "[[uplink]]\nmatch = 'usb0'\nweight = 0\nlabl = 'x'\n[[uplink]]\nweight = 1\n"
    file.write_text(f"[agnet]\n[health]\ninterval = 0\n{wrong}")
    assert main(["config", "check", str(file)]) == 78
    said = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"netbond config: {file}:").partition(" ")[0] for line in said] == [
        *("1:", "3:", "6:", "7:", "8:")
    ]


def test_check_warns_of_what_is_hardly_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "n.toml"
    file.write_text("[[uplink]]\nmatch = '*'\n[[uplink]]\nmatch = 'usb*'\n[[uplink]]\nmatch = 'wwan.*'\n")
    assert main(["config", "check", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{file}: ok: 3 uplink rules")
    assert f"warning: {file}:4: it never applies: uplink[1], which stands before it" in said.err
    assert f"warning: {file}:6: 'wwan.*' looks like a regular expression" in said.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read keys")
def test_check_reads_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, key = tmp_path / "n.toml", tmp_path / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    keyed = f'srt = "127.0.0.1:4001"\nlisten = "127.0.0.1:5000"\nkey_file = "{key}"\n'
    file.write_text(f'[[receiver]]\n{keyed}[[receiver.key]]\nname = "van"\nfile = "{tmp_path}/none"\n')
    assert main(["config", "check", str(file)]) == 78
    said = capsys.readouterr().err
    assert said.startswith(f"netbond config: {file}:7: ")
    assert said.count("\n") == 1
    assert f"{tmp_path}/none" in said


def test_no_action_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["config"])
    assert caught.value.code == 64


def test_the_file_may_be_named_as_for_other_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ok.toml").write_text("[agent]")
    assert main(["config", "check", "--config", str(tmp_path / "ok.toml")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/ok.toml: ok")
    assert main(["config", "check", "--config", str(tmp_path / "none.toml")]) == 78


def test_check_of_a_hook_that_cannot_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "n.toml"
    file.write_text(f'[[hook]]\nname = "tell"\ncommand = ["{tmp_path}/tell"]\n')
    assert main(["config", "check", str(file)]) == 78
    assert capsys.readouterr().err == (
        f"netbond config: {file}:3: hook tell: {tmp_path}/tell: No such file or directory; correct it there\n"
    )


@pytest.mark.root
def test_a_file_that_everybody_can_write_fails_as_it_would_for_the_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """systemctl reload asks this first."""
    file = tmp_path / "x.toml"
    file.touch()
    assert main(["config", "check", str(file)]) == 0
    file.chmod(0o646)
    assert main(["config", "check", str(file)]) == 78
    assert f"{file} is writable by everybody; chmod o-w {file}\n" in capsys.readouterr().err
