"""Names streams by the SRT stream id of their caller, without telling the secret that it often is. Pure.

An SRT caller may say in its handshake which stream it brings (draft-sharabayko-srt, 3.2.1.3): a path such as
"publish/live/feed1", or "#!::r=live/feed1,m=publish". Whoever knows it can often publish in its place, so
only root sees the id. Everybody else sees the path without its last part, and in its place four digits of a
hash: "publish/live/~3f2a". So few digits tell streams apart and are no test for guesses, as one guess in
65,536 has them, too.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from typing import Final

from netbond.srtla import wire
from netbond.system.text import printable

MAX_LENGTH: Final = 512  # bytes of a stream id in SRT
MAX_ASKED: Final = 8  # callers whose handshake is not complete, the newest

_STANDARD = "#!::"  # SRT's access control guidelines: what follows are key=value pairs
_PATH = re.compile(r"[A-Za-z0-9._/-]*")  # of what follows, anything may be a user or a token
_SHOWN: Final = 64  # characters of the path


def clean(text: str) -> str:
    """A stream id on one line, without anything that a terminal acts on."""
    return printable(text, MAX_LENGTH)


def display_name(stream_id: str, *, public: bool = False) -> str:
    """What everybody may call the stream with this id; "" if it has none. `public`: ids are no secret."""
    if public or not stream_id:
        return stream_id
    path = stream_id
    if stream_id.startswith(_STANDARD):
        pairs = dict(pair.partition("=")[::2] for pair in stream_id.removeprefix(_STANDARD).split(","))
        path = pairs.get("r", "")
    plain = _PATH.match(path)
    shown = plain[0].rstrip("/") if plain is not None else ""
    shown = shown[: shown.rfind("/", 0, _SHOWN) + 1]
    return f"{shown}~{hashlib.blake2b(stream_id.encode(), digest_size=2).hexdigest()}"


class StreamIds:
    """The stream ids that SRT callers ask for over one group or listener, until the server accepts one.

    Anybody can send a handshake in another's name. Only the server's answer says which caller was right.
    """

    def __init__(self) -> None:
        self.accepted = (
            ""  # of the connection that the server accepted last; "": it has none, or none is known
        )
        self._asked: OrderedDict[int, str] = OrderedDict()  # by the caller's SRT socket id

    def asked(self, data: bytes) -> None:
        """A handshake of an SRT caller."""
        if not wire.is_conclusion(data):
            return
        socket_id = wire.handshake_socket(data)
        self._asked.pop(socket_id, None)
        self._asked[socket_id] = stream_id_of(data)
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)

    def answered(self, data: bytes) -> bool:
        """A handshake of the SRT server. Whether it accepts a caller, who is the stream from now on."""
        stream_id = self._asked.get(wire.destination_of(data)) if wire.is_conclusion(data) else None
        if stream_id is None:
            return False
        self._asked.clear()
        self.accepted = stream_id
        return True


def stream_id_of(data: bytes) -> str:
    """The stream id in an SRT caller's conclusion handshake; "" if it has none."""
    return clean((wire.parse_stream_id(data) or b"").decode(errors="replace"))


def resumed(value: object) -> str:
    """A stream id that the engine before has left."""
    return clean(value) if isinstance(value, str) else ""
