"""Following a service on a bus where things go wrong: what real services do too seldom to be tested with."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dbus_next import Message, Variant

from netbond.cli.run import raise_descriptor_limit
from netbond.watchers.bus import SETTLE_S
from netbond.watchers.modemmanager import (
    MODEM,
    MODEM_3GPP,
    NAME,
    SERVICE,
    SIGNAL,
    ModemManagerWatcher,
    excluded_by_roaming,
    modem_of,
    summary,
)
from netbond.watchers.networkmanager import NetworkManagerWatcher
from tests.netns.buses import PrivateBus, StandIn, until

pytestmark = pytest.mark.root  # only root may own ModemManager's name

PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
STORM = 1000  # signals
LATE = 1.0  # seconds; a busy machine is late by some tenths, a loop that is blocked by 5 or for ever
PATH = f"{SERVICE.namespace}/Modem/0"


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as running:
        yield running


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


def serving(
    objects: dict[str, Any], calls: list[Message] | None = None
) -> Callable[[Message], Message | None]:
    """A ModemManager that has these objects, and does not answer anything else."""

    def answer(message: Message) -> Message | None:
        if calls is not None:
            calls.append(message)
        if message.member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [objects])
        return None

    return answer


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


async def test_a_service_that_never_answers(bus: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netbond.watchers.bus.CALL_TIMEOUT_S", 0.2)

    calls: list[Message] = []

    def silent(message: Message) -> None:
        calls.append(message)

    async with watching(bus.address) as watcher, StandIn(bus, NAME, silent):
        await until(lambda: watcher.status() == "not answering", "not answering")
        assert "GetManagedObjects: no answer within" in watcher.reason()
        calls.clear()
        assert await lag(2.0) < LATE
        # 0.2 s each, and pauses that double: no hail of calls.
        assert 1 <= len(calls) <= 4
    assert watcher.facts() == ()


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
        assert len(looks) < STORM / 2


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


async def test_no_bus_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "netbond"):
        async with watching(f"unix:path={tmp_path}/none") as watcher:
            await until(lambda: watcher.status() == "no bus", "no bus")
            assert watcher.reason() == f"unix:path={tmp_path}/none: No such file or directory"
            await asyncio.sleep(1.5)  # a few attempts
            assert len(caplog.records) == 1


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


async def test_a_bus_that_closes_while_it_is_greeted(tmp_path: Path) -> None:
    """dbus-next 0.2.3 reads the end of the connection for ever then, and nothing else runs any more."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    async with (
        await asyncio.start_unix_server(greet, tmp_path / "bus"),
        watching(f"unix:path={tmp_path}/bus") as watcher,
    ):
        await until(lambda: watcher.status() == "no bus", "no bus")
        assert "closed the connection" in watcher.reason()
        assert await lag(0.5) < LATE


def crowd(bus: PrivateBus) -> list[socket.socket]:
    """Connections that greet nobody, until the backlog is full."""
    raise_descriptor_limit()  # the backlog may be 4,096, and the usual limit is 1,024
    clients: list[socket.socket] = []
    for _ in range(10_000):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.setblocking(False)
        try:
            client.connect(str(bus.socket))
        except BlockingIOError:
            client.close()
            return clients
        clients.append(client)
    pytest.fail("the backlog never filled")


async def test_a_bus_that_hangs(bus: PrivateBus) -> None:
    """With its backlog full, connect(2) would wait for ever; the event loop must not."""

    assert bus.process is not None
    os.kill(bus.process.pid, signal.SIGSTOP)
    clients = []
    try:
        clients = crowd(bus)
        async with watching(bus.address) as watcher:
            assert await lag(1.0) < LATE
            assert watcher.status() == "no bus"
            os.kill(bus.process.pid, signal.SIGCONT)
            for client in clients:
                client.close()
            await until(lambda: watcher.status() == "absent", "the bus goes on")
    finally:
        os.kill(bus.process.pid, signal.SIGCONT)
        for client in clients:
            client.close()
