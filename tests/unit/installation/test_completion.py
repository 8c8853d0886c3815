"""Completion, asked of real shells."""

import shutil
import subprocess
from pathlib import Path

import pytest

from netbond.installation import completion
from tests.unit.installation.test_words import CONFIG, SEND

COMMANDS = (CONFIG, SEND)


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("netbond ''", "config send --help --version"),
        ("netbond se", "send"),
        ("netbond send --", "--help --mode --key-file"),
        ("netbond send x --m", "--mode"),
        ("netbond config ''", "check"),
        ("netbond config check --", ""),
        ("netbond send --key-file ''", "there"),
        ("netbond nothing --", ""),
    ],
)
def test_bash(words: str, answers: str, tmp_path: Path) -> None:
    need("bash")
    (tmp_path / "there").touch()
    script = f"{completion.bash(COMMANDS)}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
    assert run("bash", "-c", script + '_netbond; echo "${COMPREPLY[@]}"', cwd=tmp_path).strip() == answers


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("netbond se", ["send"]),
        ("netbond config ", ["check"]),
        ("netbond send --mode ", ["adaptive", "classic"]),
        ("netbond send --ke", ["--key-file"]),
    ],
)
def test_fish(words: str, answers: list[str], tmp_path: Path) -> None:
    need("fish")
    script = tmp_path / "netbond.fish"
    script.write_text(completion.fish(COMMANDS))
    found = run("fish", "-N", "-c", f'source {script}; complete -C "{words}"', cwd=tmp_path)
    assert [line.split("\t")[0] for line in found.splitlines()] == answers


def test_zsh(tmp_path: Path) -> None:
    """Whether it loads; and the options, as a stand-in for zsh's _arguments is given them."""
    need("zsh")
    script = tmp_path / "_netbond"
    script.write_text(completion.zsh(COMMANDS))
    asked = run(
        *("zsh", "-f", "-c"),
        "_arguments() { print -rl -- $@ }; _describe() { print -r -- $1: ${(P)2} };"
        " words=(netbond send --x); CURRENT=3; source ./_netbond;"
        " words=(netbond config c); CURRENT=3; source ./_netbond;"
        " words=(netbond x); CURRENT=2; source ./_netbond",
        cwd=tmp_path,
    )
    assert asked.splitlines() == [
        r"-h[show \[this\] & exit\: now]",
        r"--help[show \[this\] & exit\: now]",
        "--mode[how]:MODE:(adaptive classic)",
        "*--key-file[a $secret]:FILE:_files",
        "*:ARGUMENT: ",
        "action: check:is it right?",
        "command: config:check it send:carry it's stream",
    ]
