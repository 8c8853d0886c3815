"""Where things are by default."""

from __future__ import annotations

from pathlib import Path

from netbond.config import paths
from netbond.config.schema import Config


def test_the_file_that_the_environment_names() -> None:
    assert paths.config_file({"NETBOND_CONFIG": "/etc/x.toml"}) == "/etc/x.toml"
    assert paths.config_file({"NETBOND_CONFIG": ""}) is None
    assert paths.config_file({}) is None


def test_a_hook_looks_where_the_agent_is_by_default() -> None:
    assert Config().agent.state_dir == Path(paths.STATE_DIR)
    assert Config().agent.control_socket == Path(paths.CONTROL_SOCKET)
