"""What router mode makes of uplinks: the whole text for nft."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import RouterConfig
from netbond.model import Uplink, UplinkState
from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from netbond.router.ruleset import REMOVAL, pending, ruleset
from tests.unit.router_uplinks import CONFIG, DEAD, USB0, WWAN0, uplink

WHOLE = """\
table inet netbond
delete table inet netbond
table inet netbond {
	chain begins {
		oifname "usb0" ct mark set ct mark & 0x00ffffff | 0x64000000 return
		oifname "wwan0" ct mark set ct mark & 0x00ffffff | 0xc9000000 return
		iifname "usb0" ct mark set ct mark & 0x00ffffff | 0x64000000 return
		iifname "wwan0" ct mark set ct mark & 0x00ffffff | 0xc9000000 return
	}
	chain begun {
		ct direction original ct reply ip daddr { 10.0.0.10 } ct mark set ct mark & 0x00ffffff | 0x64000000 return
		ct direction reply ct original ip daddr { 10.0.0.10 } ct mark set ct mark & 0x00ffffff | 0x64000000 return
		ct direction original ct reply ip daddr { 10.0.1.10 } ct mark set ct mark & 0x00ffffff | 0xc9000000 return
		ct direction reply ct original ip daddr { 10.0.1.10 } ct mark set ct mark & 0x00ffffff | 0xc9000000 return
	}
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta nfproto ipv6 accept
		iifname { "usb0", "usb1", "wwan0" } ct mark & 0xff000000 == 0x00000000 accept
		ct mark & 0xff000000 == 0x00000000 jump begun
		iifname != "usb0" ct mark & 0xff000000 == 0x64000000 meta mark set meta mark & 0x00ffffff | 0x64000000
		iifname != "wwan0" ct mark & 0xff000000 == 0xc9000000 meta mark set meta mark & 0x00ffffff | 0xc9000000
	}
	chain inbound {
		ct status dnat return
		drop
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		meta nfproto ipv6 accept
		iifname { "usb0", "usb1", "wwan0" } oifname { "br0", "eth1", "usb0", "usb1", "wwan0" } ct state new jump inbound
		ct direction original ct mark & 0xff000000 == 0x00000000 jump begins
		oifname { "usb0", "usb1", "wwan0" } tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
		iifname { "usb0", "usb1", "wwan0" } tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		iifname { "br0", "eth1" } oifname { "usb0", "usb1", "wwan0" } meta nfproto ipv4 masquerade
	}
}
"""  # noqa: E501 - as it goes to nft


def test_the_whole_text() -> None:
    """usb1 is dead: its connections are not pinned, but what still leaves by it is translated."""
    assert ruleset([USB0, DEAD, WWAN0], ["eth1", "br0"], CONFIG) == WHOLE


def test_packets_get_a_mark_for_their_dscp_before_that_of_their_connection() -> None:
    match = PolicyMatch(dscps=(46, 10), dscp_marks=((0xFD000000, 0xFF000000), (0xFC000000, 0xFF000000)))
    ways = tuple(PolicyWay(family, match, 1, 1, (("usb0", 1),)) for family in (4, 6))
    policy = PolicyInUse("calls", 1, 7801, (("usb0",),), ways)
    text = ruleset([USB0], [], CONFIG, held={4}, policies=[policy, replace(policy, number=2)])
    assert text.partition("chain prerouting {\n")[2].partition("\t}")[0] == (
        """\
		type filter hook prerouting priority mangle; policy accept;
		meta nfproto ipv6 accept
		iifname "usb0" ct mark & 0xff000000 == 0x00000000 accept
		iifname != { "lo", "usb0" } ip dscp 10 meta mark set meta mark & 0x00ffffff | 0xfc000000
		iifname != { "lo", "usb0" } ip dscp 46 meta mark set meta mark & 0x00ffffff | 0xfd000000
		ct mark & 0xff000000 == 0x00000000 jump begun
		iifname != "usb0" ct mark & 0xff000000 == 0x64000000 meta mark set meta mark & 0x00ffffff | 0x64000000
"""
    )


def test_the_documentation_shows_the_table() -> None:
    text = ruleset([USB0, WWAN0], ["eth1"], CONFIG).partition("delete table inet netbond\n")[2]
    assert f"```nft\n{text}```" in (Path(__file__).parents[3] / "docs/router.md").read_text(encoding="utf-8")


def test_the_least_text() -> None:
    config = replace(CONFIG, masquerade=False, protect_lan=False, clamp_mss=False, ipv6="forward")
    assert ruleset([USB0], ["eth1"], config) == (
        """\
table inet netbond
delete table inet netbond
table inet netbond {
	chain begins {
		meta nfproto ipv4 oifname "usb0" ct mark set ct mark & 0x00ffffff | 0x64000000 return
		meta nfproto ipv4 iifname "usb0" ct mark set ct mark & 0x00ffffff | 0x64000000 return
	}
	chain begun {
		meta nfproto ipv4 ct direction original ct reply ip daddr { 10.0.0.10 } ct mark set ct mark & 0x00ffffff | 0x64000000 return
		meta nfproto ipv4 ct direction reply ct original ip daddr { 10.0.0.10 } ct mark set ct mark & 0x00ffffff | 0x64000000 return
	}
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		iifname "usb0" ct mark & 0xff000000 == 0x00000000 accept
		ct mark & 0xff000000 == 0x00000000 jump begun
		iifname != "usb0" meta nfproto ipv4 ct mark & 0xff000000 == 0x64000000 meta mark set meta mark & 0x00ffffff | 0x64000000
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct direction original ct mark & 0xff000000 == 0x00000000 jump begins
	}
}
"""  # noqa: E501 - as it goes to nft
    )


@pytest.mark.parametrize(
    ("masquerade", "ipv6", "line"),
    [
        (True, "off", 'oifname "usb0" meta nfproto ipv4 masquerade'),
        (True, "forward", 'oifname "usb0" meta nfproto ipv4 masquerade'),
        (True, "masquerade", 'oifname "usb0" masquerade'),
        (False, "masquerade", 'oifname "usb0" meta nfproto ipv6 masquerade'),
        (False, "forward", None),
        (False, "off", None),
    ],
)
def test_what_is_translated(masquerade: bool, ipv6: str, line: str | None) -> None:
    text = ruleset([USB0], ["eth1"], replace(CONFIG, masquerade=masquerade, ipv6=ipv6))
    found = [each.partition(" ")[2].partition(" ")[2] for each in text.split("\n") if "masq" in each]
    assert found == ([] if line is None else [line])
    assert ("nfproto ipv6 accept" in text) == (ipv6 == "off")


def test_only_twins_need_marks_on_what_the_box_itself_answers() -> None:
    twins = [USB0, uplink("usb1", 101, "10.0.0.10/24")]
    text = ruleset(twins, ["eth1"], CONFIG)
    output = text[text.index("chain output") :].partition("\t}")[0].splitlines()
    assert output[1:4] == [
        "\t\ttype route hook output priority mangle; policy accept;",
        "\t\tmeta nfproto ipv6 accept",
        "\t\tct direction reply ct mark & 0xff000000 == 0x64000000"
        " meta mark set meta mark & 0x00ffffff | 0x64000000",
    ]
    assert "chain output" not in WHOLE


@pytest.mark.parametrize(
    ("uplinks", "inside", "config"),
    [([], ["eth1"], CONFIG), ([USB0], [], CONFIG), ([USB0], ["eth1"], RouterConfig())],
)
def test_no_table_where_there_is_nothing_to_share(
    uplinks: list[Uplink], inside: list[str], config: RouterConfig
) -> None:
    assert ruleset(uplinks, inside, config) == ""


def test_a_backup_that_waits_keeps_its_connections() -> None:
    standby = replace(DEAD, state=UplinkState.STANDBY)
    assert "0x65000000" in ruleset([USB0, standby], ["eth1"], CONFIG)
    assert "0x65000000" not in ruleset([USB0, DEAD], ["eth1"], CONFIG)


def test_a_name_that_nft_would_misread_never_reaches_it() -> None:
    bad = uplink('x"; }', 130, "10.0.3.10/24")
    assert ruleset([USB0, bad], ["eth1"], CONFIG) == ruleset([USB0], ["eth1"], CONFIG)


def test_another_mask() -> None:
    config = replace(CONFIG, mark_mask=0x000FF000)
    text = ruleset([USB0], ["eth1"], config)
    assert "ct mark & 0x000ff000 == 0x00064000 meta mark set meta mark & 0xfff00fff | 0x00064000" in text


def test_both_families_have_lines_of_their_own() -> None:
    config = replace(CONFIG, ipv6="forward", protect_lan=False, clamp_mss=False, masquerade=False)
    v6 = uplink("usb0", 100, "2001:db8::1/64")
    text = ruleset([USB0, replace(v6, state=UplinkState.DEAD)], ["eth1"], config)
    assert [line.strip().partition(" ct ")[0] for line in text.splitlines() if "0x64" in line] == [
        'meta nfproto ipv4 oifname "usb0"',
        'meta nfproto ipv4 iifname "usb0"',
        "meta nfproto ipv4",
        "meta nfproto ipv4",
        'iifname != "usb0" meta nfproto ipv4',
    ]
    text = ruleset([USB0, v6], ["eth1"], config)
    assert text.count("meta nfproto ipv6 ") == 5
    # IPv6 is left alone by default.
    assert ruleset([USB0, v6], ["eth1"], CONFIG) == ruleset([USB0], ["eth1"], CONFIG)
    assert ruleset([v6], ["eth1"], CONFIG) == ""


def test_two_uplinks_on_one_interface_are_told_apart_by_gateway_and_address() -> None:
    config = replace(CONFIG, protect_lan=False, clamp_mss=False, masquerade=False)
    one = replace(USB0, gateway=ipaddress.ip_address("10.0.0.1"))
    other = uplink("usb0", 131, "10.1.0.10/24")
    other = replace(other, gateway=ipaddress.ip_address("10.1.0.1"))
    text = ruleset([one, other], ["eth1"], config)
    begins = text[text.index("chain begins") :].partition("\t}")[0].splitlines()[1:]
    assert [line.strip().partition(" ct mark ")[0] for line in begins] == [
        'oifname "usb0" rt ip nexthop 10.0.0.1',
        'oifname "usb0" rt ip nexthop 10.1.0.1',
        'iifname "usb0" ct original ip daddr { 10.0.0.10 }',
        'iifname "usb0" ct original ip daddr { 10.1.0.10 }',
    ]


# --- without a LAN -----------------------------------------------------------------------------------------


HELD = """\
table inet netbond {
	chain begins {
		meta mark & 0xffffffff == 0x00000001 return
		oifname "usb0" rt ip nexthop 10.0.0.1 ct mark set ct mark & 0x00ffffff | 0x64000000 return
		oifname "wwan0" ct mark set ct mark & 0x00ffffff | 0xc9000000 return
		iifname "usb0" ct mark set ct mark & 0x00ffffff | 0x64000000 return
		iifname "wwan0" ct mark set ct mark & 0x00ffffff | 0xc9000000 return
	}
	chain begun {
		ct direction original ct reply ip daddr { 10.0.0.10 } ct mark set ct mark & 0x00ffffff | 0x64000000 return
		ct direction reply ct original ip daddr { 10.0.0.10 } ct mark set ct mark & 0x00ffffff | 0x64000000 return
		ct direction original ct reply ip daddr { 10.0.1.10 } ct mark set ct mark & 0x00ffffff | 0xc9000000 return
		ct direction reply ct original ip daddr { 10.0.1.10 } ct mark set ct mark & 0x00ffffff | 0xc9000000 return
	}
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta nfproto ipv6 accept
		iifname { "usb0", "wwan0" } ct mark & 0xff000000 == 0x00000000 accept
		meta mark & 0xffffffff == 0x00000001 accept
		ct mark & 0xff000000 == 0x00000000 jump begun
		iifname != "usb0" ct mark & 0xff000000 == 0x64000000 meta mark set meta mark & 0x00ffffff | 0x64000000
		iifname != "wwan0" ct mark & 0xff000000 == 0xc9000000 meta mark set meta mark & 0x00ffffff | 0xc9000000
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		meta nfproto ipv6 accept
		ct direction original ct mark & 0xff000000 == 0x00000000 jump begins
	}
}
"""  # noqa: E501 - as it goes to nft


def test_what_others_forward_is_held_and_nothing_else_is_done_to_it() -> None:
    usb0 = replace(USB0, gateway=ipaddress.ip_address("10.0.0.1"))
    text = ruleset([usb0, WWAN0], [], RouterConfig(), held={4}, others_marks=((1, 0xFFFFFFFF),))
    assert text == REMOVAL + HELD
    assert ruleset([usb0, WWAN0], [], RouterConfig()) == ""


def test_a_family_that_router_mode_leaves_alone_is_held_all_the_same() -> None:
    v6 = uplink("usb0", 100, "2001:db8::1/64")
    text = ruleset([USB0, WWAN0, v6], ["eth1"], CONFIG, held={4, 6})
    assert "nfproto ipv6 accept" not in text
    assert 'meta nfproto ipv6 oifname "usb0" ct mark set' in text
    assert text.count("meta nfproto ipv4 oifname") == 3  # it is neither protected nor clamped
    assert 'iifname "eth1" oifname { "usb0", "wwan0" } meta nfproto ipv4 masquerade' in text


def test_a_gateway_of_the_other_family_is_not_asked_for() -> None:
    """RFC 8950: nft would not take `rt ip nexthop fe80::1`."""
    text = ruleset([replace(USB0, gateway=ipaddress.ip_address("fe80::1"))], [], RouterConfig(), held={4})
    assert "nexthop" not in text


def test_the_address_of_twins_does_not_tell_the_uplink() -> None:
    twins = [USB0, uplink("usb1", 101, "10.0.0.10/24")]
    text = ruleset(twins, [], RouterConfig(), held={4})
    assert "chain begun {\n\t}" in text
    assert "chain output" not in text  # that is for a router's own answers


def test_pending() -> None:
    assert pending(WHOLE, WHOLE) == pending("", "") == ""
    assert pending("", WHOLE, lan=False).startswith("# forwarded flows keep their uplink\n")
    assert pending("", WHOLE) == f"# the LAN shares the uplinks\n{WHOLE}"
    assert pending("table", WHOLE) == f"# uplinks or LAN interfaces changed\n{WHOLE}"
    assert pending(WHOLE, "").splitlines()[1:] == REMOVAL.splitlines()
