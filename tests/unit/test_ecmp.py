"""The ECMP default: its legs, their weights, and the nexthop group where the kernel has one."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.config.schema import RoutingConfig
from netbond.ecmp import (
    LARGEST_WEIGHT,
    Ecmp,
    ecmp,
    foreign_ids,
    leg,
    nexthop_id,
    own_ids,
    reduced,
    uses_groups,
)
from netbond.model import Facts, Leg, NexthopGroup, NexthopObject, PathAttributes, Uplink, UplinkState
from netbond.plan import Operation
from tests.unit.boxes import SIX, box, uplinks

ROUTING = RoutingConfig()
TWO = uplinks(box("usb0", "usb1"))


def lines(found: Ecmp) -> list[str]:
    """What is added, in its order."""
    return [Operation("add", each, "").command() for each in (*found.nexthops, *found.routes)]


def test_each_usable_uplink_is_a_leg() -> None:
    assert lines(ecmp(TWO, ROUTING)) == [
        "ip route add default table 222 proto 78"
        " nexthop via 10.0.0.1 dev usb0 weight 1 nexthop via 10.0.1.1 dev usb1 weight 1"
    ]
    dead = [TWO[0], replace(TWO[1], state=UplinkState.DEAD)]
    assert lines(ecmp(dead, ROUTING)) == ["ip route add default via 10.0.0.1 dev usb0 table 222 proto 78"]


def test_none_usable_is_no_default() -> None:
    assert ecmp([], ROUTING) == Ecmp()
    assert ecmp([replace(each, state=UplinkState.DEAD) for each in TWO], ROUTING, groups=True) == Ecmp()


def test_weights_are_in_their_smallest_numbers_and_one_leg_has_1() -> None:
    weighted = [replace(TWO[0], weight=6), replace(TWO[1], weight=4)]
    (route,) = ecmp(weighted, ROUTING).routes
    assert [hop.weight for hop in route.nexthops] == [3, 2]
    (route,) = ecmp(weighted[:1], ROUTING).routes
    assert [hop.weight for hop in route.nexthops] == [1]


def test_a_group_has_its_members_first_and_ipv6_has_none() -> None:
    both = [*TWO[:1], *uplinks(SIX)]
    assert lines(ecmp(both, ROUTING, groups=True)) == [
        "ip nexthop add id 7800100 via 10.0.0.1 dev usb0 proto 78",
        "ip nexthop add id 7800222 group 7800100,1 proto 78",
        "ip route add default nhid 7800222 table 222 proto 78",
        "ip -6 route add default via fe80::1 dev usb0 table 222 proto 78 metric 1024",
    ]


def test_a_leg_that_the_kernel_has_refused_is_left_out_and_only_that_one() -> None:
    six = uplinks(SIX)
    for refused, left in (
        (TWO[0], "ip route add default via 10.0.1.1 dev usb1 table 222 proto 78"),
        (TWO[1], "ip route add default via 10.0.0.1 dev usb0 table 222 proto 78"),
    ):
        assert leg(refused) == Leg(4, refused.table, refused.device, str(refused.gateway), 1)
        found = ecmp([*TWO, *six], ROUTING, left_out={leg(refused)})
        assert lines(found)[0] == left
        assert "-6" in lines(found)[1], "of the other family, at the same device"
    without = replace(TWO[0], gateway=None, weight=5)
    assert leg(without) == Leg(4, 100, "usb0", "", 5)


@pytest.mark.parametrize("resilient", [False, True])
def test_a_group_says_whether_it_is_resilient(resilient: bool) -> None:
    group = ecmp(TWO, ROUTING, groups=True, resilient=resilient).nexthops[-1]
    assert isinstance(group, NexthopGroup)
    assert group.resilient is resilient


def test_an_ipv4_default_may_have_an_ipv6_gateway() -> None:
    """RFC 8950: the nexthop object is then an IPv6 one, in a group of IPv4."""
    mixed = [TWO[0], replace(TWO[1], gateway=ipaddress.ip_address("fe80::1"))]
    found = ecmp(mixed, ROUTING, groups=True)
    assert lines(found) == [
        "ip nexthop add id 7800100 via 10.0.0.1 dev usb0 proto 78",
        "ip nexthop add id 7800101 via fe80::1 dev usb1 proto 78",
        "ip nexthop add id 7800222 group 7800100,1/7800101,1 proto 78",
        "ip route add default nhid 7800222 table 222 proto 78",
    ]
    assert [each.family for each in found.nexthops] == [4, 6, 4]
    assert lines(ecmp(mixed, ROUTING)) == [
        "ip -4 route add default table 222 proto 78"
        " nexthop via 10.0.0.1 dev usb0 weight 1 nexthop via inet6 fe80::1 dev usb1 weight 1"
    ]
    assert lines(ecmp(mixed[1:], ROUTING)) == [
        "ip -4 route add default via inet6 fe80::1 dev usb1 table 222 proto 78"
    ]


@pytest.mark.parametrize(
    ("mtus", "legs", "shared"),
    [
        ((1500, 1500), ((), ()), ()),
        ((1500, 1500), ((("mtu", 1430),), ()), (("mtu", 1430),)),
        ((1500, 9000), ((), (("mtu", 8000),)), (("mtu", 1500),)),
        ((0, 0), ((), (("mtu", 8000),)), (("mtu", 8000),)),  # unknown
        (
            (1500, 1500),
            (
                (("lock", 4), ("mtu", 1400), ("advmss", 1300), ("initcwnd", 30)),
                (("mtu", 1300), ("initcwnd", 20)),
            ),
            (("mtu", 1300), ("advmss", 1300)),
        ),
        (
            (1500, 1500),
            ((("hoplimit", 64), ("initcwnd", 30)), (("hoplimit", 64), ("congctl", "bbr"))),
            (("hoplimit", 64),),
        ),
    ],
)
def test_a_default_over_several_has_what_harms_none(
    mtus: tuple[int, int], legs: tuple[PathAttributes, PathAttributes], shared: PathAttributes
) -> None:
    both = [replace(u, mtu=mtu, attributes=a) for u, mtu, a in zip(TWO, mtus, legs, strict=True)]
    assert [route.attributes for route in ecmp(both, ROUTING, groups=True).routes] == [shared]
    assert [route.attributes for route in ecmp(both[:1], ROUTING).routes] == [legs[0]]


def test_one_leg_without_a_gateway_has_the_scope_that_the_kernel_gives_it() -> None:
    alone = replace(TWO[0], gateway=None)

    def scope(of: list[Uplink], *, groups: bool = False) -> str:
        (route,) = ecmp(of, ROUTING, groups=groups).routes
        return route.scope

    assert scope([alone]) == "link"
    assert scope([alone, TWO[1]]) == "global"
    assert scope([alone], groups=True) == "global"


def test_an_ipv6_leg_that_needs_no_gateway_has_one_that_nobody_asks() -> None:
    """The kernel takes none without into a multipath route. IPv4 does."""
    (six,) = uplinks(SIX)
    ppp = replace(six, device="ppp0", gateway=None, table=130, needs_gateway=False)
    assert lines(ecmp([six, ppp], ROUTING)) == [
        "ip -6 route add default table 222 proto 78 metric 1024"
        " nexthop via fe80::1 dev usb0 weight 1 nexthop via fe80:: dev ppp0 weight 1"
    ]
    # Alone as well: a leg that the kernel leaves behind stays as it is.
    assert lines(ecmp([ppp], ROUTING)) == [
        "ip -6 route add default via fe80:: dev ppp0 table 222 proto 78 metric 1024"
    ]
    cable = replace(ppp, needs_gateway=True)  # neighbours there are asked for their hardware address
    assert "dev ppp0 table 222" in lines(ecmp([cable], ROUTING))[0]
    four = replace(TWO[1], gateway=None, needs_gateway=False)
    assert "nexthop dev usb1 weight 1" in lines(ecmp([TWO[0], four], ROUTING))[0]


def test_ids_follow_from_tables() -> None:
    assert nexthop_id(100, 4, ROUTING) == 7800100
    assert nexthop_id(222, 6, ROUTING) == 7801222
    assert {nexthop_id(table, family, ROUTING) for table in (1, 999) for family in (4, 6)} <= set(
        own_ids(ROUTING)
    )


@pytest.mark.parametrize(
    ("facts", "base", "used"),
    [
        (Facts(nexthops=()), 7_800_000, True),
        (Facts(nexthops=None), 7_800_000, False),  # the kernel has none
        (Facts(nexthops=()), 0, False),  # not wanted
        (Facts(nexthops=(NexthopObject(7800100, 4, "usb0", protocol=78),)), 7_800_000, True),
        (Facts(nexthops=(NexthopObject(7800100, 4, "usb0", protocol=3),)), 7_800_000, False),
        (Facts(nexthops=(NexthopObject(5, 4, "usb0", protocol=3),)), 7_800_000, True),
    ],
)
def test_groups_where_the_kernel_has_them_and_nobody_else_uses_the_ids(
    facts: Facts, base: int, used: bool
) -> None:
    routing = RoutingConfig(nexthop_base=base)
    assert uses_groups(facts, routing) is used
    foreign = [each.id for each in facts.nexthops or () if each.protocol == 3 and each.id > 5]
    assert foreign_ids(facts, ROUTING) == foreign


@given(st.lists(st.integers(1, LARGEST_WEIGHT), min_size=1, max_size=8))
def test_reduced_weights_keep_their_ratio_and_share_no_factor(weights: list[int]) -> None:
    small = reduced(weights)
    assert all(a * small[0] == b * weights[0] for a, b in zip(weights, small, strict=True))
    assert all(any(number % factor for number in small) for factor in range(2, max(small) + 1))


@pytest.mark.parametrize(
    ("weights", "small"),
    [([256, 1], [255, 1]), ([256, 255], [255, 254]), ([256, 128], [2, 1]), ([256, 3, 100], [255, 3, 100]),
     ([2560, 5, 1], [255, 1, 1])],
)  # fmt: skip
def test_no_weight_is_larger_than_old_kernels_take(weights: list[int], small: list[int]) -> None:
    assert reduced(weights) == small


def test_no_weights_at_all() -> None:
    assert reduced([]) == []
