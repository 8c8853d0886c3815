"""Each uplink's routing table: which one it is, and the routes in it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.config.schema import Config, RoutingConfig
from netbond.model import MAIN_TABLE, Address, Nexthop, Route, Uplink
from netbond.plan import Operation
from netbond.tables import (
    MOST_COPIES,
    assign,
    connected,
    nexthop,
    numbered_table,
    on_link,
    reaches,
    routes,
    through_devices,
)
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


def table(found: Uplink, routing: RoutingConfig = ROUTING, main: Sequence[Route] = ()) -> list[str]:
    """The routes, as commands without "ip route add" and without what all of them have."""
    through = through_devices(main, {found.device}, 78)
    made = routes(found, routing, through.get((found.device, found.family), ()))
    lines = [Operation("add", route, "").command() for route in made]
    return [line.removeprefix("ip route add ").replace(" table 100 proto 78", "") for line in lines]


def main(destination: str, *hops: str, **more: Any) -> Route:
    """A route in main: main("10.8.0.0/16", "usb0 10.0.0.254")."""
    legs = []
    for hop in hops:
        device, _, gateway = hop.partition(" ")
        legs.append(Nexthop(device, ipaddress.ip_address(gateway) if gateway else None))
    given = {"protocol": 4, "scope": "global" if " " in hops[0] or ":" in destination else "link"}
    return Route(MAIN_TABLE, ipaddress.ip_network(destination), tuple(legs), **given | more)


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


class TestWhatMainHas:
    """A socket that is bound to the device finds what main has for the device."""

    FOUR = uplink(address("usb0", "10.0.0.10/24"))
    SIX = uplink(six("usb0", "2001:db8::5/128"), gateway="fe80::1")

    def between(self, *of_main: Route, of: Uplink = FOUR) -> list[str]:
        """The routes between the last one and the default."""
        return [line.removeprefix("ip -6 route add ") for line in table(of, ROUTING, of_main)][1:-1]

    def test_networks_and_hosts_without_a_gateway(self) -> None:
        assert self.between(main("169.254.0.0/16", "usb0", metric=1000), main("10.9.0.1/32", "usb0")) == [
            "10.0.0.0/24 dev usb0 scope link src 10.0.0.10",
            "10.9.0.1/32 dev usb0 scope link",
            "169.254.0.0/16 dev usb0 scope link",
        ]

    def test_routes_with_a_gateway_come_after_its_network(self) -> None:
        source = ipaddress.ip_address("10.0.0.10")
        assert self.between(
            main("10.8.0.0/16", "usb0 10.9.0.1", source=source), main("10.9.0.0/24", "usb0")
        ) == [
            "10.0.0.0/24 dev usb0 scope link src 10.0.0.10",
            "10.9.0.0/24 dev usb0 scope link",
            "10.8.0.0/16 via 10.9.0.1 dev usb0 src 10.0.0.10",
        ]

    def test_a_gateway_that_no_network_has_is_on_the_link(self) -> None:
        assert self.between(main("10.8.0.0/16", "usb0 10.9.0.1"))[1:] == [
            "10.8.0.0/16 via 10.9.0.1 dev usb0 onlink"
        ]

    def test_link_local_neighbours_and_a_prefix_beside_a_128(self) -> None:
        assert self.between(
            main("fe80::/64", "usb0", metric=256),
            main("2001:db8::/64", "usb0", metric=256),
            main("2001:db8:8::/48", "usb0 fe80::2", metric=1024),
            of=self.SIX,
        ) == [
            "2001:db8::/64 dev usb0 metric 1024",
            "fe80::/64 dev usb0 metric 1024",
            "2001:db8:8::/48 via fe80::2 dev usb0 metric 1024",
        ]

    def test_main_says_how_the_own_network_is_reached(self) -> None:
        """Access points that isolate their clients have them go by the gateway."""
        assert self.between(main("10.0.0.0/24", "usb0 10.0.0.1"), main("10.0.0.1/32", "usb0")) == [
            "10.0.0.1/32 dev usb0 scope link",
            "10.0.0.0/24 via 10.0.0.1 dev usb0 src 10.0.0.10",
        ]

    def test_of_several_the_one_with_the_lowest_metric(self) -> None:
        assert self.between(
            main("10.8.0.0/16", "usb0 10.0.0.3", metric=20),
            main("10.8.0.0/16", "usb0 10.0.0.2", metric=10),
            main("10.8.0.0/16", "usb0 10.0.0.4", metric=10),
        )[1:] == ["10.8.0.0/16 via 10.0.0.2 dev usb0"]

    def test_a_leg_that_is_left_alone_has_weight_1_and_others_keep_theirs(self) -> None:
        """So what the kernel shows of the copy, which is no weight, is what was asked for."""
        legs = [Nexthop("usb0", ipaddress.ip_address(f"10.0.0.{n}"), weight=n) for n in (2, 3)]
        foreign = Nexthop("usb1", weight=4)
        both = main("10.7.0.0/16", "usb0", scope="global")
        for hops in ((legs[1], foreign), tuple(legs)):
            route = Route(MAIN_TABLE, both.destination, hops, protocol=4)
            copy = routes(self.FOUR, ROUTING, [route])[-2]
            assert [hop.weight for hop in copy.nexthops] == ([1] if foreign in hops else [2, 3])
        assert copy.nexthops == tuple(legs)

    def test_the_default_has_the_attributes_of_the_path(self) -> None:
        assert table(uplink(address("usb0", "10.0.0.10/24"), attributes=(("mtu", 1430),)))[-1] == (  # type: ignore[arg-type]  # no word
            "default via 10.0.0.1 dev usb0 src 10.0.0.10 mtu 1430"
        )

    def test_a_global_gateway_of_ipv6_that_no_network_has_is_on_the_link(self) -> None:
        assert self.between(main("2001:db8:8::/48", "usb0 2001:db8:7::1"), of=self.SIX) == [
            "2001:db8:8::/48 via 2001:db8:7::1 dev usb0 metric 1024 onlink"
        ]

    def test_of_several_legs_those_of_the_device(self) -> None:
        assert self.between(
            main("10.7.0.0/16", "usb0 10.0.0.2", "usb1 10.0.1.2"),
            main("10.8.0.0/16", "usb0 10.0.0.2", "usb0 10.0.0.3", "usb1 10.0.1.2"),
            main("10.9.0.0/16", "usb0", "usb1", scope="global"),
        )[1:] == [
            "10.9.0.0/16 dev usb0 scope link",
            "10.7.0.0/16 via 10.0.0.2 dev usb0",
            "10.8.0.0/16 nexthop via 10.0.0.2 dev usb0 weight 1 nexthop via 10.0.0.3 dev usb0 weight 1",
        ]

    @pytest.mark.parametrize(
        "route",
        [
            main("0.0.0.0/0", "usb0 10.0.0.9"),
            main("10.8.0.0/16", "usb1 10.0.1.1"),
            main("10.8.0.0/16", "usb0 10.0.0.9", protocol=78),
            main("10.8.0.0/16", "usb0 10.0.0.9", other="tos 16"),
            main("10.8.0.0/16", "usb0", kind="blackhole"),
        ],
    )
    def test_what_is_not_copied(self, route: Route) -> None:
        assert len(self.between(route)) == 1

    def test_a_nexthop_object_of_others_is_not_used(self) -> None:
        (copy,) = self.between(main("10.8.0.0/16", "usb0 10.0.0.9", nexthop_id=5))[1:]
        assert copy == "10.8.0.0/16 via 10.0.0.9 dev usb0"

    def test_of_too_many_those_without_a_gateway(self) -> None:
        many = [main(f"10.{n // 250 + 1}.{n % 250}.0/24", "usb0 10.0.0.9") for n in range(MOST_COPIES)]
        assert len(self.between(*many)) == MOST_COPIES + 1
        assert self.between(*many, main("10.99.0.0/16", "usb0"))[1:] == ["10.99.0.0/16 dev usb0 scope link"]

    def test_not_over_an_interface_that_is_down(self) -> None:
        down = uplink(address("usb0", "10.0.0.10/24"), state="down")
        assert len(table(down, ROUTING, [main("10.9.0.0/24", "usb0")])) == 1


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
