"""Requests as bytes: what is understood, and what is refused because it could be read in two ways."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.page.access import Access
from netbond.page.http import RefusedError, Request, Response, read_head, write, write_stream_head

HOST = "Host: box"


def refused(*lines: str) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        read_head("\r\n".join(lines).encode("latin-1"))
    return caught.value.response.status.value, str(caught.value)


def test_a_request() -> None:
    head = b"POST /login?next=/x HTTP/1.1\r\nHost: box:10470\r\nCONTENT-length: 12\r\nX-Any:  a: b \r\n"
    head += b"Cookie: a=1\r\nCookie: b=2"
    headers = {"host": "box:10470", "content-length": "12", "x-any": "a: b", "cookie": "a=1; b=2"}
    assert read_head(head) == Request("POST", "/login", headers, 12)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["GET / HTTP/2", HOST], (400, "this is no request of HTTP/1.1")),
        (["GET  / HTTP/1.1", HOST], (400, "this is no request of HTTP/1.1")),
        (["GET http://a/ HTTP/1.1", HOST], (400, "this is no request of HTTP/1.1")),
        (["GET /" + "a" * 1024 + " HTTP/1.1"], (400, "this is no request of HTTP/1.1")),
        (["GET /\x00 HTTP/1.1"], (400, "this is no request of HTTP/1.1")),
        (["\x16\x03\x01\x02"], (400, "this is no request of HTTP/1.1")),
        (["GET / HTTP/1.1", HOST, " folded"], (400, "a header is not understood")),
        (["GET / HTTP/1.1", "Host : box"], (400, "a header is not understood")),
        (["GET / HTTP/1.1", "Host: a\nX: b"], (400, "a header is not understood")),
        (["GET / HTTP/1.1", HOST, "host: evil"], (400, "host is given twice")),
        (
            ["POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"],
            (400, "content-length is given twice"),
        ),
        (["POST / HTTP/1.1", "Content-Length: +5"], (400, "the length of the body is no number")),
        (["POST / HTTP/1.1", "Content-Length: 4097"], (413, "a body is at most 4096 bytes")),
        (["POST / HTTP/1.1", "Transfer-Encoding: chunked"], (411, "give the length of the body")),
        (["GET / HTTP/1.1", *["A: b"] * 65], (431, "too many headers")),
    ],
)
def test_what_is_refused(lines: list[str], says: tuple[int, str]) -> None:
    assert refused(*lines) == says


def test_a_response_is_kept_by_nobody_and_framed_by_nobody() -> None:
    response = Response(HTTPStatus.OK, b"{}", "application/json", (("Vary", "Accept-Encoding"),))
    assert write(response).decode() == (
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: application/json\r\n"
        "Content-Length: 2\r\n"
        "Connection: close\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "X-Frame-Options: DENY\r\n"
        "Referrer-Policy: no-referrer\r\n"
        "Cross-Origin-Resource-Policy: same-origin\r\n"
        "Cross-Origin-Opener-Policy: same-origin\r\n"
        "Vary: Accept-Encoding\r\n"
        "\r\n"
        "{}"
    )
    assert write(response, body=False).endswith(b"\r\n\r\n")
    assert b"Content-Type: text/event-stream\r\n" in write_stream_head()
    assert b"Content-Length" not in write_stream_head()


@settings(max_examples=300)
@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(["GET / HTTP/1.1", "Host: a", "Cookie: netbond=1.2", "Origin: null", "Host:", ":"])
        | st.text(max_size=20),
        max_size=6,
    ).map(lambda lines: "\r\n".join(lines).encode("latin-1", errors="replace"))
)
def test_whatever_comes_is_understood_or_refused(head: bytes) -> None:
    try:
        request = read_head(head)
    except RefusedError as error:
        write(error.response)
        return
    assert request.path.startswith("/")
    Access(token=b"correct horse battery").logged_in(request, 0.0)
    with suppress(RefusedError):
        Access().check(request)
