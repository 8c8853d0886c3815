"""Following a service on a bus where things go wrong: what real services do too seldom."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from dbus_next import Message, Variant

from netbond.watchers.bus import SETTLE_S
from netbond.watchers.modemmanager import (
    MODEM_3GPP,
    NAME,
    SERVICE,
    summary,
)
from netbond.watchers.networkmanager import NetworkManagerWatcher
from tests.buses import PrivateBus, StandIn, serving, until
from tests.unit.watchers.modems import PATH, PROPERTIES, modem, quality, said, watching

STORM = 1000  # signals
NOBODY = 65534  # a user that the bus knows


async def test_the_first_report(bus: PrivateBus) -> None:
    """At its start, the agent waits for what it would otherwise take for gone, but not for ever."""

    async with watching("unix:abstract=nbt-no-such-bus") as watcher:
        assert await watcher.reported(5.0)
        assert watcher.facts() == ()
    async with StandIn(bus, NAME, serving({PATH: modem()})), watching(bus.address) as watcher:
        assert await watcher.reported(5.0)
        assert said(watcher) == ["usb1: T-Mobile LTE 72 %"]
    async with StandIn(bus, NAME, lambda _: None), watching(bus.address) as watcher:
        assert not await watcher.reported(0.3)


async def test_a_bus_that_refuses(bus: PrivateBus, caplog: pytest.LogCaptureFixture) -> None:
    """Out of match rules, say. netbond's watching goes on trying, and says why."""
    bus.stop()
    bus.configure('<limit name="max_match_rules_per_connection">1</limit>')
    bus.start()

    async with watching(bus.address) as watcher:
        await until(lambda: watcher.status() == "no bus", "no bus")
        assert "LimitsExceeded" in watcher.reason()
        bus.stop()
        bus.configure("")
        bus.start()
        await until(lambda: watcher.status() == "absent", "a bus that does not")
    assert "Traceback" not in caplog.text


async def test_a_storm_of_signals_is_a_few_looks(bus: PrivateBus) -> None:
    looks: list[int] = []
    async with (
        watching(bus.address, look=lambda: looks.append(1)) as watcher,
        StandIn(bus, NAME, serving({PATH: modem()})) as service,
    ):
        await until(watcher.facts, "the modem")
        looks.clear()
        started = asyncio.get_running_loop().time()
        for number in range(STORM):
            await service.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", quality(number % 100))
        await until(lambda: said(watcher) == ["usb1: T-Mobile LTE 99 %"], "the last")
        # No more than one in 10 ms, however long this machine took to send them.
        assert 1 <= len(looks) <= (asyncio.get_running_loop().time() - started) / SETTLE_S + 1


async def test_a_stranger_floods_and_forges(
    bus: PrivateBus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any user may send signals to any connection: theirs are not believed, and cannot keep netbond busy."""

    async with (
        watching(bus.address) as watcher,
        StandIn(bus, NAME, serving({PATH: modem()})) as service,
        StandIn(bus, "", lambda _: None) as stranger,
    ):
        await until(watcher.facts, "the modem")
        target = watcher._follower._bus.unique_name
        evil = [MODEM_3GPP, {"OperatorName": Variant("s", "Evil")}, []]
        owner = [NAME, service.unique, stranger.unique]
        dbus = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss")
        await stranger.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", evil, to=target)
        await stranger.signal(*dbus, owner, to=target)
        await asyncio.sleep(0.2)
        assert said(watcher) == ["usb1: T-Mobile LTE 72 %"]
        assert watcher.status() == "running"

        caplog.clear()
        monkeypatch.setattr("netbond.watchers.bus.FLOOD", 300)
        for _ in range(1000):
            await stranger.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", evil, to=target)
            if watcher.status() == "no bus":
                break
        await until(lambda: watcher.status() == "no bus", "netbond hangs up", 20)
        await until(lambda: watcher.status() == "running", "and is back", 20)
        await until(lambda: said(watcher) == ["usb1: T-Mobile LTE 72 %"], "with the modem")
        assert watcher._follower._bus.unique_name != target
        assert sum("messages a second" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.root
async def test_a_service_that_is_not_roots_is_not_believed(
    bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    """A bus whose policy lets anybody have the name. What comes after it is asked anew."""
    evil = StandIn(bus, NAME, serving({PATH: modem()}))
    async with watching(bus.address) as watcher:
        os.setresuid(NOBODY, NOBODY, 0)
        try:
            await evil.__aenter__()
        finally:
            os.setresuid(0, 0, 0)
        try:
            await until(lambda: f"belongs to user {NOBODY}" in watcher.reason(), "it is asked who that is")
            assert (watcher.status(), watcher.facts()) == ("absent", ())
            await evil.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", quality(5))
            await asyncio.sleep(0.1)
            assert watcher.facts() == ()
        finally:
            await evil.__aexit__()
        assert f"belongs to user {NOBODY}, not to root, and is not believed" in caplog.text
        async with StandIn(bus, NAME, serving({PATH: modem()})):
            await until(watcher.facts, "root's own")
            assert watcher.status() == "running"


async def test_values_of_any_kind(bus: PrivateBus) -> None:
    """Any type in any place: facts come out empty, and nothing breaks."""

    odd = [
        Variant("s", "\x1b[31m" * 50), Variant("i", -7), Variant("d", 1e300), Variant("ay", b"\x00\xff"),
        Variant("a{sv}", {"x": Variant("v", Variant("as", ["y"]))}), Variant("a(su)", [["../../etc", 2]]),
        Variant("b", True), Variant("o", "/"), Variant("t", 2**64 - 1), Variant("au", [2**32 - 1] * 3),
    ]  # fmt: skip
    objects = {
        f"{PATH}{number}": {
            interface: dict.fromkeys(wanted, value) for interface, wanted in SERVICE.properties.items()
        }
        for number, value in enumerate(odd)
    }
    async with watching(bus.address) as watcher, StandIn(bus, NAME, serving(objects)) as service:
        await until(lambda: len(watcher.facts()) == len(odd), "all of them")
        assert {m.device for m in watcher.facts()} == {""}
        assert all(summary(m).isprintable() for m in watcher.facts())
        bodies: list[tuple[str, list[Any]]] = [
            ("s", ["x"]), ("sa{sv}as", ["no.such", {}, []]), ("as", [[]]), ("", [])
        ]  # fmt: skip
        for signature, body in bodies:
            await service.signal(PATH, PROPERTIES, "PropertiesChanged", signature, body)
        await asyncio.sleep(0.1)
        assert watcher.status() == "running"


async def test_a_service_that_is_no_object_manager(bus: PrivateBus) -> None:
    def answer(message: Message) -> Message:
        return Message.new_method_return(message, "s", ["what?"])

    async with watching(bus.address) as watcher, StandIn(bus, NAME, answer):
        await until(lambda: watcher.status() == "not answering", "not answering")
        assert watcher.reason() == f"{NAME}: not an ObjectManager"


@pytest.mark.parametrize(
    "address",
    [
        "unix:abstract=nbt-no-such-bus",
        "nonsense",
        "unix:",
        "tcp:host=127.0.0.1,port=x",
        "unix:path=/dev/null",
    ],
)
async def test_an_address_that_is_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)

    watcher = NetworkManagerWatcher()
    watcher.start(lambda: None)
    await until(lambda: watcher.status() == "no bus", "no bus")
    await watcher.stop()
