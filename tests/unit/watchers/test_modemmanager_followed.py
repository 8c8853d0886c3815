"""Modems that come, roam and go while ModemManager is followed on a bus."""

from __future__ import annotations

import asyncio

from dbus_next import Message, Variant

from netbond.watchers.modemmanager import (
    MODEM,
    MODEM_3GPP,
    NAME,
    SERVICE,
    SIGNAL,
    excluded_by_roaming,
    modem_of,
)
from tests.buses import PrivateBus, StandIn, serving, until
from tests.unit.watchers.modems import OBJECTS, PATH, PROPERTIES, modem, quality, said, watching


async def test_a_modem_with_an_interface(bus: PrivateBus) -> None:
    async with (
        watching(bus.address) as watcher,
        StandIn(bus, NAME, serving({PATH: modem()})) as service,
    ):
        await until(lambda: said(watcher) == ["usb1: T-Mobile LTE 72 %"], "the modem")
        change = {"RegistrationState": Variant("u", 5)}
        await service.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", [MODEM_3GPP, change, []])
        await until(lambda: said(watcher) == ["usb1: T-Mobile LTE 72 % roaming"], "roaming")
        assert excluded_by_roaming(watcher.facts(), "usb1")
        assert not excluded_by_roaming(watcher.facts(), "usb2")
        another = [f"{PATH}1", modem("usb2")]
        await service.signal(SERVICE.root, OBJECTS, "InterfacesAdded", "oa{sa{sv}}", another)
        await until(lambda: modem_of(watcher.facts(), "usb2"), "another modem")
        await service.signal(SERVICE.root, OBJECTS, "InterfacesRemoved", "oas", [PATH, [MODEM, MODEM_3GPP]])
        await until(lambda: said(watcher) == ["usb2: T-Mobile LTE 72 %"], "one modem")


async def test_a_restart_keeps_a_roaming_modem_excluded(bus: PrivateBus) -> None:
    """ModemManager needs half a minute to find its modems again: not half a minute of roaming."""

    abroad = modem("usb1", registration=5)
    async with watching(bus.address, hold=0.5) as watcher:
        async with StandIn(bus, NAME, serving({PATH: abroad, f"{PATH}1": modem("usb2", registration=5)})):
            await until(lambda: len(watcher.facts()) == 2, "two modems")
        await until(lambda: not watcher.facts()[0].current, "what was known")
        assert excluded_by_roaming(watcher.facts(), "usb1")
        async with StandIn(bus, NAME, serving({PATH: abroad})):
            await until(lambda: watcher.facts()[0].current, "usb1 is found again")
            assert [(m.device, m.current) for m in watcher.facts()] == [("usb1", True), ("usb2", False)]
            assert excluded_by_roaming(watcher.facts(), "usb2")
            await until(lambda: modem_of(watcher.facts(), "usb2") is None, "usb2 is not")


async def test_a_call_that_is_never_answered_delays_no_news(bus: PrivateBus) -> None:
    """A modem that is asked to measure its signal and hangs: what is said of it otherwise still counts."""

    calls: list[Message] = []
    objects = {PATH: {**modem(), SIGNAL: {"Rate": Variant("u", 0)}}}
    async with (
        watching(bus.address) as watcher,
        StandIn(bus, NAME, serving(objects, calls)) as service,
    ):
        await until(lambda: [c.member for c in calls] == ["GetManagedObjects", "Setup"], "Setup")
        assert calls[-1].body == [10]
        for percent in range(10, 20):
            await service.signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", quality(percent))
        await until(lambda: said(watcher) == ["usb1: T-Mobile LTE 19 %"], "the quality")
        assert len(calls) == 2, "asked once, not with each news"


async def test_a_rate_that_somebody_else_set_is_left_alone(bus: PrivateBus) -> None:
    calls: list[Message] = []
    objects = {PATH: {**modem(), SIGNAL: {"Rate": Variant("u", 3)}}}
    async with watching(bus.address) as watcher, StandIn(bus, NAME, serving(objects, calls)):
        await until(watcher.facts, "the modem")
        await asyncio.sleep(0.1)
        assert [c.member for c in calls] == ["GetManagedObjects"]
