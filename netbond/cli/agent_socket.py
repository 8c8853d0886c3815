"""Finds the agent's control socket for commands that only ask, also if the configuration file is broken."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from netbond.config.load import DEFAULT_PATH, LARGEST, load
from netbond.config.schema import Config
from netbond.errors import ConfigError
from netbond.system import files

# As a person writes the key, for a file that is no longer TOML.
_CONTROL_SOCKET = re.compile(r"""^\s*control_socket\s*=\s*["']([^"'\n]+)["']""", re.MULTILINE)


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

    A file with mistakes is asked for the key nevertheless: the agent runs with what it read before.
    """
    try:
        loaded = load(config)
    except ConfigError as error:
        defaults, file = Config(), config or DEFAULT_PATH
        return AgentSocket(
            path=socket or _named_in(file) or defaults.agent.control_socket,
            protocol=defaults.routing.protocol,
            state_dir=defaults.agent.state_dir,
            error=error,
            broken=not file.exists() or os.access(file, os.R_OK),
        )
    agent = loaded.agent
    return AgentSocket(socket or agent.control_socket, loaded.routing.protocol, agent.state_dir)


def _named_in(file: Path) -> Path | None:
    try:
        text = files.read(file.resolve(), LARGEST)[0].decode(errors="replace")
    except (OSError, RuntimeError):
        return None
    found = _CONTROL_SOCKET.search(text)
    return Path(found[1]) if found and found[1].startswith("/") else None
