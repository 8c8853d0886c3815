"""Finds which of a receiver's keys a sender has shown that it knows (psk.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netbond.srtla.registration import psk


@dataclass(frozen=True, slots=True)
class Key:
    """A pre-shared key."""

    secret: bytes
    name: str = ""  # of the streams of those who have it; "": it names none


class Keyring:
    """The keys of a receiver. Each is tried: a microsecond for each key and registration."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._keys = tuple(keys)
        self.names = frozenset(key.name for key in self._keys)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._keys)

    def of_half(self, half: bytes) -> Key | None:
        """The key that the author of this sender's half of an id knows."""
        return next((key for key in self._keys if psk.is_keyed_half(key.secret, half)), None)

    def of_member(self, group: bytes) -> tuple[Key, bytes] | None:
        """The key that the author of an id to join with knows, and the id that was the answer to its REG1."""
        for key in self._keys:
            issued = psk.issued_id(key.secret, group)
            if issued is not None:
                return key, issued
        return None
