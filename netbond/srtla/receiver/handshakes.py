"""Takes the handshakes of SRT callers whose SRT server depends on the stream id. Pure.

An SRT caller begins with an induction, and says its stream id only in the conclusion that follows. That has
to bear the cookie of the induction's answer, by which a server knows that the caller's address is right
(draft-sharabayko-srt, 4.3.1). So netbond answers the induction itself. When the conclusion has come, and the
server is known, netbond sends that server an induction in the caller's name, and then the conclusion with the
server's cookie in the place of its own. Neither side notices: an SRT listener keeps nothing of an induction,
and the cookie has no part in the encryption. A caller repeats its conclusion until it is answered, and each
time all this is done anew, so nothing is kept that could be out of date.

One thing is lost: a listener's wish for a length of the key (pbkeylen) is in its answer to the induction. The
caller's own wish counts.
"""

from __future__ import annotations

import hashlib

from netbond.srtla import wire


class Handshakes:
    """Answers inductions, and recognises the conclusions of those who have read the answer."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 16 to 64 random bytes; cookies are made of it, so nothing is kept of an induction."""
        self._secret = secret

    def begin(self, group: bytes, induction: bytes) -> bytes:
        """The answer to the induction of a caller of this group."""
        return wire.answer_induction(induction, self._cookie(group, wire.handshake_socket(induction)))

    def conclude(self, group: bytes, conclusion: bytes) -> bytes | None:
        """The induction for the SRT server, before this conclusion may go there; None: its author has not
        read our answer."""
        caller = wire.handshake_socket(conclusion)
        if wire.cookie_of(conclusion) != self._cookie(group, caller):
            return None
        return wire.build_induction(caller)

    def _cookie(self, group: bytes, caller: int) -> int:
        data = group + caller.to_bytes(4, "big")
        return int.from_bytes(hashlib.blake2b(data, key=self._secret, digest_size=4).digest(), "big")


def completed(conclusion: bytes, answer: bytes) -> bytes | None:
    """The conclusion for the SRT server, which has answered its induction; None: this answers another."""
    if not conclusion or wire.destination_of(answer) != wire.handshake_socket(conclusion):
        return None
    return wire.with_cookie(conclusion, wire.cookie_of(answer))
