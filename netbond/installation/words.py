"""The words of the command line, as completion and the manual page need them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """An option, or an argument without flags. `value` names its value; "": it takes none."""

    flags: tuple[str, ...]
    value: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False  # it may be given more than once, or takes several values


@dataclass(frozen=True, slots=True)
class CommandWords:
    """A command, or an action of one (`netbond config check`)."""

    name: str
    help: str
    options: tuple[Option, ...] = ()
    actions: tuple[CommandWords, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags of its options."""
        return tuple(flag for option in self.options for flag in option.flags)

    @property
    def arguments(self) -> tuple[Option, ...]:
        """What stands without a flag."""
        return tuple(option for option in self.options if not option.flags)


def takes_file(option: Option) -> bool:
    """Whether a file's name is expected."""
    return option.value in ("FILE", "PATH", "DIR", "FOLDER", "LIST") or option.value.endswith("_FILE")
