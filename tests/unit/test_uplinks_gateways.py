"""Several gateways on one interface, and addresses of IPv6: which uplinks they make."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.model import (
    MAIN_TABLE,
    Facts,
    Interface,
    Nexthop,
    Route,
)
from netbond.uplinks import find, remember
from tests.unit.boxes import SIX, address, box, commands, default6, lease, main_default, six, uplinks


class TestIPv6:
    """Which addresses lead out."""

    def test_both_families_share_a_table(self) -> None:
        facts = replace(
            box("usb0"),
            addresses=(*box("usb0").addresses, *SIX.addresses),
            routes=SIX.routes,
        )
        assert [(u.name, u.family, u.table) for u in uplinks(facts)] == [("usb0", 4, 100), ("usb0", 6, 100)]
        assert [u.family for u in uplinks(facts, parse("[routing]\nipv6 = false"))] == [4]

    def test_the_address_to_bind_to_lasts_and_leads_out(self) -> None:
        order = [
            six("usb0", "2001:db8::d/64", deprecated=True),
            six("usb0", "fd00::5/64"),
            six("usb0", "2001:db8::7/64", temporary=True),
            six("usb0", "2001:db8::9/64", tentative=True),
            six("usb0", "2001:db8::5/64"),
        ]
        (found,) = uplinks(replace(SIX, addresses=tuple(order)))
        assert str(found.address.ip) == "2001:db8::5"
        held = {str(a.interface.ip) for a in found.addresses}
        assert held == {"2001:db8::d", "fd00::5", "2001:db8::7", "2001:db8::5"}
        (found,) = uplinks(replace(SIX, addresses=tuple(order[:3])))
        assert str(found.address.ip) == "2001:db8::7"

    def test_unique_local_alone_counts_only_where_it_is_asked_for(self) -> None:
        facts = replace(SIX, addresses=(six("usb0", "fd00::5/64"),))
        assert uplinks(facts) == []
        assert len(uplinks(facts, parse('[[uplink]]\nmatch = "usb0"'))) == 1

    def test_only_a_tentative_address_is_none(self) -> None:
        facts = replace(SIX, addresses=(six("usb0", "2001:db8::5/64", tentative=True),))
        assert uplinks(facts) == []

    def test_a_configured_gateway_is_for_its_family(self) -> None:
        facts = replace(box("usb0"), addresses=(*box("usb0").addresses, *SIX.addresses), routes=SIX.routes)
        config = parse('[[uplink]]\nmatch = "usb0"\ngateway = ["10.0.0.7", "fe80::7"]')
        assert [str(u.gateway) for u in uplinks(facts, config)] == ["10.0.0.7", "fe80::7"]
        config = parse('[[uplink]]\nmatch = "usb0"\ngateway = "10.0.0.7"')
        assert [str(u.gateway) for u in uplinks(facts, config)] == ["10.0.0.7", "fe80::1"]

    def test_of_two_routers_the_first_by_metric(self) -> None:
        facts = replace(SIX, routes=(default6("usb0", "fe80::2", 2000), default6("usb0", "fe80::1")))
        assert [str(u.gateway) for u in uplinks(facts)] == ["fe80::1"]


class TestGateways:
    """Each network of an interface may have its own."""

    two = replace(
        box("eth0"),
        addresses=(address("eth0", "10.0.0.10/24"), address("eth0", "10.1.0.10/24")),
        leases=(),
    )

    def test_a_list_in_the_configuration(self) -> None:
        config = parse('[[uplink]]\nmatch = "eth0"\ngateway = ["10.1.0.1", "10.0.0.1"]')
        first, second = uplinks(self.two, config)
        assert (first.name, str(first.address.ip)) == ("eth0", "10.1.0.10")
        assert (second.name, str(second.address.ip)) == ("eth0+10.0.0.1", "10.0.0.10")
        assert first.table == 110
        assert second.table in range(130, 220)
        rules = [c for c in commands(self.two, config) if "ip rule" in c]
        assert sum("oif eth0" in rule for rule in rules) == 1

    def test_leases_and_main_for_different_networks(self) -> None:
        facts = replace(
            self.two,
            leases=(lease("eth0", "10.0.0.10/24", "10.0.0.1"),),
            routes=(main_default("eth0", "10.1.0.1"),),
        )
        assert [(u.name, u.gateway_source) for u in uplinks(facts)] == [
            ("eth0", "dhclient"),
            ("eth0+10.1.0.1", "main default"),
        ]

    def test_an_address_without_a_gateway_of_its_own_goes_with_the_first(self) -> None:
        facts = replace(self.two, routes=(main_default("eth0", "10.1.0.1"),))
        (found,) = uplinks(facts)
        assert str(found.address.ip) == "10.1.0.10"
        assert [str(a.interface.ip) for a in found.addresses] == ["10.0.0.10", "10.1.0.10"]

    def test_two_gateways_of_one_network_share_its_addresses(self) -> None:
        config = parse('[[uplink]]\nmatch = "eth0"\ngateway = ["10.0.0.1", "10.0.0.2"]')
        both = replace(self.two, addresses=(address("eth0", "10.0.0.10/24"), address("eth0", "10.0.0.11/24")))
        assert [str(u.address.ip) for u in uplinks(both, config)] == ["10.0.0.10", "10.0.0.11"]
        one = replace(self.two, addresses=(address("eth0", "10.0.0.10/24"),))
        assert [len(u.addresses) for u in uplinks(one, config)] == [1, 0]

    def test_attributes_are_those_of_mains_default_through_the_same_gateway(self) -> None:
        def of(gateway: str, metric: int, mtu: int) -> Route:
            return replace(main_default("eth0", gateway, metric), attributes=(("mtu", mtu),))

        first, second = of("10.0.0.1", 5, 1400), of("10.1.0.1", 1, 1300)
        facts = replace(self.two, routes=(first, second, of("10.0.0.1", 9, 1200)))
        assert [u.attributes for u in uplinks(facts)] == [(("mtu", 1400),), (("mtu", 1300),)]
        # A lease names another gateway than main has: the link is the same.
        leased = replace(facts, routes=(second,), leases=(lease("eth0", "10.0.0.10/24", "10.0.0.1"),))
        assert uplinks(leased)[0].attributes == (("mtu", 1300),)
        taken = replace(facts, routes=(), taken=(first,))
        assert [u.attributes for u in uplinks(taken)] == [(("mtu", 1400),)]
        gone = replace(facts, routes=(), remembered=remember(facts, 1.0))
        assert next(u.attributes for u in uplinks(gone)) == (("mtu", 1300),)
        six_only = replace(first, destination=ipaddress.ip_network("::/0"))
        assert all(not u.attributes for u in uplinks(replace(leased, routes=(six_only,))))

    def test_point_to_point_needs_no_word_of_configuration(self) -> None:
        ppp = Interface("ppp0", 9, point_to_point=True)
        route = Route(MAIN_TABLE, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("ppp0"),), scope="link")
        facts = Facts(
            interfaces=(ppp,), addresses=(address("ppp0", "10.64.1.2/32", peer="10.64.0.1"),), routes=(route,)
        )
        (found,) = uplinks(facts)
        assert (found.gateway, found.gateway_source) == (None, "main default")
        remembered = replace(facts, routes=(), remembered=remember(facts, 1.0))
        assert [u.gateway_source for u in uplinks(remembered)] == ["main default (gone)"]
        raw_ip = replace(facts, interfaces=(replace(ppp, point_to_point=False, no_arp=True),))
        assert [u.gateway_source for u in uplinks(raw_ip)] == ["main default"]
        remembered = replace(raw_ip, routes=(), remembered=remember(raw_ip, 1.0))
        assert [u.gateway_source for u in uplinks(remembered)] == ["main default (gone)"]
        ether = replace(facts, interfaces=(replace(ppp, point_to_point=False),))
        assert uplinks(ether) == []
        assert find(ether, Config(), {}).excluded == (
            ("ppp0", 'its default in main has no gateway, which this link needs (or set gateway = "none")'),
        )

    def test_raw_ip_of_ipv6(self) -> None:
        route = Route(MAIN_TABLE, ipaddress.ip_network("::/0"), (Nexthop("wwan0"),), metric=1024)
        facts = Facts((Interface("wwan0", 9, no_arp=True),), (six("wwan0", "2001:db8::5/64"),), (route,))
        assert [(u.gateway, u.gateway_source) for u in uplinks(facts)] == [(None, "main default")]
