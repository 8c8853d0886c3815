"""The cable: packets go from one end of a link to the other as its impairments say; requests are answered."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netbond.errors import NetbondError, UnavailableError
from netbond.lab import cable, netns
from netbond.lab.cable import Cable, Wire, request

WIRES = [Wire("usb0", "m0", "radio0", "net", "m0"), Wire("usb1", "m1", "radio0", "net", "m1", ("delay=1",))]


class Rig:
    """A running cable whose TUN devices are sockets: `ends` by namespace and device."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "cable.sock"
        self.path.touch()  # of one that was killed
        self.ends: dict[str, socket.socket] = {}
        self.others: list[socket.socket] = []
        where = [""]

        def call_in(namespace: str, function: Callable[[], int]) -> int:
            where[0] = namespace
            return function()

        def open_tun(device: str) -> int:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            theirs.setblocking(False)
            self.ends[f"{where[0]} {device}"] = ours
            self.others.append(theirs)
            return theirs.fileno()

        monkeypatch.setattr(netns, "call_in", call_in)
        monkeypatch.setattr(cable, "open_tun", open_tun)
        self.cable = Cable(WIRES, self.path)
        self.wake, self.waker = os.pipe()
        self.thread = threading.Thread(target=self.cable.run, args=(self.wake,))
        self.thread.start()

    def close(self) -> None:
        self.cable.stop()
        os.write(self.waker, b"x")
        self.thread.join(10)
        for sock in (*self.ends.values(), *self.others, self.cable._listener):
            sock.close()
        os.close(self.wake)
        os.close(self.waker)

    def heard(self, end: str, within_s: float = 10.0) -> bytes:
        """The next packet at that end; b"" if none comes."""
        ready, _, _ = select.select([self.ends[end]], [], [], within_s)
        return self.ends[end].recv(2000) if ready else b""


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(tmp_path, monkeypatch)
    yield rig
    rig.close()


def test_what_goes_in_at_one_end_comes_out_at_the_other(rig: Rig) -> None:
    rig.ends["m0 radio0"].send(b"up")
    assert rig.heard("net m0") == b"up"
    rig.ends["net m1"].send(b"down")
    assert rig.heard("m1 radio0") == b"down"
    assert rig.heard("net m1", 0.05) == b"", "links are apart"


def test_what_is_lost_does_not_come_out_and_is_counted(rig: Rig) -> None:
    request(rig.path, {"impair": "usb0", "words": ["up.loss=100"]})
    rig.ends["m0 radio0"].send(b"up")
    assert rig.heard("net m0", 0.1) == b""
    rig.ends["net m0"].send(b"down")
    assert rig.heard("m0 radio0") == b"down"
    found = request(rig.path, {"stats": True})
    assert set(found) == {"usb0", "usb1"}
    assert (found["usb0"]["up"]["lost"], found["usb0"]["down"]["lost"]) == (1, 0)
    assert found["usb0"]["up"]["words"] == ["loss=100"]
    assert found["usb1"]["up"]["words"] == ["delay=1"]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"impair": "usb9", "words": []}, "invalid request"),
        ({"impair": "usb0", "words": ["rate=x"]}, "rate"),
        ({"nothing": 1}, "invalid request"),
        ([], "invalid request"),
    ],
)
def test_mistakes_are_answered(rig: Rig, message: object, says: str) -> None:
    with pytest.raises(NetbondError, match=says):
        request(rig.path, message)  # type: ignore[arg-type]  # that is what is tried
    rig.ends["m0 radio0"].send(b"still there")
    assert rig.heard("net m0") == b"still there"


def test_who_says_nothing_holds_up_nobody_for_long(rig: Rig) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(rig.path))
        assert "error" in json.loads(silent.makefile("rb").readline())
    assert request(rig.path, {"stats": True})


def test_a_cable_that_has_ended_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="the cable process has ended"):
        request(tmp_path / "none", {"stats": True})


def test_it_ends_when_its_device_is_deleted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def deleted(_handle: int, _size: int) -> bytes:
        raise OSError(77, "File descriptor in bad state")

    monkeypatch.setattr(os, "read", deleted)
    rig.ends["m0 radio0"].send(b"x")
    rig.thread.join(10)
    assert not rig.thread.is_alive()
    monkeypatch.undo()
