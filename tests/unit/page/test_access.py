"""Who may use the page: other names, other pages, no token."""

from __future__ import annotations

import pytest

from netbond.page.access import LASTS_S, Access
from netbond.page.http import RefusedError, Request

TOKEN = b"correct horse battery"
NOW = 1_800_000_000.0


def get(host: str, method: str = "GET", **headers: str) -> Request:
    return Request(
        method, "/", {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )


def refused(access: Access, request: Request) -> int:
    with pytest.raises(RefusedError) as caught:
        access.check(request)
    return caught.value.response.status.value


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:10470",
        "localhost",
        "LOCALHOST:8080",
        "[::1]:10470",
        "192.168.1.5",
        "box.lan:10470",
        "Box.LAN.",
    ],
)
def test_a_host_that_no_foreign_page_can_have(host: str) -> None:
    Access(frozenset(["box.lan"])).check(get(host))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "box.lan.evil.example",
        "a b",
        "[::1",
        "box.lan:x",
        "2130706433",
    ],
)
def test_dns_rebinding(host: str) -> None:
    assert refused(Access(frozenset(["box.lan"])), get(host)) == 421


def test_a_request_that_changes_something_comes_from_the_page_itself() -> None:
    plain, tls = Access(), Access(secure=True)
    plain.check(get("127.0.0.1:1", "POST", origin="http://127.0.0.1:1"))
    tls.check(get("127.0.0.1:1", "POST", origin="https://127.0.0.1:1"))
    for origin in ("", "null", "http://evil.example", "http://127.0.0.1:2", "https://127.0.0.1:1"):
        assert refused(plain, get("127.0.0.1:1", "POST", origin=origin)) == 403
    assert refused(plain, get("127.0.0.1:1", "POST")) == 403
    assert refused(plain, get("127.0.0.1:1", "PUT", origin="http://evil.example")) == 403


def test_other_pages_may_lead_here_and_no_more() -> None:
    access = Access()
    access.check(get("localhost", sec_fetch_site="cross-site", sec_fetch_mode="navigate"))
    access.check(get("localhost", sec_fetch_site="same-origin", sec_fetch_mode="cors"))
    access.check(get("localhost", sec_fetch_site="none", sec_fetch_mode="navigate"))
    for site in ("cross-site", "same-site"):
        for mode in ("cors", "no-cors"):
            assert refused(access, get("localhost", sec_fetch_site=site, sec_fetch_mode=mode)) == 403


def cookie_of(access: Access) -> str:
    name, value = access.log_in(TOKEN + b"\n", NOW)
    assert name == "Set-Cookie"
    return value


def test_who_knows_the_token_gets_a_cookie_that_does_not_tell_it() -> None:
    access = Access(token=TOKEN)
    value = cookie_of(access)
    assert TOKEN.decode() not in value
    assert value.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Strict", f"Max-Age={LASTS_S}"]
    pair = value.split(";")[0]
    assert access.logged_in(get("box", cookie=f"other=1; {pair}"), NOW)
    assert access.logged_in(get("box", cookie=pair), NOW + LASTS_S - 1)
    assert not access.logged_in(get("box", cookie=pair), NOW + LASTS_S)
    assert not Access(token=b"another token, longer").logged_in(get("box", cookie=pair), NOW)


def test_with_tls_the_cookie_is_for_this_host_only() -> None:
    value = cookie_of(Access(token=TOKEN, secure=True))
    assert value.startswith("__Host-netbond=")
    assert value.endswith("; Secure")


@pytest.mark.parametrize(
    "cookie", ["", "netbond", "netbond=", "netbond=9999999999.", "netbond=9999999999.ffff", "netbond=x.y"]
)
def test_a_cookie_that_was_made_up(cookie: str) -> None:
    assert not Access(token=TOKEN).logged_in(get("box", cookie=cookie), NOW)


def test_an_end_that_was_moved() -> None:
    access = Access(token=TOKEN)
    ends, code = cookie_of(access).split(";")[0].removeprefix("netbond=").split(".")
    assert not access.logged_in(get("box", cookie=f"netbond={int(ends) + 1}.{code}"), NOW)


@pytest.mark.parametrize("given", [b"", b"wrong", TOKEN[:-1], TOKEN + b"x"])
def test_a_wrong_token(given: bytes) -> None:
    with pytest.raises(RefusedError, match="this is not the token"):
        Access(token=TOKEN).log_in(given, NOW)


def test_a_script_may_send_the_token_itself() -> None:
    access = Access(token=TOKEN)
    assert access.logged_in(get("box", authorization=f"Bearer {TOKEN.decode()}"), NOW)
    assert not access.logged_in(get("box", authorization="Bearer x"), NOW)
    assert not access.logged_in(get("box", authorization=f"Basic {TOKEN.decode()}"), NOW)


def test_a_page_without_a_token() -> None:
    assert Access().logged_in(get("box"), NOW)
    with pytest.raises(RefusedError):
        Access().log_in(b"", NOW)
