"""A configuration whose files all lie in a test's own folder, and what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netbond.config.schema import AgentConfig, Config


def agent_in(folder: Path, **more: Any) -> AgentConfig:
    """[agent] with nothing outside of `folder`, and nothing that listens."""
    own: dict[str, Any] = {
        "ip_list": folder / "ips",
        "control_socket": folder / "control.sock",
        "state_dir": folder / "state",
        "data_dir": folder / "data",
        "iproute2_dir": None,
        "metrics": None,
        "user": "nobody",
    }
    return AgentConfig(**(own | more))


def config_in(folder: Path, **tables: Any) -> Config:
    """The configuration with that [agent]."""
    return Config(agent=agent_in(folder), **tables)


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each file below the folder, by its path there: when it was changed (ns), and what it says."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
