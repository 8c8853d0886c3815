"""Puts the page together: one document with its style and script in it, and what a phone needs to install it.

One document is one request: over a link of 200 kbit/s with 300 ms of delay each further one would be felt.
Its content security policy names style and script by their hashes, so that nothing else runs in it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

_FILES = resources.files("netbond.page") / "files"
_POLICY: Final = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src 'self';"
    " manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file for browsers, also compressed; `policy` is its content security policy, or ""."""

    body: bytes
    zipped: bytes
    kind: str
    policy: str = ""


def load() -> dict[str, Asset]:
    """Return what is served to everybody, by path. Nothing in it is a secret."""
    style, script = _read("page.css"), _read("page.js")
    document = _read("page.html").replace(b"/*style*/", style).replace(b"/*script*/", script)
    policy = _POLICY.format(script=_hash(script), style=_hash(style))
    return {
        "/": _asset(document, "text/html; charset=utf-8", policy),
        "/manifest.webmanifest": _asset(_read("manifest.json"), "application/manifest+json"),
        "/icon.svg": _asset(_read("icon.svg"), "image/svg+xml", "default-src 'none'"),
        "/icon.png": _asset(_read("icon.png"), "image/png"),
    }


def _read(name: str) -> bytes:
    return (_FILES / name).read_bytes()


def _asset(body: bytes, kind: str, policy: str = "") -> Asset:
    return Asset(body, gzip.compress(body, 9, mtime=0), kind, policy)


def _hash(text: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}"
