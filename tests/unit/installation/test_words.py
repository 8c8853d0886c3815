"""What completion and the manual page know of the command line."""

from netbond.installation.words import CommandWords, Option, takes_file

CONFIG = CommandWords(
    "config", "check it", (), (CommandWords("check", "is it right?", (Option((), "FILE", "which"),)),)
)
SEND = CommandWords(
    "send",
    "carry it's stream",
    (
        Option(("-h", "--help"), "", "show [this] & exit: now"),
        Option(("--mode",), "MODE", "how", ("adaptive", "classic")),
        Option(("--key-file",), "FILE", "a $secret", many=True),
        Option((), "ARGUMENT", "", many=True),
    ),
)


def test_what_takes_a_file() -> None:
    assert [takes_file(option) for option in SEND.options] == [False, False, True, False]


def test_flags_and_arguments() -> None:
    assert SEND.flags == ("-h", "--help", "--mode", "--key-file")
    assert [argument.value for argument in SEND.arguments] == ["ARGUMENT"]
