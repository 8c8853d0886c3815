"""Masks what must not be in a bug report: secrets, addresses, numbers of SIMs and modems, hosts. Pure.

Each value has the same mask wherever it stands, so that a reader still sees what belongs together. What is
masked is found by its form, by the name of its key, or because it is told to the masker.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable

# Values under these keys of JSON and TOML, at any depth: whatever a person, a SIM or a device is known by.
KEYS = frozenset(
    (
        *("serial", "imei", "imsi", "iccid", "iccids", "eid", "sim_path", "own_numbers", "phone"),
        *(
            "stream_id",
            "streamid",
            "stream",
            "password",
            "passphrase",
            "secret",
            "token",
            "key",
            "pin",
            "puk",
        ),
        *("apn", "user_name", "username", "ssid", "bssid", "connection", "hostname"),
    )
)
_LONGEST_ADDRESS = 45
_KEPT = frozenset(("0.0.0.0", "::", "255.255.255.255"))  # noqa: S104 - they say nothing of anybody

_IPV4 = re.compile(r"(?<!\d)(?:\d{1,3}\.){3}\d{1,3}(?!\d)")
# A run of hexadecimal digits and colons, which may be a time. One pass: texts of megabytes are masked.
_IPV6 = re.compile(r"(?<![0-9A-Fa-f:])(?P<run>[0-9A-Fa-f:]{2,})(?P<rest>(?:\.\d{1,3}){3}(?!\d))?")
_MAC = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[:-]){5,}[0-9A-Fa-f]{2}(?![0-9A-Fa-f])")
_MAC_IN_NAME = re.compile(r"(?:(?<=enx)|(?<=wlx)|(?<=wwx)|\b)(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{12}\b")
_HOME = re.compile(r"(?<=/home/)[^/\s\"']+")
_NUMBER = re.compile(r"(?<!\d)\d{14,22}[Ff]?(?!\d)")  # IMEI, IMSI, ICCID
_URL = re.compile(r"(?<=://)[^\s\"'<>]+")
_TOKEN = re.compile(r"(?<![\w/+.-])(?=[\w+-]*\d)(?=[\w+-]*[A-Za-z])[A-Za-z0-9+_-]{24,}={0,2}", re.ASCII)
_ASSIGNED = re.compile(
    r"(?P<head>\b(?:"
    + "|".join(sorted(KEYS))
    + r")\b[\"']?\s*[=:]\s*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,;}\]]+)",
    re.IGNORECASE,
)


class Masker:
    """Masks texts. `secrets` are values to mask wherever they stand, `hosts` names, likewise."""

    def __init__(self, secrets: Iterable[str] = (), hosts: Iterable[str] = ()) -> None:
        self._masks: dict[tuple[str, str], str] = {}
        self._count: dict[str, int] = {}
        known = dict.fromkeys(secrets, "secret") | dict.fromkeys(hosts, "host")
        # A mask for what is shorter would be everywhere.
        self._known = {value: kind for value, kind in known.items() if len(value) >= 3}
        longest = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if longest else None

    def mask(self, text: str) -> str:
        """The text without what identifies anybody."""
        if self._pattern is not None:
            text = self._pattern.sub(lambda found: self._named(self._known[found[0]], found[0]), text)
        text = _HOME.sub(lambda found: self._named("user", found[0]), text)
        text = _URL.sub(lambda found: self._named("url", found[0]), text)
        text = _ASSIGNED.sub(self._assigned, text)
        text = _MAC.sub(lambda found: self._named("mac", found[0].lower().replace("-", ":")), text)
        text = _MAC_IN_NAME.sub(self._mac_in_name, text)
        text = _IPV6.sub(self._address6, text)
        text = _IPV4.sub(self._address, text)
        text = _NUMBER.sub(lambda found: self._named("number", found[0]), text)
        return _TOKEN.sub(lambda found: self._named("secret", found[0]), text)

    def mask_json(self, value: object) -> object:
        """The JSON value with each text in it masked, and whatever stands under one of KEYS."""
        if isinstance(value, dict):
            return {
                self.mask(key): self._hidden(key, inner) if key.lower() in KEYS else self.mask_json(inner)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.mask_json(inner) for inner in value]
        return self.mask(value) if isinstance(value, str) else value

    def json_text(self, value: object) -> str:
        """The same as text."""
        return json.dumps(self.mask_json(value), indent=2) + "\n"

    def _hidden(self, key: str, value: object) -> object:
        if isinstance(value, str):
            return self._named(key.lower(), value) if value else value
        if isinstance(value, list):
            return [self._hidden(key, inner) for inner in value]
        if isinstance(value, dict):
            return self.mask_json(value)
        return value if value is None or isinstance(value, bool) else self._named(key.lower(), str(value))

    def _assigned(self, found: re.Match[str]) -> str:
        quote = found["value"][0] if found["value"][0] in "\"'" else ""
        inner = found["value"].strip(quote) if quote else found["value"]
        key = re.match(r"\w+", found["head"])
        if not inner or inner.startswith("<") or key is None:
            return found[0]
        return f"{found['head']}{quote}{self._named(key[0].lower(), inner)}{quote}"

    def _mac_in_name(self, found: re.Match[str]) -> str:
        """Of an interface's name, as `enx0c5b8f279a64`."""
        digits = found[0]
        return self._named("mac", ":".join(digits[at : at + 2] for at in range(0, 12, 2)))

    def _address6(self, found: re.Match[str]) -> str:
        """Of a run of hexadecimal digits and colons: "2001:db8::5: no answer" has a colon that is no part."""
        run, rest = found["run"], found["rest"] or ""
        if run.count(":") < 2 or len(run) > _LONGEST_ADDRESS:
            return found[0]
        if rest and _is_address(run + rest):
            return self._masked(run + rest)
        for head in (0, 1):
            for tail in (len(run), len(run) - 1):
                if run[:head] in ("", ":") and run[tail:] in ("", ":") and _is_address(run[head:tail]):
                    return run[:head] + self._masked(run[head:tail]) + run[tail:] + rest
        return found[0]

    def _address(self, found: re.Match[str]) -> str:
        return self._masked(found[0]) if _is_address(found[0]) else found[0]

    def _masked(self, text: str) -> str:
        address = ipaddress.ip_address(text)
        if text in _KEPT or address.is_loopback:
            return text
        kind = f"ip{address.version}"
        for word, holds in _KINDS:
            if holds(address):
                kind += f"-{word}"
                break
        return self._named(kind, str(address))

    def _named(self, kind: str, value: str) -> str:
        """The mask of this value: `<mac-2>`."""
        mask = self._masks.get((kind, value))
        if mask is None:
            self._count[kind] = self._count.get(kind, 0) + 1
            mask = self._masks[kind, value] = f"<{kind}-{self._count[kind]}>"
        return mask


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# What kind of address it is often is the fault: the first that holds.
_KINDS: tuple[tuple[str, Callable[[ipaddress.IPv4Address | ipaddress.IPv6Address], bool]], ...] = (
    ("multicast", lambda address: address.is_multicast),
    ("link", lambda address: address.is_link_local),
    ("carrier", lambda address: address.version == 4 and address in ipaddress.ip_network("100.64.0.0/10")),
    ("private", lambda address: address.is_private),
    ("public", lambda _: True),
)
