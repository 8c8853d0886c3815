"""The socket for those who follow an engine's advice: none of them can hold it up or fill it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netbond.errors import UnavailableError
from netbond.srtla.advice import Advice, LinkAdvice
from netbond.srtla.process import watchsocket
from netbond.srtla.process.watchsocket import MAX_READERS, WatchSocket
from netbond.srtla.watch import VERSION, WatchLine
from netbond.system.typed_json import to_json
from tests.unit.srtla.process.engines import on_packet_loop, until

LINE = WatchLine(VERSION, "127.0.0.1:6000", "connected", Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48))
LATER = WatchLine(VERSION, "127.0.0.1:6000", "registering", None)
SAID = {"ok": True, **to_json(LINE)}
SAID_LATER = {"ok": True, **to_json(LATER)}


def connect(path: Path) -> socket.socket:
    reader = socket.socket(socket.AF_UNIX)
    reader.connect(str(path))
    reader.setblocking(False)
    return reader


async def heard(reader: socket.socket) -> list[dict[str, Any]]:
    """The lines that have come; at least one, or the end of file."""
    data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(reader, 1 << 20), 5)
    return [json.loads(line) for line in data.splitlines()]


def serving(path: Path, main: Callable[[WatchSocket], Any]) -> None:
    """Run it with an open socket on the engines' own loop."""

    async def within() -> None:
        own.start()
        await main(own)

    with WatchSocket(path) as own:
        on_packet_loop(within)


def test_readers_get_the_present_line_and_each_that_comes(tmp_path: Path) -> None:
    async def main(own: WatchSocket) -> None:
        early = connect(tmp_path / "s")
        await until(lambda: own._readers)
        own.tell(LINE, 1.0)
        assert await heard(early) == [SAID]
        late = connect(tmp_path / "s")
        assert await heard(late) == [SAID], "at once"
        own.tell(LATER, 1.2)
        assert [await heard(early), await heard(late)] == [[SAID_LATER], [SAID_LATER]]
        early.close()
        own.tell(LINE, 1.4)
        assert await heard(late) == [SAID]
        await until(lambda: len(own._readers) == 1)
        late.close()

    serving(tmp_path / "s", main)


def test_a_line_is_due_when_none_was_told_lately(tmp_path: Path) -> None:
    with WatchSocket(tmp_path / "s") as own:
        assert own.due(0.0)
        own.tell(LINE, 10.0)
        assert not own.due(10.2)
        assert own.due(11.0)


def test_one_who_does_not_read_is_dropped_and_the_others_go_on(tmp_path: Path) -> None:
    links = tuple(LinkAdvice(f"usb{n}", "up", 1, "measured", 1, 1, 1, 0.0, 1) for n in range(16))
    long = WatchLine(VERSION, "s", "connected", Advice(1, 1, 1, 1, 0.0, 1, links))

    async def main(own: WatchSocket) -> None:
        deaf, good = connect(tmp_path / "s"), connect(tmp_path / "s")
        await until(lambda: len(own._readers) == 2)
        for number in range(200):
            own.tell(long, float(number))
            assert await heard(good)
        assert len(own._readers) == 1
        waiting = 0
        while part := deaf.recv(1 << 20):
            waiting += len(part)
        assert waiting <= 4 * watchsocket.READER_BUFFER, "the kernel counts its own overhead, too"
        deaf.close()
        good.close()

    serving(tmp_path / "s", main)


def test_readers_are_limited(tmp_path: Path) -> None:
    async def main(own: WatchSocket) -> None:
        readers = [connect(tmp_path / "s") for _ in range(MAX_READERS)]
        await until(lambda: len(own._readers) == MAX_READERS)
        one_more = connect(tmp_path / "s")
        assert await heard(one_more) == [{"ok": False, "error": "too many follow already; end one of them"}]
        assert await heard(one_more) == []
        readers.pop().close()
        await until(lambda: self_cleaned(own))
        again = connect(tmp_path / "s")
        await until(lambda: len(own._readers) == MAX_READERS)
        for reader in (*readers, one_more, again):
            reader.close()

    def self_cleaned(own: WatchSocket) -> bool:
        own.tell(LINE, 0.0)
        return len(own._readers) < MAX_READERS

    serving(tmp_path / "s", main)


def test_what_a_reader_says_is_passed_over_and_too_much_of_it_ends_it(tmp_path: Path) -> None:
    async def main(own: WatchSocket) -> None:
        polite, done, flood = (connect(tmp_path / "s") for _ in range(3))
        await until(lambda: len(own._readers) == 3)
        polite.sendall(b'{"command": "watch"}\n')
        done.shutdown(socket.SHUT_WR)  # as `socat - UNIX:...` without input does
        flood.sendall(b"x" * 10_000)
        await until(lambda: len(own._readers) == 2)
        own.tell(LINE, 1.0)
        assert [await heard(polite), await heard(done)] == [[SAID], [SAID]]
        for reader in (polite, done, flood):
            reader.close()

    serving(tmp_path / "s", main)


def test_without_descriptors_it_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short:
        """A listener that has no descriptor left at first."""

        def __init__(self, real: socket.socket) -> None:
            self.real, self.tries = real, 0

        def accept(self) -> Any:
            self.tries += 1
            if self.tries == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return self.real.accept()

        def fileno(self) -> int:
            return self.real.fileno()

        def close(self) -> None:
            self.real.close()

    monkeypatch.setattr(watchsocket, "AGAIN_S", 0.05)

    async def main(own: WatchSocket) -> None:
        reader = connect(tmp_path / "s")
        await until(lambda: own._readers)
        assert own._listener.tries == 2, "no busy loop"  # type: ignore[attr-defined]
        reader.close()

    own = WatchSocket(tmp_path / "s")
    own._listener = Short(own._listener)  # type: ignore[assignment]

    async def within() -> None:
        own.start()
        await main(own)

    with own:
        on_packet_loop(within)


# --- its place ---------------------------------------------------------------------------------------------


def test_only_its_user_and_group_may_read_and_it_is_removed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with WatchSocket(tmp_path / "s"):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    finally:
        os.umask(before)
    assert not (tmp_path / "s").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the socket to another user")
def test_it_belongs_to_the_user_that_the_engine_becomes(tmp_path: Path) -> None:
    with WatchSocket(tmp_path / "s", "nobody"):
        assert (tmp_path / "s").stat().st_uid == 65534
    with WatchSocket(tmp_path / "s", "no such user"):  # who becomes that user says so
        assert (tmp_path / "s").stat().st_uid == 0


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("file", "it is not a socket"),
        ("link", "it is not a socket"),
        ("used", r"another process listens there \(pid \d+\)"),
        ("none/s", "No such file or directory"),
        ("x" * 120, "AF_UNIX path too long"),
    ],
)
def test_a_place_that_is_not_free_is_named_in_one_line(tmp_path: Path, place: str, says: str) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with socket.socket(socket.AF_UNIX) as used:
        used.bind(str(tmp_path / "used"))
        used.listen()
        with pytest.raises(UnavailableError, match=rf"^--watch-socket {tmp_path}/{place}: {says}; name "):
            WatchSocket(tmp_path / place)
    assert (tmp_path / "file").read_text() == "precious"
