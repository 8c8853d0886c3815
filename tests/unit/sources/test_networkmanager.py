"""NetworkManager's gateways as facts: said on the bus, and kept for the next agent."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from dbus_next import Variant

from netbond.config.schema import Config
from netbond.model import Facts, GatewayClaim, Interface
from netbond.sources.networkmanager import NetworkManager
from netbond.status.schema import Sections
from netbond.watchers.networkmanager import DEVICE, IP4, NAME
from tests.buses import PrivateBus, StandIn, serving, until
from tests.unit.places import agent_in, config_in, content

ROOT = "/org/freedesktop"
READ = Facts(interfaces=(Interface("usb0", 2),))
CLAIM = GatewayClaim(
    "usb0", "NetworkManager", IPv4Interface("10.0.0.36/24"), IPv4Address("10.0.0.1"), 5.0, standing=True
)


def objects(state: int = 100) -> dict[str, Any]:
    """A device with an address and a gateway."""
    address = {"address": Variant("s", "10.0.0.36"), "prefix": Variant("u", 24)}
    return {
        f"{ROOT}/NetworkManager/Devices/2": {
            DEVICE: {
                "Interface": Variant("s", "usb0"),
                "Managed": Variant("b", True),
                "Metered": Variant("u", 3),
                "State": Variant("u", state),
                "Ip4Config": Variant("o", f"{ROOT}/NetworkManager/IP4Config/2"),
            }
        },
        f"{ROOT}/NetworkManager/IP4Config/2": {
            IP4: {"AddressData": Variant("aa{sv}", [address]), "Gateway": Variant("s", "10.0.0.1")}
        },
    }


async def test_what_it_says_is_a_claim_and_outlives_it(bus: PrivateBus, tmp_path: Path) -> None:
    source = NetworkManager(config_in(tmp_path))
    other = replace(CLAIM, device="usb1", source="other")
    async with StandIn(bus, NAME, serving(objects())):
        await source.start(lambda: None, ())
        found = source.contribute(replace(READ, claims=(other,)), 5.0)
        assert found.claims == (other, CLAIM)
        assert source.contribute(READ, 9.0).claims == (replace(CLAIM, said_s=9.0),)  # asked anew
        assert found.metered == {"usb0"}
        assert source.contribute(Facts(), 9.0).metered == frozenset()  # no such interface any more
        assert source.contribute(READ, 9.0).metered == {"usb0"}
        shown = source.status(Sections(), {"usb0"}, 0.0).networkmanager
        assert {name: (each.state, each.gateway4, each.current) for name, each in shown.items()} == {
            "usb0": ("activated", "10.0.0.1", True)
        }
        assert source.status(Sections(), {"usb1"}, 0.0).networkmanager == {}

    def current() -> bool:
        return source.status(Sections(), {"usb0"}, 0.0).networkmanager["usb0"].current

    await until(lambda: not current(), "it has left the bus")
    assert [claim.gateway for claim in source.contribute(READ, 10.0).claims] == [CLAIM.gateway]
    assert source.contribute(READ, 10.0).metered == {"usb0"}
    assert list(source.problems) == []
    await source.stop()

    after = NetworkManager(config_in(tmp_path))  # of an agent that starts while it is away
    await after.start(lambda: None, ())
    assert [claim.gateway for claim in after.contribute(READ, 11.0).claims] == [CLAIM.gateway]
    assert after.contribute(Facts(), 11.0).claims == ()  # no such interface any more
    await after.stop()


async def test_an_interface_that_it_lets_go_of_has_no_claim(bus: PrivateBus, tmp_path: Path) -> None:
    source = NetworkManager(config_in(tmp_path))
    source._claims = (CLAIM,)  # from before its restart
    async with StandIn(bus, NAME, serving(objects(state=30))):
        await source.start(lambda: None, ())
        assert source.contribute(READ, 5.0).claims == ()
        await source.stop()


async def test_once_reads_what_was_kept_and_writes_nothing(bus: PrivateBus, tmp_path: Path) -> None:
    config = config_in(tmp_path)
    async with StandIn(bus, NAME, serving(objects())):
        agents = NetworkManager(config)
        await agents.start(lambda: None, ())
        agents.contribute(READ, 5.0)
        await agents.stop()
    before = content(tmp_path)
    source = NetworkManager(config)
    await source.once()
    assert source.contribute(READ, 9.0).claims == (CLAIM,)
    assert source.contribute(Facts(), 9.0).claims == ()
    assert content(tmp_path) == before


async def test_it_is_not_followed_unless_the_configuration_wants_it(tmp_path: Path, bus: PrivateBus) -> None:
    config = Config(agent=agent_in(tmp_path, networkmanager=False))
    source = NetworkManager(config)
    async with StandIn(bus, NAME, serving(objects())):
        await source.start(lambda: None, ())
        assert source.contribute(READ, 5.0).claims == ()
        await source.stop()
    assert content(tmp_path) == {}
