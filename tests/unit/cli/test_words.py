"""The words of netbond's own commands."""

from netbond.cli import COMMANDS
from netbond.cli.words import STATUSES, generated, words


def test_all_commands_with_their_options() -> None:
    found = {command.name: command for command in words()}
    assert list(found) == list(COMMANDS)
    assert "--json" in found["status"].flags
    assert {action.name for action in found["config"].actions} >= {"check", "example"}
    assert any(action.options for action in found["lab"].actions)


def test_no_text_is_left_to_fill_in() -> None:
    assert not any("%(" in text for text in generated().values())


def test_each_command_is_in_each_file() -> None:
    for place, text in generated().items():
        assert all(name in text for name in COMMANDS), place


def test_hidden_options_stay_hidden() -> None:
    assert not any("==SUPPRESS==" in text for text in generated().values())


def test_exit_statuses_are_those_of_the_readme() -> None:
    assert sorted(STATUSES) == [0, 1, 2, 3, 64, 69, 71, 77, 78]
