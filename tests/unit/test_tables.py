"""Each uplink's routing table: which one it is, and the routes in it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.config.schema import Config, RoutingConfig
from netbond.model import Address, Nexthop, Uplink
from netbond.plan import Operation
from netbond.tables import assign, connected, nexthop, numbered_table, on_link, reaches, routes
from tests.unit.boxes import address, six

ROUTING = Config().routing


class TestTables:
    """usb0 has 100, and no two devices ever share one."""

    @pytest.mark.parametrize(
        ("device", "table"),
        [
            ("usb0", 100),
            ("usb4", 104),
            ("usb5", None),
            ("eth0", 110),
            ("wlan4", 124),
            ("usb01", None),
            ("x", None),
        ],
    )
    def test_traditional(self, device: str, table: int | None) -> None:
        assert numbered_table(device, ROUTING.table_bases) == table

    def test_configured_wins(self) -> None:
        tables = assign(["lte", "usb0"], ROUTING, {}, {"lte": 100})
        assert tables["lte"] == 100
        assert tables["usb0"] in range(130, 220)

    def test_what_may_come_back_keeps_its_table_free(self) -> None:
        assert assign(["usb0"], ROUTING, {}, kept_free={100})["usb0"] in range(130, 220)

    def test_a_device_keeps_its_table(self) -> None:
        assert assign(["wwan0"], ROUTING, {"wwan0": 199}) == {"wwan0": 199}
        assert assign(["wwan0"], ROUTING, {"wwan0": 300}) != {"wwan0": 300}

    @given(st.sets(st.text("abcdef0123", min_size=1, max_size=6), max_size=90), st.data())
    def test_never_a_collision(self, devices: set[str], data: st.DataObject) -> None:
        in_use = data.draw(st.dictionaries(st.sampled_from([*devices, "z"]), st.integers(1, 252)))
        tables = assign(devices, ROUTING, in_use)
        assert set(tables) == devices
        assert len(set(tables.values())) == len(devices)
        assert 222 not in tables.values()

    def test_full(self) -> None:
        assert len(assign([f"x{i}" for i in range(100)], ROUTING, {})) == 90

    @given(st.sets(st.sampled_from(["ppp0", "wwan0", "wwan1", "enx1", "usb7", "usb0"])))
    def test_an_agent_that_starts_anew_arrives_where_it_was(self, devices: set[str]) -> None:
        tables = assign(devices, ROUTING, {})
        assert assign(devices, ROUTING, tables) == tables


def uplink(*addresses: Address, gateway: str | None = "10.0.0.1", **more: str) -> Uplink:
    way = None if gateway is None else ipaddress.ip_address(gateway)
    return Uplink(addresses[0].device, addresses[0].interface, way, "test", 100, addresses=addresses, **more)  # type: ignore[arg-type]  # words only


def table(found: Uplink, routing: RoutingConfig = ROUTING) -> list[str]:
    """The routes, as commands without "ip route add" and without what all of them have."""
    lines = [Operation("add", route, "").command() for route in routes(found, routing)]
    return [line.removeprefix("ip route add ").replace(" table 100 proto 78", "") for line in lines]


class TestRoutes:
    """Connected networks, the default, and a last route that refuses."""

    def test_a_gateway_in_its_network(self) -> None:
        assert table(uplink(address("usb0", "10.0.0.10/24"))) == [
            "unreachable default metric 4294967295",
            "10.0.0.0/24 dev usb0 scope link src 10.0.0.10",
            "default via 10.0.0.1 dev usb0 src 10.0.0.10",
        ]

    def test_ipv6_says_its_metric(self) -> None:
        assert [line.removeprefix("ip -6 route add ") for line in table(
            uplink(six("usb0", "2001:db8::5/64"), gateway="fe80::1")
        )] == [
            "unreachable default metric 4294967295",
            "2001:db8::/64 dev usb0 src 2001:db8::5 metric 1024",
            "default via fe80::1 dev usb0 src 2001:db8::5 metric 1024",
        ]  # fmt: skip

    def test_two_addresses_of_one_network_are_one_route(self) -> None:
        two = uplink(address("usb0", "10.0.0.10/24"), address("usb0", "10.0.0.11/24"))
        assert [line for line in table(two) if line.startswith("10.")] == [
            "10.0.0.0/24 dev usb0 scope link src 10.0.0.10"
        ]

    def test_point_to_point_needs_no_gateway(self) -> None:
        assert table(uplink(address("ppp0", "10.64.1.2/32", peer="10.64.0.1"), gateway=None)) == [
            "unreachable default metric 4294967295",
            "10.64.0.1/32 dev ppp0 scope link src 10.64.1.2",
            "default dev ppp0 scope link src 10.64.1.2",
        ]

    def test_an_interface_that_is_down_has_only_what_refuses(self) -> None:
        assert table(uplink(address("usb0", "10.0.0.10/24"), state="down")) == [
            "unreachable default metric 4294967295"
        ]

    def test_the_classic_layout_prohibits(self) -> None:
        classic = RoutingConfig(layout="classic")
        assert table(uplink(address("usb0", "10.0.0.10/24")), classic)[0] == (
            "prohibit default metric 4294967295"
        )


class TestWhatIsOnTheLink:
    """What an address makes reachable without a gateway."""

    @pytest.mark.parametrize(
        ("of", "network"),
        [
            (address("usb0", "10.0.0.10/24"), "10.0.0.0/24"),
            (address("usb0", "10.0.0.10/32"), None),
            (address("ppp0", "10.64.1.2/32", peer="10.64.0.1"), "10.64.0.1/32"),
            (six("usb0", "2001:db8::5/64"), "2001:db8::/64"),
            (six("usb0", "2001:db8::5/128"), None),
        ],
    )
    def test_connected(self, of: Address, network: str | None) -> None:
        assert connected(of) == (None if network is None else ipaddress.ip_network(network))

    @pytest.mark.parametrize(
        ("gateway", "reached"), [("10.0.0.1", True), ("10.0.1.1", False), ("fe80::1", False)]
    )
    def test_reaches(self, gateway: str, reached: bool) -> None:
        assert reaches(address("usb0", "10.0.0.10/24"), ipaddress.ip_address(gateway)) is reached

    @pytest.mark.parametrize(
        ("gateway", "reached"), [(None, True), ("fe80::1", True), ("10.0.1.1", True), ("10.9.0.1", False)]
    )
    def test_on_link(self, gateway: str | None, reached: bool) -> None:
        two = [address("usb0", "10.0.0.10/24"), address("usb0", "10.0.1.10/24")]
        assert on_link(None if gateway is None else ipaddress.ip_address(gateway), two) is reached

    def test_a_gateway_outside_is_taken_to_be_on_the_link_all_the_same(self) -> None:
        outside = uplink(address("wwan0", "10.7.7.7/32"), gateway="10.7.0.1")
        assert nexthop(outside, 3) == Nexthop("wwan0", ipaddress.ip_address("10.7.0.1"), 3, onlink=True)
        inside = uplink(address("usb0", "10.0.0.10/24"))
        assert nexthop(inside) == Nexthop("usb0", ipaddress.ip_address("10.0.0.1"))
