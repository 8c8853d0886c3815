"""Makes what shells need to complete netbond's commands and options: bash, zsh, fish. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from netbond.installation.words import CommandWords, takes_file

NOTE = "# Completion for netbond; made by `netbond install`."


def bash(commands: Sequence[CommandWords]) -> str:
    """For bash-completion: /usr/share/bash-completion/completions/netbond."""
    cases = []
    for path, command in _all(commands):
        words = " ".join((*(action.name for action in command.actions), *command.flags, *_choices(command)))
        cases.append(f"        {_quoted(' '.join(path))}) words={_quoted(words)} ;;")
    with_file = sorted({flag for _, each in _all(commands) for flag in _flags_with_file(each)})
    actions = " | ".join(command.name for command in commands if command.actions)
    return f"""{NOTE}
_netbond() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        words={_quoted(" ".join((*(command.name for command in commands), "--help", "--version")))}
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    case $before in
        {" | ".join(with_file)})
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
    esac
    local command=${{COMP_WORDS[1]}}
    case $command in
        {actions}) [ "$COMP_CWORD" = 2 ] || command="$command ${{COMP_WORDS[2]}}" ;;
    esac
    case $command in
{chr(10).join(cases)}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _netbond netbond
"""


def zsh(commands: Sequence[CommandWords]) -> str:
    """For zsh's completion: a file `_netbond` in $fpath."""
    cases = []
    for command in commands:
        if command.actions:
            inner = "\n".join(
                f"                {action.name}) {_zsh_arguments(action)} ;;" for action in command.actions
            )
            names = " ".join(_zsh_word(action.name, action.help) for action in command.actions)
            cases.append(
                f"        {command.name})\n"
                f"            local -a actions=({names})\n"
                "            if (( CURRENT == 2 )); then _describe action actions; return; fi\n"
                "            shift words; (( CURRENT-- ))\n"
                f"            case $words[1] in\n{inner}\n            esac ;;"
            )
        else:
            cases.append(f"        {command.name}) {_zsh_arguments(command)} ;;")
    names = " ".join(_zsh_word(command.name, command.help) for command in commands)
    return f"""#compdef netbond
{NOTE}
_netbond() {{
    local -a commands=({names})
    if (( CURRENT == 2 )); then _describe command commands; return; fi
    shift words; (( CURRENT-- ))
    case $words[1] in
{chr(10).join(cases)}
    esac
}}
_netbond "$@"
"""


def fish(commands: Sequence[CommandWords]) -> str:
    """For fish: a file netbond.fish in vendor_completions.d."""
    names = " ".join(command.name for command in commands)
    lines = [NOTE, "complete -c netbond -f"]
    for command in commands:
        first = f"not __fish_seen_subcommand_from {names}"
        lines.append(f'complete -c netbond -n "{first}" -a {command.name} -d {_fish_quoted(command.help)}')
        inner = " ".join(action.name for action in command.actions)
        for action in command.actions:
            condition = f"__fish_seen_subcommand_from {command.name}"
            first = f"{condition}; and not __fish_seen_subcommand_from {inner}"
            lines.append(f'complete -c netbond -n "{first}" -a {action.name} -d {_fish_quoted(action.help)}')
            lines += _fish_options(f"{condition}; and __fish_seen_subcommand_from {action.name}", action)
        lines += _fish_options(f"__fish_seen_subcommand_from {command.name}", command)
    return "\n".join(lines) + "\n"


def _all(commands: Iterable[CommandWords]) -> Iterator[tuple[tuple[str, ...], CommandWords]]:
    for command in commands:
        yield (command.name,), command
        for action in command.actions:
            yield (command.name, action.name), action


def _flags_with_file(command: CommandWords) -> Iterator[str]:
    for option in command.options:
        if takes_file(option):
            yield from option.flags


def _choices(command: CommandWords) -> Iterator[str]:
    for argument in command.arguments:
        yield from argument.choices


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh_word(name: str, text: str) -> str:
    return _quoted(f"{name}:{_line(text)}")


def _zsh_arguments(command: CommandWords) -> str:
    return " ".join(("_arguments", *(_quoted(each) for each in _zsh_specs(command))))


def _zsh_specs(command: CommandWords) -> Iterator[str]:
    for option in command.options:
        action = (
            f"({' '.join(option.choices)})" if option.choices else "_files" if takes_file(option) else " "
        )
        value = re.sub(r"[^A-Za-z0-9_ ]", " ", option.value)
        if not option.flags:
            yield f"{'*' if option.many else ''}:{value}:{action}"
        for flag in option.flags:
            text = re.sub(r"([\[\]:\\])", r"\\\1", _line(option.help))
            many = "*" if option.many else ""
            yield f"{many}{flag}[{text}]" + (f":{value}:{action}" if option.value else "")


def _fish_options(condition: str, command: CommandWords) -> Iterator[str]:
    for option in command.options:
        if not option.flags:
            if option.choices:
                words = _fish_quoted(" ".join(option.choices))
                yield f'complete -c netbond -n "{condition}" -a {words}'
            continue
        parts = [f'complete -c netbond -n "{condition}"']
        parts += [f"-l {flag[2:]}" for flag in option.flags if flag.startswith("--")]
        parts += [f"-s {flag[1:]}" for flag in option.flags if len(flag) == 2]
        if option.value:
            words = _fish_quoted(" ".join(option.choices))
            parts.append("-r -F" if takes_file(option) else f"-x -a {words}")
        yield " ".join((*parts, f"-d {_fish_quoted(_line(option.help))}"))


def _fish_quoted(text: str) -> str:
    return "'" + _line(text).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _line(text: str) -> str:
    return " ".join(text.split())
