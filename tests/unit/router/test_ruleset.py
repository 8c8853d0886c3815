"""What router mode makes of uplinks: the whole text for nft, the rules, and who is on which side."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.load import parse
from netbond.config.schema import Config, RouterConfig
from netbond.errors import ConfigError, KernelLacksError, UnavailableError
from netbond.model import Address, Link, Uplink
from netbond.router import nft
from netbond.router.ruleset import (
    REMOVAL,
    Mark,
    MarkRule,
    is_lan,
    lan,
    mark_rules,
    marks,
    pending,
    released,
    ruleset,
)

CONFIG = RouterConfig(lan=("eth1", "br*"))


def uplink(device: str, table: int, interface: str, state: str = "up") -> Uplink:
    """An uplink, as far as router mode looks at it."""
    address = Address(device, ipaddress.ip_interface(interface))
    return Uplink(
        device, address.interface, None, "test", table=table, addresses=(address,), state=state, weight=1
    )


USB0 = uplink("usb0", 100, "10.0.0.10/24")
WWAN0 = uplink("wwan0", 201, "10.0.1.10/24")
DEAD = uplink("usb1", 101, "10.0.2.10/24", state="down")

WHOLE = """\
table inet netbond
delete table inet netbond
table inet netbond {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta nfproto ipv6 accept
		iifname "usb0" ct state new ct mark & 0xff000000 == 0x00000000 ct mark set ct mark & 0x00ffffff | 0x64000000
		iifname "wwan0" ct state new ct mark & 0xff000000 == 0x00000000 ct mark set ct mark & 0x00ffffff | 0xc9000000
		iifname { "br0", "eth1" } ct mark & 0xff000000 == 0x64000000 meta mark set meta mark & 0x00ffffff | 0x64000000
		iifname { "br0", "eth1" } ct mark & 0xff000000 == 0xc9000000 meta mark set meta mark & 0x00ffffff | 0xc9000000
	}
	chain inbound {
		ct status dnat return
		drop
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		meta nfproto ipv6 accept
		iifname { "usb0", "usb1", "wwan0" } oifname { "br0", "eth1", "usb0", "usb1", "wwan0" } ct state new jump inbound
		iifname { "br0", "eth1" } oifname "usb0" ct direction original ct mark & 0xff000000 == 0x00000000 ct mark set ct mark & 0x00ffffff | 0x64000000
		iifname { "br0", "eth1" } oifname "wwan0" ct direction original ct mark & 0xff000000 == 0x00000000 ct mark set ct mark & 0x00ffffff | 0xc9000000
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


def test_the_documentation_shows_the_table() -> None:
    text = ruleset([USB0, WWAN0], ["eth1"], CONFIG).partition("delete table inet netbond\n")[2]
    assert f"```\n{text}```" in (Path(__file__).parents[3] / "docs/router.md").read_text(encoding="utf-8")


def test_the_least_text() -> None:
    config = replace(CONFIG, masquerade=False, protect_lan=False, clamp_mss=False, ipv6="forward")
    assert ruleset([USB0], ["eth1"], config) == (
        """\
table inet netbond
delete table inet netbond
table inet netbond {
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta nfproto ipv4 iifname "usb0" ct state new ct mark & 0xff000000 == 0x00000000 ct mark set ct mark & 0x00ffffff | 0x64000000
		iifname "eth1" meta nfproto ipv4 ct mark & 0xff000000 == 0x64000000 meta mark set meta mark & 0x00ffffff | 0x64000000
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "eth1" meta nfproto ipv4 oifname "usb0" ct direction original ct mark & 0xff000000 == 0x00000000 ct mark set ct mark & 0x00ffffff | 0x64000000
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


def test_an_uplink_may_live_without_being_usable() -> None:
    """A backup that waits keeps the connections that it has, unless the caller knows better."""
    standby = replace(DEAD, state="standby")
    assert marks([USB0, DEAD, WWAN0], CONFIG) == {Mark(0x64000000, 4), Mark(0xC9000000, 4)}
    assert marks([standby], CONFIG) == {Mark(0x65000000, 4)}
    assert marks([standby], CONFIG, lambda uplink: uplink.usable) == set()
    assert "0x65000000" in ruleset([USB0, standby], ["eth1"], CONFIG)
    assert "0x65000000" not in ruleset([USB0, standby], ["eth1"], CONFIG, lambda uplink: uplink.usable)


def test_a_name_that_nft_would_misread_never_reaches_it() -> None:
    bad = uplink('x"; }', 130, "10.0.3.10/24")
    text = ruleset([USB0, bad], ["eth1"], CONFIG)
    assert text == ruleset([USB0], ["eth1"], CONFIG)
    assert marks([bad], CONFIG) == set()
    problems = lan([Link("br*", 5)], [bad], Config(router=RouterConfig(lan=("br*",)))).problems
    assert problems == (
        "router: 'x\"; }' cannot carry LAN traffic: nftables needs a plainer name",
        "router: 'br*' cannot be LAN: nftables needs a plainer name",
    )


# --- rules and release ------------------------------------------------------------------------------------


def test_mark_rules() -> None:
    v6 = uplink("usb0", 100, "2001:db8::1/64")
    assert mark_rules([WWAN0, DEAD, USB0, v6], CONFIG) == [
        MarkRule(60, 4, 0x64000000, 0xFF000000, 100),
        MarkRule(60, 4, 0x65000000, 0xFF000000, 101),
        MarkRule(60, 4, 0xC9000000, 0xFF000000, 201),
    ]
    assert [r.family for r in mark_rules([USB0, v6], replace(CONFIG, ipv6="masquerade"))] == [4, 6]
    assert mark_rules([USB0], RouterConfig()) == []


def test_another_mask() -> None:
    config = replace(CONFIG, mark_mask=0x000FF000, mark_priority=70)
    assert mark_rules([USB0], config) == [MarkRule(70, 4, 0x64000, 0xFF000, 100)]
    text = ruleset([USB0], ["eth1"], config)
    assert "ct mark & 0x000ff000 == 0x00064000 meta mark set meta mark & 0xfff00fff | 0x00064000" in text


def test_what_is_released() -> None:
    a, b = Mark(0x64000000, 4), Mark(0xC9000000, 4)
    uplinks = [USB0, DEAD, WWAN0]
    assert released({a, b}, uplinks, CONFIG, {a}) == [b]
    assert released({a, b}, [USB0], CONFIG, {a}) == [b]  # unplugged
    assert released({a}, uplinks, CONFIG, {a, b}) == []
    assert released({a, b}, uplinks, CONFIG, {a, b}) == []
    # After a start nothing is known of what was live before: all that does not live.
    assert released((), uplinks, CONFIG, {a}) == [Mark(0x65000000, 4), b]
    # One family alone
    assert released({a, Mark(a.value, 6)}, uplinks, CONFIG, {a}) == [Mark(a.value, 6)]


def test_both_families_have_lines_of_their_own() -> None:
    config = replace(CONFIG, ipv6="forward", protect_lan=False, clamp_mss=False, masquerade=False)
    v6 = uplink("usb0", 100, "2001:db8::1/64")
    text = ruleset([USB0, replace(v6, state="dead")], ["eth1"], config)
    assert [line.strip().partition(" ct ")[0] for line in text.splitlines() if "0x64" in line] == [
        'meta nfproto ipv4 iifname "usb0"',
        'iifname "eth1" meta nfproto ipv4',
        'iifname "eth1" meta nfproto ipv4 oifname "usb0"',
    ]
    text = ruleset([USB0, v6], ["eth1"], config)
    assert text.count("meta nfproto ipv6 ") == 3
    # IPv6 is left alone by default.
    assert ruleset([USB0, v6], ["eth1"], CONFIG) == ruleset([USB0], ["eth1"], CONFIG)
    assert ruleset([v6], ["eth1"], CONFIG) == ""


def test_two_uplinks_on_one_interface_are_told_apart_by_gateway_and_address() -> None:
    config = replace(CONFIG, protect_lan=False, clamp_mss=False, masquerade=False)
    one = replace(USB0, gateway=ipaddress.ip_address("10.0.0.1"))
    other = uplink("usb0", 131, "10.1.0.10/24")
    other = replace(other, gateway=ipaddress.ip_address("10.1.0.1"))
    text = ruleset([one, other], ["eth1"], config)
    assert [line.strip().partition(" ct ")[0] for line in text.splitlines() if "ct mark set" in line] == [
        'iifname "usb0" ip daddr { 10.0.0.10 }',
        'iifname "usb0" ip daddr { 10.1.0.10 }',
        'iifname "eth1" oifname "usb0" rt ip nexthop 10.0.0.1',
        'iifname "eth1" oifname "usb0" rt ip nexthop 10.1.0.1',
    ]


@pytest.mark.parametrize(("family", "head"), [(4, "02010000"), (6, "0a010000")])
def test_the_request_that_deletes_connections(family: int, head: str) -> None:
    """Byte by byte: a filter that the kernel does not understand would delete all connections of the box."""
    request = nft.delete_request(Mark(0x64000000, family), 0xFF000000)
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", request)
    assert (length, kind, flags) == (len(request), 0x0102, 0x0005)
    assert request[16:] == bytes.fromhex(head) + b"".join(
        struct.pack("=HH", 8, number) + value
        for number, value in ((8, b"\x64\x00\x00\x00"), (21, b"\xff\x00\x00\x00"))
    )


@pytest.mark.parametrize(
    ("mark", "mask"), [(0, 0), (1, 0), (0, 0xFF000000), (0x164000000, 0xFF000000), (1, 0xFF000000)]
)
def test_no_request_that_would_delete_more_than_is_meant(mark: int, mask: int) -> None:
    with pytest.raises(ValueError, match="not within the mask"):
        nft.delete_request(Mark(mark, 4), mask)


# --- LAN and uplinks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "device", "expected"),
    [
        ("", "eth1", False),
        ('[router]\nlan = ["eth1"]', "eth1", True),
        ('[router]\nlan = ["eth1"]', "eth2", False),
        ('[router]\nlan = ["br*"]', "br-lan", True),
        # an exact name beats a pattern, on either side
        ('[router]\nlan = ["eth1"]\n[[uplink]]\nmatch = "*"', "eth1", True),
        ('[router]\nlan = ["eth*"]\n[[uplink]]\nmatch = "eth0"', "eth0", False),
        ('[router]\nlan = ["eth*"]\n[[uplink]]\nmatch = "eth0"', "eth1", True),
        # between patterns the uplink wins
        ('[router]\nlan = ["eth*"]\n[[uplink]]\nmatch = "e*"', "eth1", False),
        # what is switched off as an uplink may be LAN
        ('[router]\nlan = ["eth1"]\n[[uplink]]\nmatch = "eth1"\nenabled = false', "eth1", True),
    ],
)
def test_which_side_an_interface_is_on(text: str, device: str, expected: bool) -> None:
    assert is_lan(device, parse(text)) is expected


def test_lan_interfaces_and_what_is_wrong_with_the_others() -> None:
    config = parse('[router]\nlan = ["eth*", "br0", "lo"]')
    links = [
        Link("lo", 1, loopback=True),
        Link("usb0", 2),
        Link("eth2", 3),
        Link("eth1", 4, master="br0"),
        Link("eth0", 5),
        Link("br0", 6, up=False),
    ]
    found = lan(links, [USB0, uplink("eth0", 110, "10.9.0.1/24")], config)
    assert found.devices == ("br0", "eth2")
    assert found.problems == (
        "router: eth0 leads out, so it is not LAN; take it out of router.lan",
        "router: eth1 is a port of br0, which its packets seem to come from; put br0 into router.lan",
    )


# --- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('lan = "eth1"', "router.lan = 'eth1' is not valid; expected a list of interface names or patterns"),
        ('lan = ["a b"]', "router.lan = ['a b'] is not valid; expected an interface name or a pattern"),
        ("mark_mask = 0xff00ff", "router.mark_mask = 16711935 is not valid; expected a mask of 8"),
        ("mark_mask = 0x7f000000", "router.mark_mask = 2130706432 is not valid; expected a mask of 8"),
        ('ipv6 = "on"', "router.ipv6 = 'on' is not valid; expected one of 'off', 'masquerade', 'forward'"),
        ('lan = ["eth1"]\nmark_priority = 50', "router.mark_priority = 50 is not between main_priority = 50"),
        ('lan = ["eth1"]\nmark_priority = 100', "router.mark_priority = 100 is not between main"),
        (
            'lan = ["eth1"]\n[[uplink]]\nmatch = "eth1"',
            "'eth1' is both an uplink and in router.lan; an interface leads out or to the LAN",
        ),
    ],
)  # fmt: skip
def test_configuration_errors(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[router]\n{text}", "f.toml")
    assert str(caught.value).startswith(f"f.toml: {says}")


@pytest.mark.parametrize("mask", ["0xff000000", "0x1fe", "0xffffffff", "0xff"])
def test_masks(mask: str) -> None:
    assert parse(f"[router]\nmark_mask = {mask}").router.mark_mask == int(mask, 16)


# --- for people, and failures -----------------------------------------------------------------------------


def test_pending() -> None:
    assert pending(WHOLE, WHOLE) == pending("", "") == ""
    assert pending("", WHOLE) == f"# the LAN shares the uplinks\n{WHOLE}"
    assert pending("table", WHOLE) == f"# uplinks or LAN interfaces changed\n{WHOLE}"
    assert pending(WHOLE, "").splitlines()[1:] == REMOVAL.splitlines()


def test_nft_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nft, "_PATH", str(tmp_path))
    with pytest.raises(UnavailableError) as caught:
        nft.program()
    assert str(caught.value) == (
        "router mode needs the program nft, which is not here; install the package nftables"
    )


def test_a_kernel_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_request: bytes) -> bytes:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(nft, "_ask", refuse)
    with pytest.raises(KernelLacksError, match="CONFIG_NF_CONNTRACK_MARK"):
        nft.release([Mark(0x64000000, 4)], 0xFF000000)


async def test_another_mask_after_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks of before are in bits that are not ours any more: they go by the mask they were made with."""
    asked: list[tuple[list[Mark], int]] = []
    monkeypatch.setattr(nft, "release", lambda found, mask: asked.append((list(found), mask)))

    async def apply(_table: nft.Table, _text: str) -> bool:
        return True

    monkeypatch.setattr(nft.Table, "apply", apply)
    links = [Link("eth1", 1), Link("usb0", 2)]

    table = nft.Router(tmp_path)
    for mask in (0xFF000000, 0x00FF0000, 0x00FF0000):
        await table.sync([USB0], links, Config(router=replace(CONFIG, mark_mask=mask)))
    assert [(found, mask) for found, mask in asked if found] == [([Mark(100 << 24, 4)], 0xFF000000)]
    for found, mask in asked:
        for each in found:
            nft.delete_request(each, mask)  # ValueError if it does not lie within


async def test_a_record_that_cannot_be_written_is_said_and_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def feed(_text: str) -> None:
        pass

    async def listing() -> str:
        return "table"

    released_marks: list[int] = []
    monkeypatch.setattr(nft, "feed", feed)
    monkeypatch.setattr(nft, "listing", listing)
    monkeypatch.setattr(nft, "generation", lambda: 1)
    monkeypatch.setattr(nft, "release", lambda _marks, mask: released_marks.append(mask))
    (tmp_path / "state").write_text("in the way")
    table = nft.Router(tmp_path / "state")
    links = [Link("eth1", 1), Link("usb0", 2)]
    problems = await table.sync([USB0], links, Config(router=CONFIG))
    assert problems == [
        f"{tmp_path}/state/nft.json: Not a directory;"
        " router mode works, but a restart applies its rules again"
    ]
    assert released_marks == [CONFIG.mark_mask]
