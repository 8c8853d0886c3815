"""IPv6, several gateways, nexthop groups, health, backups and pins: facts into what the kernel is to hold."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond import pins
from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.conflicts import conflicts
from netbond.desired import desired, tables_in_use
from netbond.errors import ConfigError
from netbond.kernel.taken_defaults import from_json, merged, still_valid, to_json
from netbond.model import (
    MAIN_TABLE,
    Address,
    Budget,
    Facts,
    Health,
    Link,
    Nexthop,
    NexthopGroup,
    NexthopObject,
    Route,
    Uplink,
)
from netbond.plan import plan
from netbond.uplinks import find, remember
from tests.unit.boxes import address, box, lease, link, main_default


def six(device: str, interface: str, **flags: bool) -> Address:
    return Address(device, ipaddress.IPv6Interface(interface), **flags)  # type: ignore[arg-type] # flags only


def default6(device: str, gateway: str, metric: int = 1024) -> Route:
    hop = Nexthop(device, ipaddress.ip_address(gateway))
    return Route(MAIN_TABLE, ipaddress.ip_network("::/0"), (hop,), metric=metric, protocol=9)


def uplinks(facts: Facts, config: Config | None = None) -> list[Uplink]:
    return list(find(facts, config or Config(), {}).uplinks)


def commands(facts: Facts, config: Config | None = None) -> list[str]:
    config = config or Config()
    return [o.command() for o in plan(facts, desired(facts, config), config.routing.protocol)]


SIX = Facts(
    links=(link("usb0"),),
    addresses=(six("usb0", "2001:db8::5/64"),),
    routes=(default6("usb0", "fe80::1"),),
    nexthops=(),
)


class TestIPv6:
    """The same layout, with metrics said outright."""

    def test_the_whole_of_it(self) -> None:
        assert commands(SIX) == [
            "ip nexthop add id 7801100 via fe80::1 dev usb0 proto 78",
            "ip nexthop add id 7801222 group 7801100,1 proto 78",
            "ip -6 route add unreachable default table 100 proto 78 metric 4294967295",
            "ip -6 route add 2001:db8::/64 dev usb0 table 100 proto 78 src 2001:db8::5 metric 1024",
            "ip -6 route add default via fe80::1 dev usb0 table 100 proto 78 src 2001:db8::5 metric 1024",
            "ip -6 route add default nhid 7801222 table 222 proto 78 metric 1024",
            "ip -6 rule add priority 40 from all oif usb0 lookup 100 protocol 78",
            "ip -6 rule add priority 50 from all lookup main suppress_prefixlength 0 protocol 78",
            "ip -6 rule add priority 100 from 2001:db8::5 lookup 100 protocol 78",
            "ip -6 rule add priority 222 from all lookup 222 protocol 78",
        ]

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

    def test_a_further_gateway_keeps_its_table(self) -> None:
        config = parse('[[uplink]]\nmatch = "eth0"\ngateway = ["10.0.0.1", "10.1.0.1"]')
        goal = desired(self.two, config)
        table = goal.uplinks[1].table
        facts = replace(
            self.two,
            routes=tuple(replace(r, table=200) if r.table == table else r for r in goal.routes),
            rules=tuple(replace(r, table=200, priority=200) if r.table == table else r for r in goal.rules),
        )
        assert tables_in_use(facts, 78)["eth0+10.1.0.1"] == 200
        assert commands(facts, config) == []

    def test_point_to_point_needs_no_word_of_configuration(self) -> None:
        ppp = Link("ppp0", 9, point_to_point=True)
        route = Route(MAIN_TABLE, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("ppp0"),), scope="link")
        facts = Facts(
            links=(ppp,), addresses=(address("ppp0", "10.64.1.2/32", peer="10.64.0.1"),), routes=(route,)
        )
        (found,) = uplinks(facts)
        assert (found.gateway, found.gateway_source) == (None, "main default")
        remembered = replace(facts, routes=(), remembered=remember(facts, 1.0))
        assert [u.gateway_source for u in uplinks(remembered)] == ["main default (gone)"]
        ether = replace(facts, links=(replace(ppp, point_to_point=False),))
        assert uplinks(ether) == []


class TestNexthops:
    """A group, where the kernel has them and nobody else uses the numbers."""

    facts = replace(box("usb0", "usb1"), nexthops=())

    def settled(self) -> Facts:
        goal = desired(self.facts, Config())
        as_read = tuple(replace(n, family=0) if isinstance(n, NexthopGroup) else n for n in goal.nexthops)
        return replace(self.facts, routes=goal.routes, rules=goal.rules, nexthops=as_read)

    def test_settled_needs_nothing(self) -> None:
        assert commands(self.settled()) == []

    def test_a_leg_that_goes_leaves_the_group_before_it_is_deleted(self) -> None:
        facts = replace(self.settled(), links=(link("usb0"), link("usb1", carrier=False)))
        assert commands(facts) == [
            "ip nexthop replace id 7800222 group 7800100,1 proto 78",
            "ip nexthop delete id 7800101",
        ]

    def test_what_the_kernel_took_is_put_back_members_first(self) -> None:
        before = self.settled()
        group = NexthopGroup(7800222, 0, ((7800100, 1),), 78)
        facts = replace(before, nexthops=(NexthopObject(7800100, 4, "usb0", ipaddress.ip_address("10.0.0.1"),
                                                        protocol=78), group))  # fmt: skip
        assert commands(facts) == [
            "ip nexthop add id 7800101 via 10.0.1.1 dev usb1 proto 78",
            "ip nexthop replace id 7800222 group 7800100,1/7800101,1 proto 78",
        ]

    def test_others_numbers_and_old_kernels(self) -> None:
        foreign = NexthopObject(7800101, 4, "usb0", protocol=3)
        for nexthops in (None, (foreign,)):
            found = commands(replace(self.facts, nexthops=nexthops))
            assert not any("nexthop add" in c or "nhid" in c for c in found)
            assert any("weight 1 nexthop via" in c for c in found)
        facts = replace(self.facts, nexthops=(foreign,))
        assert "nexthop id 7800101" in conflicts(facts, desired(facts, Config()), Config())[0]

    @pytest.mark.parametrize(
        ("destination", "named"),
        [
            ("0.0.0.0/1", True),  # connected by a wrong netmask, or a static route of a lease
            ("128.0.0.0/1", True),
            ("64.0.0.0/2", True),
            ("192.0.0.0/7", True),
            ("0.0.0.0/0", False),  # a default, which the rules pass over
            ("10.0.0.0/8", False),
            ("224.0.0.0/4", False),  # multicast
            ("240.0.0.0/4", False),
            ("2000::/3", True),
            ("::/1", True),
            ("2a00::/7", True),
            ("8000::/1", False),  # there is no internet there
            ("fc00::/7", False),
        ],
    )
    def test_what_captures_much_of_the_internet(self, destination: str, named: bool) -> None:
        network = ipaddress.ip_network(destination)
        route = Route(MAIN_TABLE, network, (Nexthop("usb1"),), protocol=2)
        base = SIX if network.version == 6 else self.facts
        facts = replace(base, routes=(*base.routes, route))
        found = conflicts(facts, desired(facts, Config()), Config())
        assert [problem.split(" does: ")[1] for problem in found] == (
            [f"{destination} dev usb1 table main proto 2"] if named else []
        )
        own = replace(facts, routes=(replace(route, protocol=78),))
        assert conflicts(own, desired(own, Config()), Config()) == []
        elsewhere = replace(facts, routes=(*base.routes, replace(route, table=77)))
        assert conflicts(elsewhere, desired(elsewhere, Config()), Config()) == []

    def test_leaving_takes_routes_then_group_then_members(self) -> None:
        facts = self.settled()
        words = [o.command().split()[1] for o in plan(facts, desired(Facts(), Config()), 78)]
        assert words == ["rule"] * 6 + ["route"] * 7 + ["nexthop"] * 3
        assert plan(facts, desired(Facts(), Config()), 78)[-3].command() == "ip nexthop delete id 7800222"

    def test_without_pruning_nothing_goes(self) -> None:
        facts = replace(self.settled(), links=(link("usb0"),), addresses=self.facts.addresses[:2])
        assert plan(facts, desired(facts, Config()), 78, prune=False) == []
        assert plan(facts, desired(facts, Config()), 78) != []


class TestStanding:
    """Health, budgets and backups."""

    facts = box("usb0", "usb1", "usb2")

    def states(self, facts: Facts, text: str = "") -> list[str]:
        return [u.state for u in uplinks(facts, parse(text))]

    def down(self, *devices: str) -> tuple[Health, ...]:
        return tuple(Health(device, 4, "down", "no answer") for device in devices)

    def test_a_dead_uplink_leaves_the_share_and_the_list_and_keeps_its_table(self) -> None:
        facts = replace(self.facts, health=self.down("usb1"))
        assert self.states(facts) == ["up", "dead", "up"]
        goal = desired(facts, Config())
        assert goal.uplinks[1].reason == "no answer"
        assert not goal.uplinks[1].in_list
        (share,) = [r for r in goal.routes if r.table == 222]
        assert [hop.device for hop in share.nexthops] == ["usb0", "usb2"]
        assert sum(r.table == 101 for r in goal.routes) == 3
        (kept,) = [u for u in uplinks(facts, parse("[health]\ndown_from_list = false")) if u.state == "dead"]
        assert kept.in_list

    def test_if_all_are_dead_none_is(self) -> None:
        assert self.states(replace(self.facts, health=self.down("usb0", "usb1", "usb2"))) == ["up"] * 3

    @pytest.mark.parametrize("state", ["up", "degraded", "unknown"])
    def test_anything_but_down_is_used(self, state: str) -> None:
        health = (Health("usb0", 4, state), Health("usb1", 6, "down"))
        assert self.states(replace(self.facts, health=health)) == ["up"] * 3

    def test_of_another_address_is_of_no_concern(self) -> None:
        health = Health("usb0", 4, "down", address=ipaddress.ip_address("10.9.9.9"))
        assert self.states(replace(self.facts, health=(health,))) == ["up"] * 3

    def test_backups(self) -> None:
        text = '[[uplink]]\nmatch = "usb2"\nbackup = true'
        assert self.states(self.facts, text) == ["up", "up", "standby"]
        dead = replace(self.facts, health=self.down("usb0", "usb1"))
        assert self.states(dead, text) == ["dead", "dead", "up"]
        assert self.states(replace(dead, health=self.down("usb0", "usb1", "usb2")), text) == [
            "up",
            "up",
            "standby",
        ]
        none = replace(self.facts, links=(link("usb2"),))
        assert self.states(none, text) == ["up"]

    def test_spent_data_plans(self) -> None:
        def spent(*pairs: tuple[str, str]) -> Facts:
            return replace(self.facts, budgets=tuple(Budget(d, action, "50 GB used") for d, action in pairs))

        assert self.states(spent(("usb0", "backup"))) == ["standby", "up", "up"]
        assert self.states(spent(("usb0", "off"))) == ["spent", "up", "up"]
        assert self.states(spent(("usb0", "off"), ("usb1", "off"), ("usb2", "off"))) == ["up"] * 3
        alone = replace(spent(("usb0", "off"), ("usb1", "off")), health=self.down("usb2"))
        assert self.states(alone) == ["up", "up", "dead"]

    def test_if_all_are_dead_the_last_state_stays(self) -> None:
        dead = replace(self.facts, health=self.down("usb0", "usb1", "usb2"))
        assert self.states(dead) == ["up"] * 3
        only = frozenset({("usb1", ipaddress.ip_address("10.0.1.10"))})
        assert self.states(replace(dead, alive=only)) == ["dead", "up", "dead"]


class TestPins:
    """The first of the list that works."""

    text = """
    [[pin]]
    destination = ["203.0.113.0/24", "bank.example", "2001:db8:9::/48"]
    uplinks = ["eth*", "usb1", "usb*"]
    otherwise = "unreachable"
    [[pin]]
    destination = ["203.0.113.0/24", "203.0.113.128/25"]
    uplinks = ["usb0"]
    """
    config = parse(text)
    facts = replace(
        box("usb0", "usb1"),
        resolved=(
            ("bank.example", (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1"))),
        ),
    )

    def ways(self, facts: Facts) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for route in pins.routes(uplinks(facts, self.config), facts, self.config):
            says = route.nexthops[0].device if route.nexthops else route.kind
            found.setdefault(str(route.destination), []).append(says)
        return found

    def test_order_overlap_and_names(self) -> None:
        assert self.ways(self.facts) == {
            "192.0.2.1/32": ["unreachable", "usb1"],
            "203.0.113.0/24": ["unreachable", "usb1"],
            "203.0.113.128/25": ["usb0"],
        }
        assert pins.names(self.config) == {"bank.example"}

    def test_fallback_and_refusal(self) -> None:
        one = replace(self.facts, links=(link("usb0"), link("usb1", carrier=False)))
        assert self.ways(one)["203.0.113.0/24"] == ["unreachable", "usb0"]
        none = replace(self.facts, links=(link("usb0", up=False), link("usb1", up=False)))
        assert self.ways(none) == {"192.0.2.1/32": ["unreachable"], "203.0.113.0/24": ["unreachable"]}

    def test_a_backup_that_waits_carries_what_is_pinned_to_it(self) -> None:
        config = parse(
            '[[uplink]]\nmatch = "usb1"\nbackup = true\n'
            '[[pin]]\ndestination = ["192.0.2.0/24"]\nuplinks = ["usb1"]'
        )
        (route,) = pins.routes(uplinks(self.facts, config), self.facts, config)
        assert route.nexthops[0].device == "usb1"

    @pytest.mark.parametrize(
        ("destination", "says"),
        [
            ('["203.0.113.1/24"]', "'203.0.113.1/24' is none of them"),
            ('["0.0.0.0/0"]', "prefixes that are not everything"),
            ('["a b"]', "'a b' is none of them"),
            ('["-x.example"]', "is none of them"),
            ("[]", "a list of prefixes"),
            ('"192.0.2.1"', "a list of prefixes"),
            ('["300.1.1.1"]', "'300.1.1.1' is none of them"),
        ],
    )
    def test_mistakes(self, destination: str, says: str) -> None:
        with pytest.raises(ConfigError, match=r"pin\[1\]\.destination") as caught:
            parse(f'[[pin]]\ndestination = {destination}\nuplinks = ["usb0"]')
        assert says in str(caught.value)


class TestDefaultsOfOthers:
    """Taken only where the classic layout is told to, and only what something replaces."""

    config = parse('[routing]\nlayout = "classic"\ntake_over_default = true')
    ours = main_default("usb0", "10.0.0.1", metric=5)
    facts = replace(box("usb0"), routes=(ours,))

    def test_taken_last_of_all_adds(self) -> None:
        found = commands(self.facts, self.config)
        assert found[-1] == "ip route delete default via 10.0.0.1 dev usb0 table main proto 16 metric 5"

    def test_not_by_default_and_not_without_a_usable_uplink(self) -> None:
        assert desired(self.facts, parse('[routing]\nlayout = "classic"')).take == ()
        assert desired(replace(self.facts, links=(link("usb0", up=False),)), self.config).take == ()
        assert desired(replace(self.facts, routes=(default6("usb0", "fe80::1"),)), self.config).take == ()

    def test_it_still_tells_the_gateway_once_it_is_taken(self) -> None:
        facts = replace(self.facts, leases=(), routes=(), taken=(self.ours,))
        assert [str(u.gateway) for u in uplinks(facts, self.config)] == ["10.0.0.1"]

    def test_the_record_reads_back(self) -> None:
        routes = (self.ours, default6("usb0", "fe80::1"), replace(self.ours, scope="123", metric=9))
        assert from_json(to_json(routes)) == routes
        strange = [to_json((replace(self.ours, scope=scope),)) for scope in ("256", "far away", "²")]
        unfit: tuple[object, ...] = (None, {}, [1], [{"family": 5}], *strange)
        for broken in unfit:
            with pytest.raises(ValueError, match=r"\w"):
                from_json(broken)

    def test_valid_while_interface_and_network_are_there(self) -> None:
        assert still_valid(self.ours, self.facts)
        assert not still_valid(self.ours, replace(self.facts, links=()))
        assert not still_valid(self.ours, replace(self.facts, addresses=(address("usb0", "10.9.0.2/24"),)))

    def test_a_new_one_replaces_the_old_one_of_its_place(self) -> None:
        new = main_default("usb0", "10.0.0.2", metric=5)
        assert merged((self.ours,), (new,)) == (new,)
        assert merged((self.ours,), (main_default("usb1", "10.0.1.1", metric=5),))[0] == self.ours
