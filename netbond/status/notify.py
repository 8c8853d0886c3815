"""Tells systemd how the agent is, by sd_notify: ready, reloading, alive, stopping, and the verdict.

The verdict is the line "Status" of `systemctl status netbond`. "Alive" means that a pass has succeeded: an
agent that runs and does nothing is as bad as one that hangs, and systemd starts it again (WatchdogSec of the
unit).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from netbond.status.schema import Verdict

SPACING_S = 5.0  # between two lines of the same code: rates differ each second
ALIVE_SPACING_S = 1.0  # between two signs of life: in a storm of events there are hundreds of passes a second


class UnitStatus:
    """Speaks to systemd if it has asked for it (NOTIFY_SOCKET, WATCHDOG_USEC). No method raises OSError."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = environ.get("NOTIFY_SOCKET", "")
        if self._path.startswith("@"):
            self._path = "\0" + self._path[1:]  # an abstract socket
        self._watched = "WATCHDOG_USEC" in environ
        self._told: Verdict | None = None
        self._at = float("-inf")
        self._alive_at = float("-inf")

    def ready(self) -> None:
        """The first pass is done, or a reload."""
        self._send("READY=1")

    def reloading(self, now: float) -> None:
        """A reload begins; ready() ends it. `now` is monotonic seconds."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(now * 1_000_000)}")

    def alive(self, now: float) -> None:
        """A pass has succeeded; `now` is monotonic seconds."""
        if self._watched and now - self._alive_at >= ALIVE_SPACING_S:
            self._alive_at = now
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The agent was told to stop."""
        self._send("STOPPING=1")

    def tell(self, verdict: Verdict | None, now: float) -> None:
        """Send the verdict if it is another; `now` is monotonic seconds."""
        if not self._path or verdict is None or verdict == self._told:
            return
        same_code = self._told is not None and self._told.code == verdict.code
        if same_code and now - self._at < SPACING_S:
            return
        self._told, self._at = verdict, now
        self._send(f"STATUS={verdict.text}")

    def _send(self, text: str) -> None:
        if not self._path:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), self._path)
