"""The optional pre-shared key: sender and receiver prove in the ids of groups that they know it.

It lives in the parts of an id that are random to everybody else, so that programs without it notice nothing:

    REG1             nonce (96), tag of the sender (32), and in the half that does not count MARK
    REG2, answer     the sender's half, then the receiver's, which ends with the tag of the receiver (32) over
                     all before it: it knows the key, and has seen this nonce
    REG2, to join    the same with the tag of the sender replaced by another over nonce and receiver's half

A group is made only with the third tag, which only an owner of the key can make, and only for a half that
this receiver has just made up: a REG1 that was recorded helps nobody. The three tags differ in what they are
for (`person`), so that none can be sent back as another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from functools import lru_cache
from pathlib import Path

from netbond.errors import UsageError
from netbond.srtla import wire
from netbond.system import files

TAG = 32  # bytes
NONCE = wire.HALF_ID - TAG
MARK = b"netbond key  1\0\0"  # "the sender has a key", where other receivers do not look
KEY_MIN = 16  # bytes
KEY_MAX = 4096


def first_id(key: bytes, random: bytes) -> bytes:
    """An id for REG1, from 256 random bytes."""
    nonce = random[:NONCE]
    return nonce + _tag(key, b"reg1", nonce) + MARK + random[wire.HALF_ID + len(MARK) :]


def is_claimed(group: bytes) -> bool:
    """Whether the author of this REG1 says that it has a key."""
    return group[wire.HALF_ID :].startswith(MARK)


def is_keyed_half(key: bytes, half: bytes) -> bool:
    """Whether the author of this sender's half knows the key."""
    return len(half) == wire.HALF_ID and _is_tag(half[NONCE:], key, b"reg1", half[:NONCE])


def receiver_tag(key: bytes, signed: bytes) -> bytes:
    """The end of the receiver's half, over all of the id before it."""
    return _tag(key, b"reg2", signed)


def is_answered(key: bytes, group: bytes) -> bool:
    """Whether the author of this answer to REG1 knows the key."""
    return _is_tag(group[-TAG:], key, b"reg2", group[:-TAG])


def joining_id(key: bytes, group: bytes) -> bytes:
    """The id to join with, from the answer to REG1."""
    nonce, own = group[:NONCE], group[wire.HALF_ID :]
    return nonce + _tag(key, b"join", nonce + own) + own


def issued_id(key: bytes, group: bytes) -> bytes | None:
    """The id that was the answer to REG1, from one to join with; None: its author does not know the key."""
    nonce, own = group[:NONCE], group[wire.HALF_ID :]
    if not _is_tag(group[NONCE : wire.HALF_ID], key, b"join", nonce + own):
        return None
    return nonce + _tag(key, b"reg1", nonce) + own


def _is_tag(tag: bytes, key: bytes, purpose: bytes, signed: bytes) -> bool:
    return hmac.compare_digest(tag, _tag(key, purpose, signed))


def _tag(key: bytes, purpose: bytes, signed: bytes) -> bytes:
    return hashlib.blake2b(signed, key=_fitting(key), digest_size=TAG, person=b"netbond-" + purpose).digest()


@lru_cache(maxsize=128)
def _fitting(key: bytes) -> bytes:
    """A key of any length, made to one that fits."""
    return hashlib.blake2b(key).digest()


def read(path: Path, option: str = "--key-file") -> bytes:
    """The key in a file: its content without white space around it. Read before root is given up. `option`
    named the file.

    UsageError: there is none, or others could have read or written it.
    """
    try:
        data, status = files.read(path, KEY_MAX)
    except OSError as error:
        raise UsageError(f"{option} {path}: {files.why(error)}", "name a file that holds the key") from None
    if status.st_uid not in (0, os.geteuid()):
        raise UsageError(f"{option} {path}: it belongs to somebody else", f"chown root {path}")
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise UsageError(f"{option} {path}: others can read or write it", f"chmod 600 {path}")
    key = data.strip()
    if len(key) < KEY_MIN:
        raise UsageError(
            f"{option} {path}: {len(key)} bytes are too few",
            f"make one of {KEY_MIN} or more: openssl rand -hex 32",
        )
    return key
