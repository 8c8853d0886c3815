"""Which interfaces roam: said by ModemManager on the bus, and kept for the next agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dbus_next import Variant

from netbond.model import Facts
from netbond.sources.modemmanager import ModemManager
from netbond.status.schema import Sections
from netbond.watchers.modemmanager import MODEM, MODEM_3GPP, NAME, SERVICE, RoamingFile
from tests.buses import PrivateBus, StandIn, serving, until
from tests.unit.places import config_in, content

PATH = f"{SERVICE.namespace}/Modem/0"


def modem(registration: int = 5) -> dict[str, Any]:
    """One modem; 5: it roams, 1: it is at home."""
    return {
        PATH: {
            MODEM: {"Ports": Variant("a(su)", [["wwan0", 2]]), "State": Variant("i", 11)},
            MODEM_3GPP: {"RegistrationState": Variant("u", registration)},
        }
    }


async def test_who_roams_still_does_when_it_is_away(bus: PrivateBus, tmp_path: Path) -> None:
    source = ModemManager(config_in(tmp_path))
    async with StandIn(bus, NAME, serving(modem())):
        await source.start(lambda: None, ())
        assert source.contribute(Facts(), 5.0).roaming == {"wwan0"}
        shown = source.status(Sections(), {"wwan0"}, 0.0)
        assert [(name, modem.roaming) for name, modem in shown.modems.items()] == [("wwan0", True)]
        assert shown.idle_modems == ()
        shown = source.status(Sections(), {"usb0"}, 0.0)
        assert shown.modems == {}
        assert [(modem.device, modem.state) for modem in shown.idle_modems] == [("wwan0", "connected")]
    await until(lambda: source._watcher.status() == "absent", "it has left the bus")
    assert source.contribute(Facts(), 6.0).roaming == {"wwan0"}
    await source.stop()

    after = ModemManager(config_in(tmp_path))
    await after.start(lambda: None, ())
    assert after.contribute(Facts(), 7.0).roaming == {"wwan0"}
    assert list(after.problems) == []
    await after.stop()


async def test_who_is_at_home_again_is_not_kept(bus: PrivateBus, tmp_path: Path) -> None:
    file = RoamingFile(tmp_path / "state")
    file.save(["wwan0"])
    source = ModemManager(config_in(tmp_path))
    async with StandIn(bus, NAME, serving(modem(registration=1))):
        await source.start(lambda: None, ())
        assert source.contribute(Facts(), 5.0).roaming == frozenset()
        await source.stop()
    assert file.load() == frozenset()


async def test_once_reads_what_was_kept_and_writes_nothing(tmp_path: Path) -> None:
    RoamingFile(tmp_path / "state").save(["wwan0"])
    before = content(tmp_path)
    source = ModemManager(config_in(tmp_path))
    await source.once()
    assert source.contribute(Facts(), 5.0).roaming == {"wwan0"}
    source._watcher._facts = ()  # whatever it says
    assert source.contribute(Facts(), 6.0).roaming == frozenset()
    assert content(tmp_path) == before


async def test_a_file_that_is_none_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/roaming.json").write_text("{")
    source = ModemManager(config_in(tmp_path))
    await source.once()
    assert source.contribute(Facts(), 5.0).roaming == frozenset()
    assert caplog.messages == [f"{tmp_path}/state/roaming.json: it is not JSON; ignored"]


async def test_what_cannot_be_kept_is_a_problem_and_tried_again(bus: PrivateBus, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way\n")
    source = ModemManager(config_in(tmp_path))
    async with StandIn(bus, NAME, serving(modem())):
        await source.start(lambda: None, ())
        assert source.contribute(Facts(), 5.0).roaming == {"wwan0"}
        assert list(source.problems) == [f"{tmp_path}/state/roaming.json: Not a directory"]
        (tmp_path / "state").unlink()
        source.contribute(Facts(), 6.0)
        assert list(source.problems) == []
        await source.stop()
    assert RoamingFile(tmp_path / "state").load() == {"wwan0"}
