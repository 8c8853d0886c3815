"""What netbond learns from a real NetworkManager, as connections come, change and go and services restart."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from netbond.config.schema import Config
from netbond.model import Address, Facts, GatewayClaim, Interface, IPAddress
from netbond.system import clock
from netbond.uplinks import find
from netbond.watchers.bus import Follower
from netbond.watchers.networkmanager import NetworkManagerWatcher, NMDevice, claims
from tests.buses import PrivateBus, until
from tests.netns.nm import NetworkManagerBox

pytestmark = pytest.mark.root

# Milliseconds from NetworkManager's own word that a connection is active to netbond's fact of it; it takes 1
# to 9. The best of three counts, as the machine may be busy with other tests.
PROMPT = 50


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    with PrivateBus() as running:
        yield running


@pytest.fixture
def box(tmp_path: Path, bus: PrivateBus) -> Iterator[NetworkManagerBox]:
    with NetworkManagerBox(tmp_path, bus, "") as made:
        yield made


class Watch:
    """A watcher that notes when it told of what."""

    def __init__(self, watcher: NetworkManagerWatcher) -> None:
        self.watcher = watcher
        self.looks: list[tuple[float, tuple[NMDevice, ...]]] = []
        self.said: tuple[GatewayClaim, ...] = ()

    def look(self) -> None:
        self.looks.append((time.time(), self.watcher.facts()))

    def device(self, name: str = "usb0") -> NMDevice:
        """What is known of it now; a device without a state if nothing is."""
        return next((d for d in self.watcher.facts() if d.device == name), NMDevice(name, state=""))

    async def state(self, state: str, name: str = "usb0", seconds: float = 15.0) -> NMDevice:
        await until(
            lambda: self.device(name).state == state, f"{name} {state}: {self.watcher.facts()}", seconds
        )
        return self.device(name)

    async def configured(self, name: str = "usb0") -> NMDevice:
        """Wait until it is active, and its addresses and gateway are known, which may come after that."""
        await until(
            lambda: (
                self.device(name).state == "activated"
                and self.device(name).addresses
                and self.device(name).gateway4 is not None
            ),
            f"{name} is configured: {self.watcher.facts()}",
        )
        return self.device(name)

    def gateway(self, box: NetworkManagerBox, name: str = "usb0") -> IPAddress | None:
        """The gateway that the agent would use, with the kernel's addresses and no other source."""
        self.said = claims(self.watcher.facts(), clock.now(), self.said)
        facts = Facts(
            interfaces=(Interface(name, 2),),
            addresses=tuple(Address(name, IPv4Interface(each)) for each in box.addresses(name)),
            claims=self.said,
        )
        return next((uplink.gateway for uplink in find(facts, Config(), {}).uplinks), None)


@asynccontextmanager
async def watching(bus: PrivateBus) -> AsyncIterator[Watch]:
    watcher = NetworkManagerWatcher(bus.address)
    watch = Watch(watcher)
    watcher.start(watch.look)
    try:
        yield watch
    finally:
        await watcher.stop()


async def nmcli(box: NetworkManagerBox, *arguments: str) -> str:
    return await asyncio.to_thread(box.nmcli, *arguments)


async def test_a_modem_is_plugged_and_pulled(box: NetworkManagerBox, bus: PrivateBus) -> None:
    async with watching(bus) as watch:
        box.profile("usb0")
        await asyncio.to_thread(box.start)
        await until(lambda: watch.watcher.status() == "running", "running")
        box.plug("usb0", "10.20.0")
        (address,) = (await watch.configured()).addresses
        assert [str(address)] == box.addresses("usb0")
        assert address.network == IPv4Interface("10.20.0.0/24").network
        expected = NMDevice(
            device="usb0",
            state="activated",
            managed=True,
            addresses=(address,),
            gateway4=IPv4Address("10.20.0.1"),
            dns=(IPv4Address("192.0.2.53"),),
            metered="guess-no",
            connectivity="full",
            connection="modem 0",
            dhcp=True,
            lease_seconds=120,
        )
        # Not all of it is settled at once; whether NetworkManager itself has started is another matter.
        await until(
            lambda: replace(watch.device(), starting=expected.starting) == expected,
            f"{expected}, not {watch.device()}",
        )
        assert watch.gateway(box) == IPv4Address("10.20.0.1")

        await asyncio.to_thread(box.unplug, "usb0")
        await until(lambda: watch.device().state == "", "usb0 gone")


async def test_a_gateway_is_known_at_once(box: NetworkManagerBox, bus: PrivateBus) -> None:
    async with watching(bus) as watch:
        for number in range(3):
            box.profile(f"usb{number}")
        await asyncio.to_thread(box.start)
        took = []
        for name in ("usb0", "usb1", "usb2"):
            box.plug(name, f"10.3{name[3:]}.0")
            await watch.configured(name)
            await until(partial(box.activated_at, name), "a word of it in the log")
            (activated,) = box.activated_at(name)
            told = next(
                at
                for at, facts in watch.looks
                for d in facts
                if (d.device, d.state) == (name, "activated") and d.gateway4 is not None
            )
            took.append((told - activated) * 1000)
        assert min(took) < PROMPT, took


async def test_never_default_has_the_gateway_that_the_server_named(
    box: NetworkManagerBox, bus: PrivateBus
) -> None:
    async with watching(bus) as watch:
        box.profile("usb0", "never-default=true")
        await asyncio.to_thread(box.start)
        box.plug("usb0", "10.21.0")
        device = await watch.configured()
        assert device.gateway4 == IPv4Address("10.21.0.1")
        shown = await nmcli(box, "-g", "IP4.GATEWAY", "device", "show", "usb0")
        assert shown.strip() == "", "NetworkManager itself has none to show, or this test shows nothing"


async def test_disconnect_modify_reapply_and_delete(box: NetworkManagerBox, bus: PrivateBus) -> None:
    async with watching(bus) as watch:
        box.profile("usb0")
        await asyncio.to_thread(box.start)
        box.plug("usb0", "10.22.0")
        await watch.configured()

        await nmcli(box, "device", "disconnect", "usb0")
        await watch.state("disconnected")
        assert watch.gateway(box) is None  # at once, while the addresses are still being taken down
        await until(lambda: not watch.device().addresses, "no addresses")
        assert (watch.device().managed, watch.device().gateway4) == (True, None)

        await nmcli(box, "connection", "up", "modem 0")
        assert (await watch.configured()).gateway4 == IPv4Address("10.22.0.1")

        # The user gives it a fixed address and another gateway, and applies that to the running device.
        await nmcli(
            box, "connection", "modify", "modem 0", "ipv4.method", "manual", "ipv4.addresses",
            "10.22.0.77/24", "ipv4.gateway", "10.22.0.254", "connection.metered", "yes",
        )  # fmt: skip
        assert watch.device().gateway4 == IPv4Address("10.22.0.1"), "a profile is no fact until applied"
        await nmcli(box, "device", "reapply", "usb0")
        await until(lambda: watch.device().gateway4 == IPv4Address("10.22.0.254"), "the new gateway")
        await until(lambda: watch.device().addresses == (IPv4Interface("10.22.0.77/24"),), "the address")
        await until(lambda: watch.device().metered == "yes", "metered")
        await until(lambda: watch.device().lease_seconds == 0, "no lease")
        await until(lambda: watch.gateway(box) == IPv4Address("10.22.0.254"), "the gateway in use")

        await nmcli(box, "connection", "delete", "modem 0")
        await watch.state("disconnected")
        await until(lambda: not watch.device().connection, "no connection")
        await until(lambda: watch.gateway(box) is None, "no gateway")

        await nmcli(box, "device", "set", "usb0", "managed", "no")
        await watch.state("unmanaged")
        await until(lambda: watch.device().managed is False, "it says so")
        assert watch.gateway(box) is None


async def test_a_renewal_with_another_network(box: NetworkManagerBox, bus: PrivateBus) -> None:
    async with watching(bus) as watch:
        box.profile("usb0")
        await asyncio.to_thread(box.start)
        box.plug("usb0", "10.23.0")
        await watch.configured()
        await asyncio.to_thread(box.renumber, "usb0", "10.23.0", "10.24.0")
        await nmcli(box, "connection", "up", "modem 0")
        await until(lambda: watch.gateway(box) == IPv4Address("10.24.0.1"), "the new gateway")
        await watch.configured()
        await until(
            lambda: [str(a) for a in watch.device().addresses] == box.addresses("usb0"), "the new address"
        )
        assert str(watch.device().addresses[0]).startswith("10.24.0.")


async def test_networkmanager_restarts(
    box: NetworkManagerBox, bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "netbond"):
        async with watching(bus) as watch:
            await until(lambda: watch.watcher.status() == "absent", "absent")
            box.profile("usb0")
            await asyncio.to_thread(box.start)  # late
            box.plug("usb0", "10.25.0")
            before = await watch.configured()
            assert len(caplog.records) == 2, caplog.text  # waiting for it; followed

            box.stop(kill=True)
            await until(lambda: watch.watcher.status() == "absent", "absent")
            await until(lambda: not watch.device().current, "held")
            # The modem is still there and configured, so its gateway is too.
            assert watch.gateway(box) == IPv4Address("10.25.0.1")
            assert watch.device().addresses == before.addresses

            # Whoever configures it now is not NetworkManager: what that said counts no more.
            box.give("usb0", "10.99.0.5/24")
            assert watch.gateway(box) is None

            await asyncio.to_thread(box.start)
            await until(lambda: watch.device().current, "current")
            await watch.state("activated")
            await until(lambda: watch.device().addresses, "addresses")
            assert [r.getMessage().partition(" (")[0] for r in caplog.records] == [
                "NetworkManager: absent",
                "NetworkManager: followed on the bus",
                "NetworkManager: absent",
                "NetworkManager: followed on the bus",
            ]


async def test_no_step_of_a_restart_takes_the_gateway_along(
    box: NetworkManagerBox, bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way down its DHCP client ends first; on the way up the interface is unmanaged, unavailable and
    disconnected before it is taken up. Each step is told here, as on a busy machine any may be."""
    monkeypatch.setattr("netbond.watchers.bus.SETTLE_S", 0.0)

    box.profile("usb0", ipv4="never-default=true\n")
    await asyncio.to_thread(box.start)
    box.plug("usb0", "10.25.0")
    async with watching(bus) as watch:
        await watch.state("activated")
        await until(lambda: claims(watch.watcher.facts(), 1.0), "a gateway")
        kept = claims(watch.watcher.facts(), 1.0)
        watch.looks.clear()
        box.stop()
        await until(lambda: not watch.device().current, "held")
        await asyncio.to_thread(box.start)
        await until(lambda: watch.device().current and not watch.device().starting, "it has started")
        await watch.state("activated")
        for _, devices in watch.looks:
            kept = claims(devices, 2.0, kept)
            assert [str(lease.gateway) for lease in kept] == ["10.25.0.1"], devices


async def test_the_bus_restarts(
    box: NetworkManagerBox, bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "netbond"):
        async with watching(bus) as watch:
            box.profile("usb0")
            await asyncio.to_thread(box.start)
            box.plug("usb0", "10.26.0")
            await watch.configured()
            caplog.clear()

            bus.stop()
            await until(lambda: watch.watcher.status() == "no bus", "no bus")
            await until(lambda: not watch.device().current, "held")
            assert watch.gateway(box) == IPv4Address("10.26.0.1")
            await asyncio.sleep(1.5)  # several attempts, none of which is worth a line

            bus.start()
            box.stop()  # NetworkManager does not come back to a bus by itself: systemd restarts both
            await asyncio.to_thread(box.start)
            await until(lambda: watch.watcher.status() == "running", "running", 15)
            await watch.configured()
            assert watch.gateway(box) == IPv4Address("10.26.0.1")
            gc.collect()  # what asyncio has to say of exceptions that nobody looked at
            assert [r.getMessage().partition(" (")[0] for r in caplog.records] == [
                "NetworkManager: no bus",
                "NetworkManager: followed on the bus",
            ]


async def test_networkmanager_hangs(box: NetworkManagerBox, bus: PrivateBus) -> None:
    """Stopped in its tracks, it is still on the bus: nothing waits for it, and it is read when it goes on."""

    async def longest_lag(watch: Watch) -> float:
        loop = asyncio.get_running_loop()
        longest = 0.0
        for _ in range(700):
            at = loop.time()
            await asyncio.sleep(0.01)
            longest = max(longest, loop.time() - at - 0.01)
            if watch.watcher.status() == "not answering":
                break
        return longest

    box.profile("usb0")
    await asyncio.to_thread(box.start)
    async with watching(bus) as before:
        box.plug("usb0", "10.27.0")
        await before.configured()
        os.kill(box.pid, signal.SIGSTOP)
        try:
            # An agent that runs already keeps what it knows ...
            await asyncio.sleep(0.2)
            assert before.gateway(box) == IPv4Address("10.27.0.1")
            # ... one that starts now says what is wrong, and its event loop goes on meanwhile.
            async with watching(bus) as watch:
                lag = await longest_lag(watch)
                assert watch.watcher.status() == "not answering"
                assert "no answer within 5 s" in watch.watcher.reason()
                assert lag < 4.0  # a loop that waits for the answer is late by 5
                os.kill(box.pid, signal.SIGCONT)
                await until(lambda: watch.watcher.status() == "running", "running", 20)
                await watch.state("activated")
        finally:
            os.kill(box.pid, signal.SIGCONT)


async def test_networkmanager_begins_to_hang(
    box: NetworkManagerBox, bus: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs while it is followed, and so does the bus: that is said, and what is known stays."""
    monkeypatch.setattr("netbond.watchers.bus.ASK_INTERVAL_S", 0.2)
    assert Follower._ask.__kwdefaults__ is not None
    monkeypatch.setitem(Follower._ask.__kwdefaults__, "within_s", 1.0)
    box.profile("usb0")
    await asyncio.to_thread(box.start)
    assert bus.process is not None
    async with watching(bus) as watch:
        box.plug("usb0", "10.27.0")
        await watch.state("activated")
        await asyncio.sleep(0.5)  # it is asked, and answers
        assert watch.watcher.status() == "running"
        for pid, what in ((box.pid, "Introspect"), (bus.process.pid, "")):
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(lambda: watch.watcher.status() == "not answering", "not answering", 20)
                assert f"{what}: no answer within 1 s" in watch.watcher.reason()
                assert watch.gateway(box) == IPv4Address("10.27.0.1")
            finally:
                os.kill(pid, signal.SIGCONT)
            await until(lambda: watch.watcher.status() == "running", "running", 20)
        await watch.state("activated")


async def test_an_interface_that_somebody_else_configures(box: NetworkManagerBox, bus: PrivateBus) -> None:
    """NetworkManager shows it as connected, but its gateway is not NetworkManager's to give."""

    await asyncio.to_thread(box.start)
    async with watching(bus) as watch:
        box.plug("usb0", "10.28.0")
        await watch.state("disconnected")
        box.give("usb0", "10.28.0.9/24", "10.28.0.1")
        assert (await watch.state("activated")).external
        await until(lambda: watch.device().gateway4 == IPv4Address("10.28.0.1"), "the gateway as shown")
        assert watch.gateway(box) is None
