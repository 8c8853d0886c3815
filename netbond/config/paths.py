"""Says where netbond's files are by default.

Apart from netbond.config.load because it is quick to import, and a DHCP client waits for `netbond hook`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers take it for typing.TYPE_CHECKING
if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = "/etc/netbond/netbond.toml"
STATE_DIR = "/run/netbond"
CONTROL_SOCKET = "/run/netbond/control.sock"
ROOT_SUFFIX = ".root"  # of the socket beside it that is for root and hooks alone


def config_file(environ: Mapping[str, str] = os.environ) -> str | None:
    """The configuration file that $NETBOND_CONFIG names; None for the default place."""
    return environ.get("NETBOND_CONFIG") or None
