"""Whom engines run as."""

from __future__ import annotations

import pwd

import pytest

from netbond.engines.user import engine_user


def known(monkeypatch: pytest.MonkeyPatch, **users: int) -> None:
    def look_up(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", users[name], 1, "", "/", "/bin/false"))

    monkeypatch.setattr(pwd, "getpwnam", look_up)


def test_a_user_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, netbond=995)
    assert engine_user("netbond") == ("netbond", None)


@pytest.mark.parametrize(
    ("uid", "why"),
    [
        (None, "there is no user netbond"),
        (1000, "the user netbond is no system user (its number is 1000)"),
        (0, "the user netbond is no system user (its number is 0)"),
    ],
)
def test_nobody_where_there_is_none(monkeypatch: pytest.MonkeyPatch, uid: int | None, why: str) -> None:
    """A person may have that name."""
    known(monkeypatch, **({} if uid is None else {"netbond": uid}))
    user, problem = engine_user("netbond")
    assert user == "nobody"
    assert problem is not None
    assert (problem.code, problem.severity) == ("engine-user", "notice")
    assert problem.text == f"engines run as nobody, as other services may: {why}"


def test_what_is_configured_otherwise_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    assert engine_user("daemon") == ("daemon", None)
    assert engine_user("nobody") == ("nobody", None)
