"""The description of a program to run: environment, bounded output, the command line of a transient unit."""

from __future__ import annotations

from netbond.programs.job import LONGEST_LINE, MOST_LINES, Job, Output, transient_unit, variables


def test_values_are_text_and_nothing_else() -> None:
    assert variables(event="down", reason="10.0.0.1: no answer (3 %)", device="$(reboot)") == {
        "NETBOND_EVENT": "down",
        "NETBOND_REASON": "10.0.0.1: no answer (3 %)",
        "NETBOND_DEVICE": "?(reboot)",
    }
    assert variables(reason="a`b`;\n\"c\" \x1b[31mü 'd' \\ | & < > * $e")["NETBOND_REASON"] == (
        "a?b?;??c? ??31m? ?d? ? ? ? ? ? ? ?e"
    )
    assert len(variables(reason="x" * 5000)["NETBOND_REASON"]) == 200


def test_nothing_else_is_in_the_environment() -> None:
    job = Job("hook x", ["/bin/true"], "nobody", 30, {"NETBOND_EVENT": "up"})
    assert sorted(job.environment) == ["LANG", "NETBOND_EVENT", "PATH"]


def test_a_unit_of_its_own() -> None:
    job = Job("hook x", ["/bin/tell", "$HOME", "a b"], "nobody", 2.5, {"NETBOND_EVENT": "up"})
    line = transient_unit(job, "netbond-7-1", 7)
    options, command = line[: line.index("--")], line[line.index("--") + 1 :]
    assert command == ["/bin/tell", "$$HOME", "a b"]
    assert options[0] == "systemd-run"
    assert {"--wait", "--pipe", "--collect", "--unit=netbond-7-1", "--uid=nobody"} <= set(options)
    assert "--property=RuntimeMaxSec=2.5" in options
    assert "--property=NetworkNamespacePath=/proc/7/ns/net" in options
    assert "--setenv=NETBOND_EVENT=up" in options
    as_root = transient_unit(Job("check", ["/bin/true"], None, 5), "u", 7)
    assert not [option for option in as_root if option.startswith("--uid")]


def test_output_in_lines() -> None:
    output = Output()
    assert output.feed(b"one\ntw") == ["one"]
    assert output.feed(b"o\n\n  \nthree") == ["two"]
    assert output.end() == ["three"]
    assert output.last == "three"


def test_output_that_is_long() -> None:
    output = Output()
    found = output.feed(b"x\n" * 1000)
    assert (len(found), output.feed(b"last\n"), output.last) == (MOST_LINES, [], "last")
    assert output.end() == [f"({1001 - MOST_LINES} more lines)"]
    output = Output()
    for _ in range(1000):
        output.feed(b"y" * 1000)
    (line,) = output.end()
    assert len(line) == LONGEST_LINE


def test_output_that_is_not_text() -> None:
    assert Output().feed(b"\x1b[31m\xff\n") == ["\\x1b[31m\ufffd"]
