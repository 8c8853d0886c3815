"""Reads the requests of browsers, and writes responses: the part of HTTP/1.1 that the page needs. Pure.

One request a connection: a connection that waits for the next one would keep a place. A request that leaves
room for doubt is refused: two lengths, a body in chunks, a header that is folded or given twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

MAX_HEAD: Final = 8192  # bytes of a request line and its headers
MAX_BODY: Final = 4096
_MAX_HEADERS: Final = 64
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_TARGET = re.compile(r"/[!-~]{0,1023}")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")

# Each response: nothing is kept in caches, nothing is guessed, no other page may show or load it.
_ALWAYS: Final = (
    ("Connection", "close"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body. Names of headers are in lower case; `path` is without the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    length: int = 0  # bytes of the body


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """A request that is not answered as it wishes; `response` says why."""

    def __init__(self, status: HTTPStatus, why: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(why)
        self.response = Response(status, f"{why}\n".encode(), headers=tuple(headers))


def read_head(head: bytes) -> Request:
    """Read what comes before the empty line; RefusedError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not _TARGET.fullmatch(words[1]) or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    if len(lines) > _MAX_HEADERS:
        raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "a header is not understood")
        name = name.lower()
        if name in headers and name != "cookie":
            if name in ("host", "origin", "content-length", "transfer-encoding", "authorization"):
                raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} is given twice")
            continue
        before = f"{headers[name]}; " if name in headers else ""
        headers[name] = before + value.strip()
    if "transfer-encoding" in headers:
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "give the length of the body")
    length = headers.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,9}", length):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the length of the body is no number")
    if int(length) > MAX_BODY:
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body is at most {MAX_BODY} bytes")
    return Request(words[0], words[1].partition("?")[0], headers, int(length))


def write(response: Response, *, body: bool = True) -> bytes:
    """Return the bytes of a response; without `body` only its head, as HEAD asks for."""
    headers = (
        ("Content-Type", response.kind),
        ("Content-Length", str(len(response.body))),
        *_ALWAYS,
        *response.headers,
    )
    return _head(response.status, headers) + (response.body if body else b"")


def write_stream_head() -> bytes:
    """Return the head of a stream of server-sent events, which ends with the connection."""
    return _head(HTTPStatus.OK, (("Content-Type", "text/event-stream"), *_ALWAYS))


def _head(status: HTTPStatus, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")
