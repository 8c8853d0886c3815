"""What nftables remembers of sticky policies, and how that outlives a change of the table."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.schema import RouterConfig
from netbond.model import UplinkState
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from netbond.router.ruleset import ANEW, ruleset
from netbond.router.sticky import conditions, kept, may_begin
from tests.unit.router_uplinks import USB0, WWAN0, uplink

BITS = 0xFF000000


def net(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text)


def policy(
    number: int = 1, sticky_s: int = 600, match: PolicyMatch | None = None, **more: object
) -> PolicyInUse:
    way = PolicyWay(4, match or PolicyMatch(), 1, 1, (("usb0", 1),))
    found = PolicyInUse(f"p{number}", number, 7800 + number, (("usb0",), ("wwan0",)), (way,), sticky_s)
    return replace(found, **more)  # type: ignore[arg-type]  # any field


def text(
    *policies: PolicyInUse, uplinks: tuple[object, ...] = (USB0, WWAN0), pinned: tuple[str, ...] = ()
) -> str:
    return ruleset(uplinks, [], RouterConfig(), held={4}, policies=policies, pinned=map(net, pinned))  # type: ignore[arg-type]  # they are uplinks


def chain(table: str, name: str) -> list[str]:
    found = table.partition(f"\tchain {name} {{\n")[2].partition("\t}\n")[0]
    return [line.strip() for line in found.splitlines()]


# --- whose packets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (PolicyMatch(), [""]),
        (PolicyMatch(interfaces=("eth1", "lo")), ['iifname { "eth1" }']),
        (PolicyMatch(interfaces=("lo",)), []),
        (PolicyMatch(interfaces=("lo",), uids=((0, 0),)), []),
        (PolicyMatch(protocols=(17, 6), ports=((500, 600), (443, 443), (550, 700))),
         ["meta l4proto { 6, 17 } th dport { 443, 500-700 }"]),
        (PolicyMatch(destinations=(net("10.1.0.0/16"), net("10.0.0.0/8"))), ["ip daddr { 10.0.0.0/8 }"]),
        (PolicyMatch(sources=(net("10.0.0.5/32"),), dscps=(46,)),
         ["ip saddr { 10.0.0.5/32 } ip dscp { 46 }"]),
        # netbond's own bits do not keep a mark from matching
        (PolicyMatch(marks=((1, 0xFFFFFFFF), (0x20, 0xF0))),
         ["meta mark & 0x00ffffff == 0x00000001", "meta mark & 0x000000f0 == 0x00000020"]),
    ],
)  # fmt: skip
def test_conditions(match: PolicyMatch, expected: list[str]) -> None:
    assert conditions(match, 4, BITS, several=False) == expected


def test_where_both_families_are_in_the_table_each_is_asked_for() -> None:
    assert conditions(PolicyMatch(), 6, BITS, several=True) == ["meta nfproto ipv6"]


# --- the table ---------------------------------------------------------------------------------------------


def test_no_sets_without_a_sticky_policy() -> None:
    assert "sticky" not in text(policy(sticky_s=0))
    assert "remember" not in text(policy(sticky_s=0))


def test_a_client_is_remembered_and_sent_to_its_uplink() -> None:
    found = text(policy())
    assert "\tset sticky_1_4_100 { type ipv4_addr; size 65535; flags dynamic,timeout; } # p1\n" in found
    assert "\tset sticky_1_4_201 { type ipv4_addr;" in found
    assert chain(found, "prerouting")[-3] == (
        "ct state new ct direction original ct mark & 0xff000000 == 0x00000000 jump sticky"
    )
    assert chain(found, "sticky") == ["goto sticky_1_4"]
    # The second tier is not in use: clients that are on it go to the first.
    assert chain(found, "sticky_1_4") == [
        "ip saddr @sticky_1_4_100 meta mark set meta mark & 0x00ffffff | 0x64000000 return"
    ]
    assert chain(found, "forward")[-1] == "ct state new ct direction original jump remember"
    assert chain(found, "remember") == ["goto remember_1_4"]
    usb0, wwan0 = "ct mark & 0xff000000 == 0x64000000", "ct mark & 0xff000000 == 0xc9000000"
    assert chain(found, "remember_1_4") == [
        f"{usb0} ip saddr @sticky_1_4_100 update @sticky_1_4_100 {{ ip saddr timeout 600s }} return",
        f"{wwan0} ip saddr @sticky_1_4_201 update @sticky_1_4_201 {{ ip saddr timeout 600s }} return",
        "delete @sticky_1_4_100 { ip saddr }",
        "delete @sticky_1_4_201 { ip saddr }",
        f"{usb0} update @sticky_1_4_100 {{ ip saddr timeout 600s }} return",
        f"{wwan0} update @sticky_1_4_201 {{ ip saddr timeout 600s }} return",
    ]


def test_a_dead_uplink_is_not_asked_but_its_clients_are_forgotten() -> None:
    found = text(policy(failback="keep"), uplinks=(USB0, replace(WWAN0, state=UplinkState.DEAD)))
    assert "\tset sticky_1_4_201 " in found
    assert len(chain(found, "sticky_1_4")) == 1
    assert chain(found, "remember_1_4")[1:3] == [
        "delete @sticky_1_4_100 { ip saddr }",
        "delete @sticky_1_4_201 { ip saddr }",
    ]


def test_the_first_policy_that_fits_counts_and_pins_come_before() -> None:
    https = PolicyMatch(protocols=(6,), ports=((443, 443),))
    found = text(policy(1, 0, https), policy(2), policy(3, 0), pinned=("192.0.2.0/24",))
    assert chain(found, "sticky") == [
        "ip daddr { 192.0.2.0/24 } return",
        "meta l4proto { 6 } th dport { 443 } return",
        "goto sticky_2_4",
    ]
    assert chain(found, "remember")[-1] == "goto remember_2_4"


def test_a_policy_whose_uplinks_are_not_there_is_passed_over() -> None:
    found = text(policy(1), policy(2, tiers=(("usb9",),)), uplinks=(USB0, uplink("eth7", 117, "10.7.0.1/24")))
    assert "sticky_2_4" not in found


@pytest.mark.parametrize(
    ("failback", "best", "tier", "expected"),
    [
        ("keep", 1, 1, {"usb0", "wwan0"}),
        ("drain", 1, 1, {"usb0"}),
        ("cut", 2, 2, {"wwan0"}),
        ("drain", 1, 2, {"usb0", "wwan0"}),  # the first one overflows
        ("drain", 0, 0, set()),
    ],
)
def test_where_a_client_may_begin(failback: str, best: int, tier: int, expected: set[str]) -> None:
    way = PolicyWay(4, PolicyMatch(), best, tier, ())
    assert may_begin(policy(failback=failback), way) == expected


def test_a_table_for_a_policy_that_cuts() -> None:
    found = text(policy(sticky_s=0, failback="cut"))
    assert chain(found, "forward")[2:4] == [
        "ct mark & 0xff000000 == 0xff000000 meta l4proto tcp goto cut",
        "ct mark & 0xff000000 == 0xfe000000 meta l4proto tcp reject with tcp reset",
    ]
    assert chain(found, "cut") == [
        "ct direction original reject with tcp reset",
        "tcp flags set rst accept",
    ]
    assert "cut" not in text(policy(sticky_s=0))


# --- what outlives a change --------------------------------------------------------------------------------


def test_sets_keep_what_they_hold_when_the_rest_changes() -> None:
    before, wanted = text(policy()), text(policy(), uplinks=(USB0,))
    assert before != wanted
    found = kept(before, wanted, ANEW)
    assert found.startswith("table inet netbond\nflush table inet netbond\ntable inet netbond {")
    assert found.partition("{")[2] == wanted.partition("{")[2]


def test_they_are_emptied_when_they_become_those_of_another_policy() -> None:
    wanted = text(policy(name="other"))
    assert kept(text(policy()), wanted, ANEW) == wanted
    assert kept("", wanted, ANEW) == wanted
    without = text(policy(sticky_s=0))
    assert kept(wanted, without, ANEW) == without
