"""Root given up for an ordinary user."""

from __future__ import annotations

import os
import platform
import pwd
import subprocess
import sys

import pytest

from netbond.errors import NotPermittedError, UnavailableError
from netbond.srtla.process import privileges


def test_dropping_to_nobody_at_all() -> None:
    with pytest.raises(UnavailableError, match="there is no user 'no-such-user' to run as"):
        privileges.drop("no-such-user")


def test_dropping_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(NotPermittedError, match="cannot become user 'root' without root"):
        privileges.drop("root")


def child(code: str, *changes: str) -> str:
    """What Python says that has run `code` in a process of its own, with these `changes` (setpriv's)."""
    program = "from netbond.srtla.process import privileges; import os\n" + code
    command = ["setpriv", *changes] if changes else []
    run = subprocess.run(
        [*command, sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
def test_there_is_no_way_back_from_another_user() -> None:
    said = child(
        "privileges.drop('nobody')\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "try: os.setuid(0)\n"
        "except PermissionError: print('refused')"
    )
    entry = pwd.getpwnam("nobody")
    user, group = entry.pw_uid, entry.pw_gid
    assert said == f"({user}, {user}, {user}) ({group}, {group}, {group}) []\nrefused"


STATUS = """
for line in open("/proc/self/status"):
    if line.startswith(("Cap", "NoNewPrivs")): print(*line.split())
"""
KEPT = f"{privileges.needed(platform.release()):016x}"


def status(said: str) -> dict[str, str]:
    return dict(line.split(": ") for line in said.splitlines())


@needs_root
@pytest.mark.parametrize("how", ["shed()", "drop('root')"])
def test_an_engine_that_stays_root_keeps_only_what_it_needs(how: str) -> None:
    """user = "root" in the configuration is --user root."""
    assert status(child(f"privileges.{how}\n{STATUS}")) == {
        "CapInh": "0" * 16, "CapPrm": KEPT, "CapEff": KEPT, "CapBnd": KEPT, "CapAmb": "0" * 16,
        "NoNewPrivs": "1",
    }  # fmt: skip


@needs_root
def test_capabilities_of_an_ordinary_user_are_limited_too() -> None:
    """As systemd's AmbientCapabilities= gives them."""
    said = child(
        "import ctypes\n"
        "ctypes.CDLL(None).prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS\n"
        "os.setuid(65534)\n"
        f"privileges.shed()\n{STATUS}"
    )
    assert status(said)["CapEff"] == status(said)["CapPrm"] == KEPT
    assert status(said)["NoNewPrivs"] == "1"


@needs_root
def test_what_programs_would_inherit_is_given_up() -> None:
    given = "+net_bind_service,+net_admin"
    found = status(child(f"privileges.shed()\n{STATUS}", f"--inh-caps={given}", f"--ambient-caps={given}"))
    assert found["CapAmb"] == found["CapInh"] == "0" * 16


@needs_root
def test_an_engine_in_the_service_may_be_unable_to_limit_what_its_programs_could_have() -> None:
    """netbond.service has no CAP_SETPCAP."""
    found = status(child(f"privileges.drop('root')\n{STATUS}", "--bounding-set=-setpcap"))
    assert found["CapEff"] == found["CapPrm"] == KEPT
    assert found["NoNewPrivs"] == "1"


@pytest.mark.parametrize(
    ("release", "raw"),
    [
        ("5.4.0-150-generic", True),
        ("5.6.19", True),
        ("5.7", False),
        ("6.1.0-rpi7-rpi-v8", False),
        ("10.0", False),
        ("4.19.0", True),
        ("odd", True),
    ],
)
def test_sockets_of_devices_need_a_capability_before_linux_5_7(release: str, raw: bool) -> None:
    assert privileges.needed(release) == 1 << 10 | 1 << 1 | (1 << 13 if raw else 0)


def test_who_is_that_user_already_has_nothing_to_drop() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        assert (
            child("os.setuid(65534); privileges.drop('nobody'); privileges.shed(); print('fine')") == "fine"
        )
    else:
        assert child(f"privileges.drop({me!r}); privileges.shed(); print('fine')") == "fine"
