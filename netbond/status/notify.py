"""Tells systemd the verdict: the line "Status" of `systemctl status netbond`, by sd_notify's protocol."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from netbond.status.schema import Verdict

SPACING_S = 5.0  # between two lines of the same code: rates differ each second


class UnitStatus:
    """Sends the status text of the unit, if systemd has asked for it (NOTIFY_SOCKET)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._path = environ.get("NOTIFY_SOCKET", "")
        if self._path.startswith("@"):
            self._path = "\0" + self._path[1:]  # an abstract socket
        self._told: Verdict | None = None
        self._at = float("-inf")

    def tell(self, verdict: Verdict | None, now: float) -> None:
        """Send the verdict if it is another; `now` is monotonic seconds. No OSError."""
        if not self._path or verdict is None or verdict == self._told:
            return
        same_code = self._told is not None and self._told.code == verdict.code
        if same_code and now - self._at < SPACING_S:
            return
        self._told, self._at = verdict, now
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(f"STATUS={verdict.text}".encode(), self._path)
