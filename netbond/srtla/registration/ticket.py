"""Makes and checks group ids that carry their own proof, so that a REG1 costs the receiver no memory.

What a receiver answers to a REG1 is often never used: floods of REG1 come from forged addresses. If each made
a group, newcomers would be locked out, or each other's half-made groups thrown out. So nothing is kept: the
receiver's half of the id says who registered and when, under a key that only this process knows (as SYN
cookies do for TCP). The group is made by the first REG2 that brings such an id back in time.

The receiver's half, 128 bytes: time slot (4), tags of source (8), prefix (8) and address (16), 60 bytes of
BLAKE2b over these and the sender's half, and 32 more that prove the pre-shared key if the sender has it
(psk.py). Tags are keyed hashes: equal addresses have equal tags.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from netbond.srtla import wire
from netbond.srtla.registration import psk
from netbond.srtla.registration.keyring import Key, Keyring

KEY_LENGTH = 32  # bytes
_SOURCE = slice(4, 12)
_PREFIX = slice(12, 20)
_ADDRESS = slice(20, 36)
_MAC = slice(36, 96)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who registered: whom the quotas count."""

    source: bytes
    prefix: bytes


class Tickets:
    """Issues ids and recognises them."""

    def __init__(self, secret: bytes, lifetime_s: float, keys: Keyring | None = None) -> None:
        """`secret`: random, this process's own. `lifetime_s`: how long an id can be joined at least; at most
        twice that. `keys`: the pre-shared ones."""
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._keys = keys or Keyring()

    def issue(self, half: bytes, address: tuple[Any, ...], now: float, *, key: Key | None = None) -> bytes:
        """The id for this sender's half and address; the same again within a slot of time. `key`: the sender
        knows this one, and must show it again to join."""
        ticket = self.origin_of(address)
        own = (
            (int(now / self._lifetime_s) & 0xFFFFFFFF).to_bytes(4, "big")
            + ticket.source
            + ticket.prefix
            + self._address_tag(address)
        )
        return self._signed(half + own, key)

    def check(self, group: bytes, now: float) -> Ticket | None:
        """The ticket of an id that somebody joins with, if it was issued here and is still good."""
        age = int(now / self._lifetime_s) - _slot(group) & 0xFFFFFFFF
        return self.of(group) if age <= 1 and self._is_ours(group) else None

    def is_before(self, group: bytes, other: bytes) -> bool:
        """Whether an id was issued in an earlier slot of time than another one that was issued here."""
        steps = _slot(other) - _slot(group) & 0xFFFFFFFF
        return 0 < steps < 1 << 31 and self._is_ours(other)

    def _is_ours(self, group: bytes) -> bool:
        """Whether an id to join with was issued here, however long ago."""
        key, issued = self._keys.of_member(group) or (None, group)
        return hmac.compare_digest(issued, self._signed(issued[: wire.HALF_ID + _MAC.start], key))

    def origin_of(self, address: tuple[Any, ...]) -> Ticket:
        """The ticket of a group that was registered from this address, as far as quotas go."""
        source, prefix = origin(str(address[0]))
        return Ticket(self._hash(source.encode(), 8), self._hash(prefix.encode(), 8))

    @staticmethod
    def of(group: bytes) -> Ticket:
        """The ticket of an id that is known to be issued here."""
        own = group[wire.HALF_ID :]
        return Ticket(own[_SOURCE], own[_PREFIX])

    def is_from(self, group: bytes, address: tuple[Any, ...]) -> bool:
        """Whether this id was issued to this very address, however long ago."""
        return hmac.compare_digest(group[wire.HALF_ID :][_ADDRESS], self._address_tag(address))

    @staticmethod
    def are_of_one(group: bytes, other: bytes) -> bool:
        """Whether both ids were issued to the same address."""
        return hmac.compare_digest(group[wire.HALF_ID :][_ADDRESS], other[wire.HALF_ID :][_ADDRESS])

    def _address_tag(self, address: tuple[Any, ...]) -> bytes:
        return self._hash(f"{address[0]} {address[1]} {address[3:]}".encode(), 16)

    def _signed(self, start: bytes, key: Key | None) -> bytes:
        signed = start + self._hash(start + (b"" if key is None else b"keyed"), 60)
        if key is not None:
            return signed + psk.receiver_tag(key.secret, signed)
        return signed + self._hash(signed, 32)

    def _hash(self, data: bytes, size: int) -> bytes:
        return hashlib.blake2b(data, key=self._secret, digest_size=size).digest()


def _slot(group: bytes) -> int:
    """When an id was issued."""
    return int.from_bytes(group[wire.HALF_ID :][:4], "big")


@lru_cache(maxsize=1024)
def origin(host: str) -> tuple[str, str]:
    """Whom quotas count: the IPv4 address and its /24, or the IPv6 /64 and its /48."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return _network(address, 64), _network(address, 48)
        address = address.ipv4_mapped
    return str(address), _network(address, 24)


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> str:
    return str(ipaddress.ip_network((address, length), strict=False))
