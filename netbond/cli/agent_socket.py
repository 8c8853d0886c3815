"""Finds the agent's control socket for commands that only ask, also if the configuration file is broken."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from netbond.config.load import DEFAULT_PATH, LARGEST, load
from netbond.config.schema import Config
from netbond.errors import ConfigError
from netbond.system import files

# As a person writes a path, for a file that is no longer TOML.
_PATH = re.compile(r"""^\s*(control_socket|state_dir)\s*=\s*["'](/[^"'\n]+)["']""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AgentSocket:
    """Where the agent answers, and what is wrong with the file that should say so.

    `error` is None if nothing is; `broken` is False if this user only may not read the file.
    """

    path: Path
    protocol: int  # of netbond's routes in the kernel
    state_dir: Path
    error: ConfigError | None = None
    broken: bool = False


def find(config: Path | None, socket: Path | None) -> AgentSocket:
    """The socket that `socket` names, else the configuration file `config`; else that of a default agent.

    A file with mistakes is asked for the two paths nevertheless: the agent runs with what it read before.
    """
    try:
        loaded = load(config)
    except ConfigError as error:
        defaults, file = Config(), config or DEFAULT_PATH
        named = _named_in(file)
        return AgentSocket(
            path=socket or named.get("control_socket", defaults.agent.control_socket),
            protocol=defaults.routing.protocol,
            state_dir=named.get("state_dir", defaults.agent.state_dir),
            error=error,
            broken=not file.exists() or os.access(file, os.R_OK),
        )
    agent = loaded.agent
    return AgentSocket(socket or agent.control_socket, loaded.routing.protocol, agent.state_dir)


def say_trouble(command: str, agent: AgentSocket, socket: Path | None) -> None:
    """Say on stderr that the file is broken, unless it is not needed: `socket` was given."""
    if agent.broken and socket is None:
        print(f"netbond {command}: {in_spite_of(agent)}", file=sys.stderr)


def in_spite_of(agent: AgentSocket) -> str:
    """That the file cannot be used, and what is asked nevertheless."""
    return f"{agent.error}; asking the running agent, which goes on with what it read before"


def _named_in(file: Path) -> dict[str, Path]:
    """The paths of the agent that the text of the file names, by key."""
    try:
        text = files.read(file.resolve(), LARGEST)[0].decode(errors="replace")
    except (OSError, RuntimeError):
        return {}
    return {key: Path(path) for key, path in _PATH.findall(text)}
