"""The rules of policies: one for each combination of their keys."""

from __future__ import annotations

from dataclasses import replace

from netbond.config.load import parse
from netbond.desired import desired
from netbond.model import Facts
from netbond.plan import route_words, rule_words
from tests.unit.boxes import SIX, box, default6, link, six


def lines(text: str, facts: Facts) -> list[str]:
    """netbond's rules from the first policy on."""
    rules = desired(facts, parse(text)).rules
    return [
        f"{'-6 ' if rule.family == 6 else ''}{rule_words(rule).removesuffix(' protocol 78')}"
        for rule in rules
        if rule.priority >= 222
    ]


def test_each_combination_has_a_rule_and_destinations_have_none() -> None:
    text = """
    [[policy]]
    name = "web"
    source = ["192.168.1.0/24", "fd00::5"]
    interface = "br*"
    port = [443, "5000-5010"]
    protocol = "tcp"
    uplinks = ["usb0"]
    [[policy]]
    name = "bank"
    destination = ["203.0.113.0/24", "198.51.100.7"]
    uplinks = ["usb1"]
    [[policy]]
    name = "own"
    uid = ["root", "1000-1999"]
    mark = "0x10/0xff"
    dscp = "ef"
    uplinks = ["usb1"]
    """
    facts = box("usb0", "usb1")
    facts = replace(facts, interfaces=(*facts.interfaces, link("br0")), users=(("root", 0),), dscp_rules=True)
    assert lines(text, facts) == [
        "priority 222 from 192.168.1.0/24 iif br0 ipproto 6 dport 443 lookup 7801",
        "priority 222 from 192.168.1.0/24 iif br0 ipproto 6 dport 5000-5010 lookup 7801",
        "priority 223 from all lookup 7802",
        "priority 224 from all fwmark 0x10/0xff iif lo uidrange 0-0 dscp 46 lookup 7803",
        "priority 224 from all fwmark 0x10/0xff iif lo uidrange 1000-1999 dscp 46 lookup 7803",
        "priority 225 from all lookup 222",
    ]


def test_where_rules_cannot_ask_for_a_dscp_they_ask_for_its_mark() -> None:
    text = """
    [[policy]]
    name = "calls"
    dscp = ["ef", "af41"]
    mark = "0x10/0xff"
    protocol = "udp"
    uplinks = ["usb0"]
    otherwise = "unreachable"
    """
    assert lines(text, box("usb0"))[:2] == [
        "priority 222 from all fwmark 0xfc000010/0xff0000ff ipproto 17 lookup 7801",
        "priority 222 from all fwmark 0xfd000010/0xff0000ff ipproto 17 lookup 7801",
    ]
    # The box's own packets have no such mark, so none from other uplinks' addresses are refused.
    goal = desired(replace(SIX, dscp_rules=False), parse(text.replace("usb0", "usb1")))
    assert not [rule for rule in goal.rules if rule.action == "unreachable"]


def test_both_families() -> None:
    text = '[[policy]]\nname = "calls"\nport = 3478\nprotocol = "udp"\nuplinks = ["*"]'
    facts = replace(
        SIX,
        interfaces=(*SIX.interfaces, *box("eth7").interfaces[1:]),
        addresses=(*SIX.addresses, *box("eth7").addresses),
        leases=box("eth7").leases,
    )
    assert lines(text, facts) == [
        "priority 222 from all ipproto 17 dport 3478 lookup 7801",
        "priority 223 from all lookup 222",
        "-6 priority 222 from all ipproto 17 dport 3478 lookup 7801",
        "-6 priority 223 from all lookup 222",
    ]


def test_a_policy_that_refuses_is_in_force_without_any_uplink() -> None:
    text = '[[policy]]\nname = "backup"\nuplinks = ["usb0"]\notherwise = "unreachable"'
    rules = desired(Facts(), parse(text)).rules
    assert [f"{rule.family} {rule_words(rule)}" for rule in rules] == [
        "4 priority 50 from all lookup main suppress_prefixlength 0 protocol 78",
        "6 priority 50 from all lookup main suppress_prefixlength 0 protocol 78",
        "4 priority 222 from all lookup 7801 protocol 78",
        "6 priority 222 from all lookup 7801 protocol 78",
    ]
    assert desired(Facts(), parse(text.replace("unreachable", "share"))).rules == ()


def test_what_refuses_does_so_from_other_uplinks_addresses_with_ipv6() -> None:
    """The kernel would choose one of them, and ask again."""
    facts = replace(
        SIX,
        interfaces=(*SIX.interfaces, link("usb1")),
        addresses=(*SIX.addresses, six("usb1", "2001:db8:1::5/64")),
        routes=(*SIX.routes, default6("usb1", "fe80::2")),
    )

    def refusals(*more: str) -> list[str]:
        text = "\n".join(['[[policy]]\nname = "p"\nuplinks = ["usb0"]', *more])
        goal = desired(facts, parse(text))
        found = [rule_words(rule).removesuffix(" protocol 78") for rule in goal.rules if rule.priority == 51]
        return found + [route_words(route) for route in goal.routes if route.table == 7901]

    refuses = 'otherwise = "unreachable"'
    assert refusals() == refusals(refuses, 'source = "fd00::/8"') == []
    assert refusals(refuses, 'interface = "usb1"') == []
    assert refusals(refuses, "uid = 34", "port = [22, 873]", 'protocol = "tcp"') == [
        "priority 51 from 2001:db8:1::5 iif lo uidrange 34-34 ipproto 6 dport 22 unreachable",
        "priority 51 from 2001:db8:1::5 iif lo uidrange 34-34 ipproto 6 dport 873 unreachable",
    ]
    assert refusals(refuses, 'destination = ["2001:db8:b::/48", "192.0.2.1"]') == [
        "priority 51 from 2001:db8:1::5 lookup 7901",
        "unreachable 2001:db8:b::/48 table 7901 proto 78 metric 4294967295",
    ]
