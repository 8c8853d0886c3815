"""What sources on the system bus share: following a service, and keeping what it said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netbond.contracts import Traffic
from netbond.sources import bus_source
from netbond.sources.bus_source import BusSource
from netbond.watchers.bus import Follower, Service, Watcher
from tests.buses import PrivateBus, StandIn, serving, until

NAME = "org.example.Netbond"
SERVICE = Service("Example", NAME, "/org/example", "/org/example", {f"{NAME}.Thing": frozenset({"Value"})})


class Things(Watcher[str]):
    """The paths of the service's objects."""

    def _read(self) -> tuple[str, ...]:
        return tuple(sorted(self._follower.objects))


class Example(BusSource[str]):
    """Keeps in a file what the service says."""

    name = "Example"

    def __init__(self, path: Path, *, followed: bool = True) -> None:
        super().__init__(Things(SERVICE, None), path, followed=followed)
        self.recalled = ""

    def recall(self) -> None:
        self.recalled = self._path.read_text()

    def save(self, text: str) -> None:
        self.keep(lambda: void(self._path.write_text(text)))


def void(_: object) -> None:
    """Nothing: what keep() is given returns nothing."""


def objects(path: str = "/org/example/1") -> dict[str, object]:
    return {path: {f"{NAME}.Thing": {}}}


async def test_it_is_complete_as_soon_as_the_service_has_spoken(bus: PrivateBus, tmp_path: Path) -> None:
    looks: list[None] = []
    source = Example(tmp_path / "kept")
    async with StandIn(bus, NAME, serving(objects())):
        await source.start(lambda: looks.append(None), ())
        assert source.complete()
        assert looks == [None]
        assert list(source.problems) == []
        await source.stop()


async def test_a_service_that_is_not_there_is_no_problem(bus: PrivateBus, tmp_path: Path) -> None:
    source = Example(tmp_path / "kept")
    await source.start(lambda: None, ())
    assert source.complete()
    assert list(source.problems) == []
    await source.stop()


async def test_no_bus_is_no_problem_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    source = Example(tmp_path / "kept")
    await source.start(lambda: None, ())
    assert source.complete()
    assert list(source.problems) == []
    await source.stop()


async def test_one_that_hangs_holds_nobody_up_and_is_named(
    bus: PrivateBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_source, "SPEAK_WITHIN_S", 0.05)
    assert Follower._ask.__kwdefaults__ is not None
    monkeypatch.setitem(Follower._ask.__kwdefaults__, "within_s", 0.5)  # instead of CALL_TIMEOUT_S
    source = Example(tmp_path / "kept")
    async with StandIn(bus, NAME, lambda _: None):
        await source.start(lambda: None, ())
        assert not source.complete()
        assert list(source.problems) == []  # it may be slow
        source.tick(Traffic(), 1.0)
        assert not source.complete()
        await until(lambda: source.problems, "it is said that it hangs")
        assert next(iter(source.problems)).startswith("Example does not answer: ")
        source.tick(Traffic(), 2.0)
        assert source.complete()  # what it does not say is not waited for any longer
        await source.stop()


async def test_what_is_not_followed_is_neither_asked_nor_recalled(bus: PrivateBus, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("before")
    source = Example(tmp_path / "kept", followed=False)
    asked: list[object] = []

    async with StandIn(bus, NAME, asked.append):
        await source.start(lambda: None, ())
        await source.once()
        source.save("after")
        await source.stop()
    assert (asked, source.recalled, source.complete()) == ([], "", True)
    assert (tmp_path / "kept").read_text() == "before"


@pytest.mark.parametrize("begin", [Example.once, lambda source: source.start(lambda: None, ())])
async def test_what_was_kept_is_there_before_the_service_is(
    begin: Callable[[Example], object], bus: PrivateBus, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("before")
    source = Example(tmp_path / "kept")
    await begin(source)  # type: ignore[misc]  # a coroutine of either
    assert source.recalled == "before"
    await source.stop()


async def test_once_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("before")
    source = Example(tmp_path / "kept")
    await source.once()
    source.save("after")
    assert (tmp_path / "kept").read_text() == "before"


async def test_a_file_that_cannot_be_read_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kept").write_bytes(b"\xff")
    source = Example(tmp_path / "kept")
    await source.once()
    assert source.recalled == ""
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}/kept: ")
    assert line.endswith("; ignored")


def test_what_cannot_be_kept_is_a_problem_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "folder/kept"
    source = Example(path)
    source.save("after")
    assert list(source.problems) == [f"{path}: No such file or directory"]
    path.parent.mkdir()
    source.save("after")
    assert list(source.problems) == []
    assert path.read_text() == "after"
