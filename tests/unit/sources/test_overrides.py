"""What people set: in force, on the disk, over restarts, and at an end when its time is over."""

from __future__ import annotations

import asyncio
import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.config.schema import AgentConfig, Config
from netbond.contracts import Traffic
from netbond.desired import desired
from netbond.errors import UnavailableError, UsageError
from netbond.model import Facts, Override
from netbond.overrides import SAVE_INTERVAL_S, Moment
from netbond.sources import overrides as tested
from netbond.sources.overrides import FILE, Overrides
from netbond.status.protocol import SetRequest, UnsetRequest
from netbond.status.schema import OverrideStatus, Sections, Snapshot, from_json
from netbond.system import clock, files
from tests.unit.boxes import box
from tests.unit.status.faults import at_home

FACTS = box("usb0", "usb1")
SNAPSHOT: Snapshot = from_json(at_home())
HOUR = 3600.0
BOOT = Moment("a", 1000.0, 1_800_000_000.0, synchronised=True)


class Rig:
    """A source whose clocks are this class's, and an agent that makes a pass whenever it is told to look."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.now = folder, BOOT
        self.told: list[str] = []
        self.looks = 0
        monkeypatch.setattr(tested, "moment", lambda: self.now)
        monkeypatch.setattr(clock, "now", lambda: self.now.boot_s)
        monkeypatch.setattr(tested, "synchronised", lambda: self.now.synchronised)
        self.config = replace(parse(""), agent=AgentConfig(data_dir=folder))
        self.source = Overrides(self.config)

    async def start(self, config: Config | None = None) -> None:
        """As the agent does, also again."""
        self.config = config or self.config
        self.source = Overrides(self.config)
        self.source.listen(lambda news: self.told.append(news.text))
        await self.source.start(self.look, ())
        await self.apply()

    def look(self) -> None:
        self.looks += 1
        self._pass = asyncio.get_running_loop().create_task(self.apply())

    async def apply(self) -> None:
        facts = self.facts()
        await self.source.apply(facts, desired(facts, self.config), self.config)

    def facts(self) -> Facts:
        return self.source.contribute(FACTS, self.now.boot_s)

    async def later(self, seconds: float, ticks: int = 1) -> None:
        self.now = replace(self.now, boot_s=self.now.boot_s + seconds, wall_s=self.now.wall_s + seconds)
        for _ in range(ticks):
            self.source.tick(Traffic(), 0.0)
            await asyncio.sleep(0)
        if self.source._saving is not None:
            await self.source._saving

    def shown(self) -> tuple[OverrideStatus, ...]:
        return self.source.status(Sections(), (), 0.0).overrides

    def file(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / FILE).read_text())
        return found


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


async def test_it_is_set_and_unset(rig: Rig) -> None:
    await rig.start()
    reply = await rig.source.set(SetRequest("usb1", "mode", "off", HOUR), SNAPSHOT)
    assert (reply.text, reply.undo) == ("usb1 set off by root for 1 h", "netbond unset usb1 mode")
    assert (reply.before, reply.warnings) == ((), ())
    assert rig.facts().overrides == (Override("usb1", "off", by="root"),)
    assert rig.looks == 1
    off = OverrideStatus("usb1", "mode", "off", "root", 0.0, HOUR, "normal")
    assert rig.shown() == (off,)
    await rig.later(60.0)
    reply = await rig.source.set(SetRequest("usb1", "mode", "backup", by="alice"), SNAPSHOT)
    assert reply.undo == "netbond set usb1 off --for 3540s"
    assert reply.before == (replace(off, since_s=60.0, left_s=3540.0),)
    await rig.source.set(SetRequest("usb1", "weight", 3), SNAPSHOT)
    reply = await rig.source.unset(UnsetRequest("usb1", by="alice"), SNAPSHOT)
    assert reply.text == "usb1: backup, weight 3 unset by alice"
    assert reply.undo == "netbond set usb1 backup; netbond set usb1 weight 3"
    assert (rig.shown(), rig.facts().overrides) == ((), ())
    assert rig.told == [
        "usb1 set off by root for 1 h",
        "usb1 set backup by alice",
        "usb1 set weight 3 by root",
        "usb1: backup, weight 3 unset by alice",
    ]
    reply = await rig.source.unset(UnsetRequest("usb1"), SNAPSHOT)
    assert (reply.text, reply.undo, len(rig.told)) == ("nothing is set of usb1", "", 4)


async def test_the_last_uplink_is_not_set_off_by_mistake(rig: Rig) -> None:
    await rig.start()
    alone = replace(SNAPSHOT, uplinks=SNAPSHOT.uplinks[:1])
    with pytest.raises(UnavailableError, match=r"usb0 is the last uplink that works for IPv4, .* add --yes"):
        await rig.source.set(SetRequest("usb0", "mode", "off"), alone)
    assert rig.facts().overrides == ()
    reply = await rig.source.set(SetRequest("usb0", "mode", "off", yes=True), alone)
    assert reply.warnings == ("no uplink is left for IPv4",)
    await rig.source.set(SetRequest("usb0", "mode", "backup"), alone)  # it stays in use


async def test_what_cannot_be_changes_nothing(rig: Rig) -> None:
    await rig.start()
    for request in (SetRequest("usb7", "mode", "off"), SetRequest("usb1", "weight", 0)):
        with pytest.raises((UnavailableError, UsageError)):
            await rig.source.set(request, SNAPSHOT)
    with pytest.raises(UsageError, match="'colour' cannot be set"):
        await rig.source.unset(UnsetRequest("usb1", "colour"), SNAPSHOT)
    assert (rig.told, rig.looks, (rig.folder / FILE).exists()) == ([], 0, False)


async def test_one_that_is_away_is_set_for_later(rig: Rig) -> None:
    await rig.start()
    await rig.source.set(SetRequest("usb1", "mode", "off"), SNAPSHOT)
    reply = await rig.source.set(
        SetRequest("usb1", "mode", "off"), replace(SNAPSHOT, uplinks=SNAPSHOT.uplinks[:1])
    )
    assert reply.warnings == ("usb1 is not there now; it holds when it is",)


async def test_over_restarts_and_reboots(rig: Rig) -> None:
    await rig.start()
    await rig.source.set(SetRequest("usb1", "mode", "off", HOUR), SNAPSHOT)
    assert rig.file()["kind"] == "overrides"
    await rig.later(60.0)
    await rig.start()  # after a kill -9
    assert rig.facts().overrides == (Override("usb1", "off", by="root"),)
    assert rig.shown()[0].left_s == HOUR - 60
    await rig.source.stop()
    rig.now = Moment("b", 5.0, BOOT.wall_s + 600.0, synchronised=True)
    await rig.start()
    assert rig.shown()[0].left_s == HOUR - 600
    await rig.later(HOUR)
    assert rig.told[-1] == "usb1: set off ended"
    assert (rig.facts().overrides, rig.file()["settings"]) == ((), [])


async def test_what_is_over_is_not_in_force_for_a_moment(rig: Rig) -> None:
    await rig.start()
    await rig.source.set(SetRequest("usb1", "mode", "off", HOUR), SNAPSHOT)
    rig.now = Moment("b", 5.0, BOOT.wall_s + 2 * HOUR, synchronised=True)
    await rig.start()
    assert rig.facts().overrides == ()
    await rig.later(1.0)
    assert rig.told[-1] == "usb1: set off ended"


async def test_a_time_server_answers_after_the_boot(rig: Rig) -> None:
    """Until then only the time that the box runs counts. What is set meanwhile is not touched."""
    await rig.start()
    for name in ("usb0", "usb1"):
        await rig.source.set(SetRequest(name, "mode", "backup", HOUR), SNAPSHOT)
    rig.now = Moment("b", 100.0, 0.0, synchronised=False)
    await rig.start()
    await rig.source.set(SetRequest("usb0", "mode", "backup", HOUR), SNAPSHOT)
    assert [one.left_s for one in rig.shown()] == [HOUR, HOUR - 100]
    rig.now = Moment("b", 100.0, BOOT.wall_s + 1000.0, synchronised=True)
    await rig.later(0.0)
    assert [one.left_s for one in rig.shown()] == [HOUR, HOUR - 1000]
    await rig.later(0.0)
    assert [one.left_s for one in rig.shown()] == [HOUR, HOUR - 1000]


async def test_what_is_left_is_written_now_and_then(rig: Rig) -> None:
    """A power cut adds so much at most; without a time nothing is written."""
    await rig.start()
    await rig.source.set(SetRequest("usb1", "mode", "off"), SNAPSHOT)
    first = rig.file()
    await rig.later(10 * SAVE_INTERVAL_S)
    assert rig.file() == first
    await rig.source.set(SetRequest("usb1", "mode", "off", HOUR), SNAPSHOT)
    await rig.later(SAVE_INTERVAL_S - 1)
    assert rig.file()["settings"][0]["left_s"] == HOUR  # type: ignore[index]
    await rig.later(1.0)
    assert rig.file()["settings"][0]["left_s"] == HOUR - SAVE_INTERVAL_S  # type: ignore[index]


async def test_a_file_that_makes_no_sense(rig: Rig) -> None:
    (rig.folder / FILE).write_text('{"kind": "overrides", "version": 1, "written": 3}')
    (rig.folder / FILE).chmod(0o600)
    await rig.start()
    assert rig.source.problems[0].endswith("what people have set is not in force")
    await rig.source.set(SetRequest("usb1", "mode", "off"), SNAPSHOT)
    assert rig.source.problems == ()


async def test_a_file_that_cannot_be_read_at_the_start_is_read_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without descriptors, for example. What it has is not lost if something is set then."""
    await rig.start()
    await rig.source.set(SetRequest("usb1", "mode", "off"), SNAPSHOT)
    for then in ("tick", "set"):
        with monkeypatch.context() as patched:
            patched.setattr(files, "read", refuse)
            await rig.start()
            await rig.later(1.0)
            assert "Too many open files" in rig.source.problems[0]
            assert rig.facts().overrides == ()
        if then == "tick":
            await rig.later(1.0, ticks=2)
            assert rig.looks == 2
        else:
            await rig.source.set(SetRequest("usb0", "weight", 3), SNAPSHOT)
        assert Override("usb1", "off", by="root") in rig.facts().overrides
        assert rig.source.problems == ()
    await rig.source.stop()


def refuse(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_no_place_for_it(rig: Rig) -> None:
    (rig.folder / FILE).mkdir()
    await rig.start()
    assert "what people have set is not in force" in rig.source.problems[0]
    reply = await rig.source.set(SetRequest("usb1", "mode", "off"), SNAPSHOT)
    assert reply.warnings[0].endswith("what is set would be lost by a restart")
    assert rig.facts().overrides == (Override("usb1", "off", by="root"),)


async def test_a_pass_that_hangs_does_not_hold_up_the_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.start()
    monkeypatch.setattr(tested, "APPLIED_S", 0.01)
    monkeypatch.setattr(rig, "apply", lambda: asyncio.sleep(0))
    assert (await rig.source.set(SetRequest("usb1", "mode", "off"), SNAPSHOT)).warnings == ()


async def test_what_the_configuration_says_is_beside_it(rig: Rig) -> None:
    text = '[[uplink]]\nmatch = "usb1"\nbackup = true\nweight = "auto"\npriority = 4'
    await rig.start(replace(parse(text), agent=rig.config.agent))
    for what, value in (("priority", 9), ("weight", 3), ("mode", "normal")):
        await rig.source.set(SetRequest("usb1", what, value), SNAPSHOT)
    assert [(one.what, one.value, one.configured) for one in rig.shown()] == [
        ("mode", "normal", "backup"),
        ("weight", 3, "auto"),
        ("priority", 9, 4),
    ]


def test_this_box() -> None:
    now = tested.moment()
    assert len(now.boot) == 36
    assert now.boot_s > 0
