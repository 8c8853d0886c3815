"""Only what shows a time to people, or must know a date, reads the wall clock, which jumps."""

from __future__ import annotations

import re
from pathlib import Path

import netbond

PACKAGE = Path(netbond.__file__).parent
WALL_CLOCK = re.compile(
    r"\btime\.time(_ns)?\(|datetime\.(now|utcnow|today)\(|\bdate\.today\(|CLOCK_REALTIME|gettimeofday"
)

# What each does when the clock jumps is in docs/reliability.md ("Clocks").
READERS = {
    "cli/doctor_bundle.py",  # dates in an archive
    "cli/doctor_look.py",  # whether the clock is right
    "cli/events.py",  # --since, and whether a date is today's
    "cli/install.py",  # which of dhclient's leases, which have dates, still hold
    "cli/status.py",  # ages of what has a date
    "page/server.py",  # until when a cookie holds
    "reconciler.py",  # dates of events
    "sources/data_plans.py",  # months
    "sources/networkd.py",  # files have dates: only how old one is
    "sources/overrides.py",  # how long the box was off
    "system/clock.py",  # when the box was started, for people
    "system/files.py",  # which temporaries are old, either way
}


def test_who_reads_the_wall_clock() -> None:
    files = [path for kind in ("py", "c", "h") for path in PACKAGE.rglob(f"*.{kind}")]
    found = {
        str(path.relative_to(PACKAGE))
        for path in files
        if path.relative_to(PACKAGE).parts[0] != "lab" and WALL_CLOCK.search(path.read_text())
    }
    assert found == READERS
