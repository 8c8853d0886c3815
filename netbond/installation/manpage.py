"""Makes the manual page netbond(1): all commands with their options. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netbond.installation.words import CommandWords, Option

FILES = {
    "/etc/netbond/netbond.toml": "the configuration; every key: netbond config example",
    "/etc/default/netbond": "for DHCP hooks: the program (NETBOND) and the configuration (NETBOND_CONFIG)",
    "/run/netbond": "leases, the control socket, and what must outlive the agent",
    "/var/lib/netbond": "what must outlive the box's power: counts of data plans, what is installed",
}


def manpage(commands: Sequence[CommandWords], version: str, statuses: Mapping[int, str]) -> str:
    """The page, as man(7) has it; `statuses` has the meaning of each exit status."""
    lines = [
        f'.TH NETBOND 1 "" "netbond {_text(version)}" "User Commands"',
        ".SH NAME",
        "netbond \\- routes and bonds the uplinks of a box with several modems",
        ".SH SYNOPSIS",
        ".B netbond",
        "\\fICOMMAND\\fR [\\fIOPTION\\fR...]",
        ".SH COMMANDS",
    ]
    for command in commands:
        lines += _command(command, "netbond")
    lines.append(".SH EXIT STATUS")
    for status, meaning in sorted(statuses.items()):
        lines += [".TP", f".B {status}", _text(meaning)]
    lines.append(".SH FILES")
    for path, meaning in FILES.items():
        lines += [".TP", f".I {_text(path)}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _command(command: CommandWords, before: str) -> Iterator[str]:
    name = f"{before} {command.name}"
    shown = (_argument(argument) for argument in command.arguments)
    arguments = [*(["\\fIACTION\\fR"] if command.actions else []), *shown]
    options = ["[\\fIOPTION\\fR...]"] if command.flags else []
    yield f".SS {_text(name)} {' '.join((*options, *arguments))}".rstrip()
    yield _text(command.help)
    for option in command.options:
        if not option.flags and not option.help:
            continue
        flags = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in option.flags) or _argument(option)
        yield ".TP"
        yield f"{flags} \\fI{_text(option.value)}\\fR" if option.flags and option.value else flags
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        yield _text(f"{option.help}{choices}")
    for action in command.actions:
        yield from _command(action, name)


def _argument(option: Option) -> str:
    return f"\\fI{_text(option.value)}\\fR" + ("..." if option.many else "")


def _text(text: str) -> str:
    """Text that roff takes for nothing else."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
