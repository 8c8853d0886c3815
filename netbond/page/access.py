"""Decides who may use the page: by the host that is asked for, the page that asks, and a token. Pure.

A page on somebody's phone must not be usable by other pages that this person visits:

- Host. A foreign name may be made to lead here (DNS rebinding). Allowed are addresses, `localhost`, and the
  names of the configuration: a foreign page is never reached by one of these.
- Origin. What changes something must come from the page itself (cross-site request forgery).
- Token. Whoever knows it gets a cookie, which scripts cannot read, and which browsers send from the page
  only. The cookie does not hold the token, but proves with a code over its end that somebody knew it.
  Another token ends all of them.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from netbond.page.http import RefusedError, Request

LASTS_S: Final = 30 * 86400  # from one login to the next
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one page."""

    hosts: frozenset[str] = frozenset()  # names, in lower case
    token: bytes | None = None  # None: the page asks for none
    secure: bool = False  # whether the page has TLS

    def check(self, request: Request) -> None:
        """Refuse what other pages could have sent (RefusedError), before anything is answered."""
        host = request.headers.get("host", "")
        if not self._known(host):
            raise RefusedError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this page is not known by that name; add it to the key hosts of [page]",
            )
        if request.method in ("GET", "HEAD"):
            # A link on another page may lead here; its scripts, images and frames may not.
            if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
                request.headers.get("sec-fetch-mode") != "navigate"
            ):
                raise RefusedError(HTTPStatus.FORBIDDEN, "this request is from another page")
            return
        origin = request.headers.get("origin", "")
        if origin.lower() != f"{'https' if self.secure else 'http'}://{host.lower()}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "this request is from another page")

    def _known(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().removesuffix(".")
        if name == "localhost" or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    # --- the token -----------------------------------------------------------------------------------------

    @property
    def cookie_name(self) -> str:
        """Browsers take a name with this prefix over TLS only, and for this host and no other."""
        return "__Host-netbond" if self.secure else "netbond"

    def logged_in(self, request: Request, time: float) -> bool:
        """Whether somebody who knows the token has sent it; `time` is Unix time."""
        if self.token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode("latin-1"), self.token)
        ends, _, code = _cookies(request.headers).get(self.cookie_name, "").partition(".")
        if not re.fullmatch("[0-9]{1,12}", ends):
            return False
        return hmac.compare_digest(code.encode("latin-1"), self._code(ends)) and time < int(ends)

    def log_in(self, given: bytes, time: float) -> tuple[str, str]:
        """Return the header that sets the cookie; RefusedError for a wrong token. `time` is Unix time."""
        if self.token is None or not hmac.compare_digest(given.strip(), self.token):
            raise RefusedError(HTTPStatus.FORBIDDEN, "this is not the token")
        ends = str(int(time) + LASTS_S)
        value = f"{ends}.{self._code(ends).decode()}"
        secure = "; Secure" if self.secure else ""
        return (
            "Set-Cookie",
            f"{self.cookie_name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={LASTS_S}{secure}",
        )

    def _code(self, ends: str) -> bytes:
        key = hashlib.sha256(b"netbond page " + (self.token or b"")).digest()
        return hmac.new(key, ends.encode(), hashlib.sha256).hexdigest().encode()


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """The cookies of a request; of several with one name the first, as for a closer path."""
    found: dict[str, str] = {}
    for part in headers.get("cookie", "").split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found
