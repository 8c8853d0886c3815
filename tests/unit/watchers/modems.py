"""A ModemManager of a test's own making on a bus, and a watcher that follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from dbus_next import Variant

from netbond.watchers.modemmanager import MODEM, MODEM_3GPP, SERVICE, ModemManagerWatcher, summary

PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
LATE = 1.0  # seconds; a busy machine is late by some tenths, a loop that is blocked by 5 or for ever
PATH = f"{SERVICE.namespace}/Modem/0"


@asynccontextmanager
async def watching(
    address: str, *, hold: float = 60.0, look: Callable[[], None] = lambda: None
) -> AsyncIterator[ModemManagerWatcher]:
    watcher = ModemManagerWatcher(address, hold=hold)
    watcher.start(look)
    try:
        yield watcher
    finally:
        await watcher.stop()


def modem(device: str = "usb1", *, registration: int = 1) -> dict[str, Any]:
    """A modem as ModemManager would give it, with a network interface."""
    return {
        MODEM: {
            "Ports": Variant("a(su)", [["cdc-wdm1", 6], [device, 2]]),
            "State": Variant("i", 11),
            "UnlockRequired": Variant("u", 1),
            "Sim": Variant("o", "/org/freedesktop/ModemManager1/SIM/0"),
            "AccessTechnologies": Variant("u", 1 << 14),
            "SignalQuality": Variant("(ub)", [72, True]),
        },
        MODEM_3GPP: {
            "RegistrationState": Variant("u", registration),
            "OperatorName": Variant("s", "T-Mobile"),
        },
    }


def quality(percent: int) -> list[Any]:
    """The body of a PropertiesChanged."""
    return [MODEM, {"SignalQuality": Variant("(ub)", [percent, True])}, []]


def said(watcher: ModemManagerWatcher) -> list[str]:
    return [f"{m.device}: {summary(m)}" for m in watcher.facts()]


async def lag(seconds: float) -> float:
    """The longest that the event loop was late, in seconds."""
    loop = asyncio.get_running_loop()
    end, longest = loop.time() + seconds, 0.0
    while (at := loop.time()) < end:
        await asyncio.sleep(0.01)
        longest = max(longest, loop.time() - at - 0.01)
    return longest
