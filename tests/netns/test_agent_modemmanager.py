"""The agent and ModemManager: what the modem says is in its status, and roaming can exclude an uplink.

The stand-in has what ModemManager's simulated modem lacks: a network port. The tests of the watcher use the
real one.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_next import Variant

from netbond.watchers.modemmanager import MODEM_3GPP, NAME
from tests.buses import PrivateBus, StandIn, serving
from tests.netns.box import Box, wait_for
from tests.netns.mm import ModemManagerBox, SimulatedModem
from tests.unit.watchers.modems import PATH, PROPERTIES, modem

pytestmark = pytest.mark.root


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as running:
        yield running


@pytest.fixture
def box(tmp_path: Path, bus: PrivateBus) -> Iterator[Box]:
    with Box(tmp_path) as box:
        box.environment["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address
        for number in range(2):
            box.plug(f"usb{number}", number)
        yield box


async def test_a_sim_that_waits_for_its_pin_is_seen(box: Box, bus: PrivateBus, tmp_path: Path) -> None:
    box.configure(agent='metrics = "127.0.0.1:10470"')
    box.ip("addr", "add", "127.0.0.1/8", "dev", "lo", check=False)

    with ModemManagerBox(tmp_path, bus) as manager:
        await asyncio.to_thread(manager.start)
        await asyncio.to_thread(box.start)
        async with SimulatedModem(f"nbtp{tmp_path.name}") as simulated:
            simulated.answers["+CPIN?"] = "+CPIN: SIM PIN"
            await manager.plug(simulated)
            await until(lambda: "SIM waits for sim-pin" in str(box.status()["idle_modems"]), "it is seen")
            look = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:10470/metrics').read())"
            metrics = await asyncio.to_thread(box.run, sys.executable, "-c", look)
            assert 'state="locked",why="SIM waits for sim-pin"} 0.0' in metrics
            socket = str(box.folder / "control.sock")
            shown = await asyncio.to_thread(box.run, *box.command("status", "--socket", socket)[4:])
            assert ": SIM waits for sim-pin" in shown


async def until(condition: Callable[[], bool], what: str) -> None:
    """wait_for() while the event loop of the stand-in goes on."""
    await asyncio.to_thread(wait_for, condition, 15, what)


def states(box: Box) -> dict[str, str]:
    return {uplink["device"]: uplink["state"] for uplink in box.status()["uplinks"]}


async def test_operator_and_signal_are_in_the_status_and_roaming_excludes(box: Box, bus: PrivateBus) -> None:
    box.configure('[[uplink]]\nmatch = "usb*"\nexclude_roaming = true\n')

    async with StandIn(bus, NAME, serving({PATH: modem("usb1")})) as service:
        await asyncio.to_thread(box.start)
        await until(lambda: "usb1" in box.status()["modems"], "the modem is known")
        found = box.status()["modems"]["usb1"]
        assert (found["operator"], found["signal_quality"]) == ("T-Mobile", 72)
        assert found["summary"] == "T-Mobile LTE 72 %"
        assert states(box) == {"usb0": "up", "usb1": "up"}

        for registration, expected in ((5, {"usb0"}), (1, {"usb0", "usb1"})):
            change = {"RegistrationState": Variant("u", registration)}
            words = [MODEM_3GPP, change, []]
            await service.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", words)
            await until(lambda wanted=expected: set(states(box)) == wanted, f"{expected}")  # type: ignore[misc]
            assert ("dev usb1" in box.table(222)) == ("usb1" in expected)
            # What is bound to it goes by no other modem meanwhile.
            way = box.ip("route", "get", "8.8.8.8", "from", "10.0.1.10", check=False)
            assert (" dev " in way, " dev usb1 " in way) == (("usb1" in expected,) * 2)
        await until(lambda: box.status()["agent"]["problems"] == [], "nothing to say")


async def test_a_sender_is_told_which_links_roam_or_have_a_budget(box: Box, bus: PrivateBus) -> None:
    box.plug("usb2", 2)
    box.configure(
        """
        [[uplink]]
        match = "usb0"
        budget = "5GB"
        [[sender]]
        listen = "127.0.0.1:6000"
        receiver = "203.0.113.1:5000"
        """
    )

    def metered() -> dict[str, bool]:
        stats = box.status()["engines"][0]["stats"] or {"links": []}
        return {link["label"]: link["metered"] for link in stats["links"]}

    async with StandIn(bus, NAME, serving({PATH: modem("usb1")})) as service:
        await asyncio.to_thread(box.start)
        at_home = {"usb0": True, "usb1": False, "usb2": False}
        await until(lambda: metered() == at_home, "at home")
        change = {"RegistrationState": Variant("u", 5)}
        await service.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", [MODEM_3GPP, change, []])
        await until(lambda: metered() == at_home | {"usb1": True}, "it roams")
        codes = {one["code"] for one in box.status()["agent"]["problem_details"]}
        assert codes <= {"pure-flavour", "not-registered"}, "no receiver is there, and that is said"


async def test_one_that_roams_is_out_from_the_first_pass_on(box: Box, bus: PrivateBus) -> None:
    box.configure('[[uplink]]\nmatch = "usb*"\nexclude_roaming = true\n')

    async with StandIn(bus, NAME, serving({PATH: modem("usb1", registration=5)})):
        await asyncio.to_thread(box.start)
        assert set(states(box)) == {"usb0"}
        assert "now: it roams" not in box.log.read_text()
        assert "usb1 is up" not in box.log.read_text()


async def test_the_agent_and_modemmanager_restart_together(box: Box, bus: PrivateBus) -> None:
    """Nobody says that it roams then; it did, and not a packet is to cost money for that."""
    box.configure('[[uplink]]\nmatch = "usb*"\nexclude_roaming = true\n')

    async with StandIn(bus, NAME, serving({PATH: modem("usb1", registration=5)})):
        await asyncio.to_thread(box.start)
        assert set(states(box)) == {"usb0"}
        box.stop(signal.SIGKILL)
    await asyncio.to_thread(box.start)
    assert set(states(box)) == {"usb0"}
    async with StandIn(bus, NAME, serving({})):  # it is back, and has not found the modem yet
        await until(lambda: "ModemManager: followed" in box.log.read_text(), "it is followed")
        await asyncio.sleep(0.3)
        assert set(states(box)) == {"usb0"}
    async with StandIn(bus, NAME, serving({PATH: modem("usb1")})):
        await until(lambda: set(states(box)) == {"usb0", "usb1"}, "usb1 is at home")
    assert "usb1 is up" not in box.log.read_text().partition("ModemManager: absent")[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '["", 5, "../x", "a\\u001b[b"]', "[" * 9000, "x" * 70000])
def test_a_broken_memory_of_roaming_harms_nobody(box: Box, text: str) -> None:
    (box.folder / "state").mkdir()
    (box.folder / "state/roaming.json").write_text(text)
    (box.folder / "state/networkmanager.json").write_text(text)
    box.start()
    assert set(states(box)) == {"usb0", "usb1"}
    assert "mistake" not in box.log.read_text()


async def test_modemmanager_comes_goes_and_hangs(box: Box, bus: PrivateBus) -> None:
    """What it said of roaming holds while it is away; hanging, it is named, and routing goes on."""
    box.configure('[[uplink]]\nmatch = "usb*"\nexclude_roaming = true\n')

    await asyncio.to_thread(box.start)
    assert set(states(box)) == {"usb0", "usb1"}
    async with StandIn(bus, NAME, serving({PATH: modem("usb1", registration=5)})):
        await until(lambda: set(states(box)) == {"usb0"}, "usb1 roams")
    await asyncio.sleep(0.5)
    assert set(states(box)) == {"usb0"}
    async with StandIn(bus, NAME, lambda _: None):
        await until(
            lambda: "ModemManager does not answer: " in str(box.status()["agent"]["problems"]), "it hangs"
        )
        await asyncio.to_thread(box.ip, "rule", "del", "pref", "100")
        await until(lambda: "from 10.0.0.10 lookup 100" in box.rules(), "the rule is repaired")
    async with StandIn(bus, NAME, serving({PATH: modem("usb1")})):
        await until(lambda: set(states(box)) == {"usb0", "usb1"}, "usb1 is at home")
        await until(lambda: box.status()["agent"]["problems"] == [], "all is well")


async def test_beside_a_real_modemmanager_whose_modem_vanishes_while_it_is_asked(
    box: Box, bus: PrivateBus, tmp_path: Path
) -> None:
    with ModemManagerBox(tmp_path, bus) as manager:
        await asyncio.to_thread(manager.start)
        await asyncio.to_thread(box.start)
        async with SimulatedModem(f"nbta{tmp_path.name}") as simulated:
            await manager.plug(simulated)

            def idle() -> dict[str, Any]:
                """It has no interface, so it is no uplink, and is shown all the same."""
                found = box.status()["idle_modems"]
                return dict(found[0]) if found else {}

            await manager.mmcli("-m", "any", "--enable")
            # It tells of them one after the other.
            wanted = {
                "operator": "T-Mobile",
                "signal_quality": 70,
                "state": "registered",
                "why": "no data connection: registered",
                "summary": "T-Mobile LTE 70 %",
            }
            await until(lambda: wanted.items() <= idle().items(), "operator, signal and state")
            simulated.hangs_at = "+CSQ"
            await asyncio.sleep(1.0)
            await simulated.vanish()
        manager.stop(kill=True)
        await until(lambda: "ModemManager: absent" in box.log.read_text(), "its death is seen")
    assert states(box) == {"usb0": "up", "usb1": "up"}
    await until(lambda: box.status()["agent"]["problems"] == [], "nothing to say")
