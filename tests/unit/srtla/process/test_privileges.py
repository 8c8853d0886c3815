"""Root given up for an ordinary user."""

from __future__ import annotations

import ast
import os
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


def child(code: str) -> str:
    """What Python says that has run `code` in a process of its own."""
    program = "from netbond.srtla.process import privileges; import os\n" + code
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
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


@needs_root
def test_an_engine_that_stays_root_keeps_three_capabilities() -> None:
    said = child(
        "privileges.shed()\n"
        "print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapPrm'))])"
    )
    assert [int(mask, 16) for mask in ast.literal_eval(said)] == [1 << 10 | 1 << 13 | 1 << 1] * 2


def test_who_is_that_user_already_has_nothing_to_drop() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        assert (
            child("os.setuid(65534); privileges.drop('nobody'); privileges.shed(); print('fine')") == "fine"
        )
    else:
        assert child(f"privileges.drop({me!r}); privileges.shed(); print('fine')") == "fine"
