"""Running a program of the system."""

import pytest

from netbond.cli.run_command import run_command


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["true"], ""),
        (["no-such-program-here"], "no-such-program-here is not installed"),
        (["sh", "-c", "exit 3"], "exit status 3"),
        (["sh", "-c", "echo; echo it is broken >&2; echo and more >&2; exit 3"], "it is broken"),
        (["sh", "-c", "echo only here; exit 1"], "only here"),
        (["/dev/null"], "[Errno 13] Permission denied: '/dev/null'"),
    ],
)
def test_why_it_failed(command: list[str], why: str) -> None:
    assert run_command(command) == why
