"""Whom a real engine runs as, on a box with the user `netbond` and on one without."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, wait_for

pytestmark = pytest.mark.root

UID = 987
CONFIG = '[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "10.0.0.1:5000"\n'


class BoxOfUsers(Box):
    """Its agent finds its own /etc/passwd."""

    def command(self, *words: str) -> list[str]:
        """Return a netbond command line that runs in this box."""
        bind = f'mount --bind {self.folder}/passwd /etc/passwd && exec "$@"'
        inside = ["unshare", "--mount", "sh", "-c", bind, "sh", sys.executable, "-m", "netbond", *words]
        return ["ip", "netns", "exec", self.name, *inside]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[BoxOfUsers]:
    with BoxOfUsers(tmp_path) as box:
        box.plug("usb0", 0)
        box.ip("link", "set", "lo", "up")
        yield box


@pytest.mark.parametrize("own", [True, False])
def test_whom(box: BoxOfUsers, *, own: bool) -> None:
    users = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("netbond:")]
    if own:
        users.append(f"netbond:x:{UID}:{UID}::/nonexistent:/usr/sbin/nologin")
    (box.folder / "passwd").write_text("\n".join(users) + "\n")
    box.configure(CONFIG, agent='user = "netbond"')
    box.start()
    wait_for(lambda: box.status()["engines"][0]["state"] == "running", 10, "the sender runs")
    status = Path(f"/proc/{box.status()['engines'][0]['pid']}/status").read_text()
    uid = UID if own else 65534
    assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    assert "\nGroups:\t \n" in status
    said = [each for each in box.status()["agent"]["problem_details"] if each["code"] == "engine-user"]
    assert [each["severity"] for each in said] == ([] if own else ["notice"])
    assert box.log.read_text().count("engines run as nobody, as other services may") == (0 if own else 1)
