"""Each kind of value: what it takes, what it makes of that, and what it says is expected instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netbond.config import values
from netbond.config.values import HostPort, InvalidValueError, Kind, parse_host_port

COMMAND = "a list of words, the first an absolute path, like ['/usr/local/bin/tell', '--all']"


@pytest.mark.parametrize("text", ["", "h", "h:", ":1", "h:0", "h:65536", "::1:5", "h:1x", "a b:1", "h:-1"])
def test_host_port_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        parse_host_port(text)


@pytest.mark.parametrize("text", ["h:1", "192.0.2.1:5000", "[2001:db8::1]:5000", "bond.example.org:65535"])
def test_host_port_round_trip(text: str) -> None:
    assert str(parse_host_port(text)) == text


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        (values.string, "a", "a"),
        (values.flag, True, True),
        (values.whole(1, 5), 5, 5),
        (values.number(0.5, 5), 5, 5.0),
        (values.milliseconds(20, 8000), 0, 0),
        (values.milliseconds(20, 8000), 20, 20),
        (values.one_of("a", "b"), "b", "b"),
        (values.list_of(values.word, "names", 2), [], ()),
        (values.list_of(values.word, "names", 2), ["b", "a"], ("b", "a")),
        (values.or_empty(values.word), "", None),
        (values.or_empty(values.word, ""), "", ""),
        (values.or_empty(values.word, ""), "srtla_send", "srtla_send"),
        (values.absolute_path, "/run/x", Path("/run/x")),
        (values.optional_path, "", None),
        (values.host_port, "a.example:1", HostPort("a.example", 1)),
        (values.host_ports, "a.example:1", HostPort("a.example", 1)),
        (values.host_ports, ["a.example:1"], HostPort("a.example", 1)),
        (values.host_ports, ["a:1", "[::1]:2"], (HostPort("a", 1), HostPort("::1", 2))),
        (values.address_endpoint, "[::]:5000", HostPort("::", 5000)),
        (values.optional_address_endpoint, "", None),
        (values.command, ["/bin/tell", "-x", ""], ("/bin/tell", "-x", "")),
        (values.match_pattern, "usb*", "usb*"),
        (values.match_pattern, {"name": "usb*"}, "usb*"),
        (values.match_pattern, {"path": "*1.2*", "vendor": "a b"}, "path=*1.2* vendor=a?b"),
        (values.lan_patterns, ["eth1", "br*"], ("eth1", "br*")),
        (values.label_text, "", ""),
        (values.label_text, "left modem", "left modem"),
        (values.gateways, "none", ("none",)),
        (values.gateways, "fe80::0001", ("fe80::1",)),
        (values.gateways, "fe80::1%usb0", ("fe80::1",)),
        (values.gateways, ["10.0.0.1", "10.0.0.2"], ("10.0.0.1", "10.0.0.2")),
        (values.weight, "auto", "auto"),
        (values.weight, 256, 256),
        (values.destinations, ["10.0.0.1", "2001:DB8::/32"], ("10.0.0.1/32", "2001:db8::/32")),
        (values.destinations, ["Bank.Example."], ("bank.example",)),
        (values.names, ["usb0", "left modem"], ("usb0", "left modem")),
        (values.table_bases, {"usb": 100, "eth": 105}, (("usb", 100), ("eth", 105))),
        (values.table_range, [1, 252], (1, 252)),
        (values.mark_mask, 0x1FE, 0x1FE),
        (values.bit_rate(1, 10**9), "1.5M", 1_500_000),
        (values.bit_rate(1, 10**9), "800k", 800_000),
        (values.bit_rate(1, 10**9), 7, 7),
        (values.byte_count, "1.5 TB", 1_500_000_000_000),
        (values.byte_count, "0.5MiB", 2**19),
        (values.byte_count, "", 0),
        (values.byte_count, 0, 0),
        (values.resolver_address, "2606:4700:4700:0::1111", "2606:4700:4700::1111"),
        (values.query_name, "a.example", "a.example"),
    ],
)
def test_what_is_taken(kind: Kind, written: object, meant: object) -> None:
    found = kind(written)
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        (values.string, 1, "a string"),
        (values.flag, 1, "true or false"),
        (values.whole(1, 5), 6, "a whole number from 1 to 5"),
        (values.whole(0, 5), True, "a whole number from 0 to 5"),
        (values.whole(0, 5), 1.0, "a whole number from 0 to 5"),
        (values.number(0, 5), "1", "a number from 0 to 5"),
        (values.number(0, 5), float("nan"), "a number from 0 to 5"),
        (values.milliseconds(20, 8000), 19, "0 or milliseconds from 20 to 8000"),
        (values.milliseconds(20, 8000), False, "0 or milliseconds from 20 to 8000"),
        (values.one_of("a", "b"), "c", "one of 'a', 'b'"),
        (values.list_of(values.word, "names", 2), "a", "a list of at most 2 names"),
        (values.list_of(values.word, "names", 2), ["a", "b", "c"], "a list of at most 2 names"),
        (values.list_of(values.word, "names", 2), ["a", "a"], "a list of names without repetition"),
        (values.word, "a b", "a name of letters, digits, '.', '_' and '-'"),
        (values.absolute_path, "run/x", "an absolute path"),
        (values.absolute_path, "/a\0b", "an absolute path"),
        (values.optional_path, [], "a string"),
        (values.command, "/bin/tell", COMMAND),
        (values.command, [], COMMAND),
        (values.command, ["tell"], COMMAND),
        (values.command, ["/bin/$x"], COMMAND),
        (values.command, ["/bin/"], COMMAND),
        (values.command, ["/bin/tell", 1], COMMAND),
        (values.command, ["/bin/tell", "a\0b"], COMMAND),
        (values.command, ["/bin/tell"] * 65, COMMAND),
        (values.host_ports, [], "one 'host:port', or a list of 1 to 8 different ones"),
        (values.host_ports, ["a:1", "a:1"], "one 'host:port', or a list of 1 to 8 different ones"),
        (
            values.host_ports,
            [f"a:{n}" for n in range(1, 10)],
            "one 'host:port', or a list of 1 to 8 different ones",
        ),
        (
            values.host_ports,
            ["h"],
            "'host:port' with a port from 1 to 65535 (IPv6 in brackets: '[::1]:5000')",
        ),
        (values.host_port, "h", "'host:port' with a port from 1 to 65535 (IPv6 in brackets: '[::1]:5000')"),
        (
            values.address_endpoint,
            "h:1",
            "an address of this box and a port, like '127.0.0.1:6000' or '[::]:5000'",
        ),
        (values.match_pattern, "", "an interface name or a pattern such as 'usb*'"),
        (values.match_pattern, "a/b", "an interface name or a pattern such as 'usb*'"),
        (
            values.match_pattern,
            {},
            "a pattern for at least one of name, path, vendor, model, serial, mac, driver",
        ),
        (values.match_pattern, {"vendr": "x"}, "'vendor' instead of 'vendr'"),
        (values.match_pattern, {"qqq": "x"}, "only name, path, vendor, model, serial, mac, driver"),
        (
            values.match_pattern,
            {"mac": 1},
            "a pattern for mac, like the values that `udevadm info /sys/class/net/usb0` shows",
        ),
        (values.bit_rate(1, 9), True, "bit/s from 1 to 9, as a number or like '0.5M' or '800k'"),
        (values.bit_rate(1, 9), "7", "bit/s from 1 to 9, as a number or like '0.5M' or '800k'"),
        (values.bit_rate(1, 9), "1k", "bit/s from 1 to 9, as a number or like '0.5M' or '800k'"),
        (values.bit_rate(1, 9), 2.0, "bit/s from 1 to 9, as a number or like '0.5M' or '800k'"),
        (values.bit_rate(1, 9), "0.1234567k", "bit/s from 1 to 9, as a number or like '0.5M' or '800k'"),
        (values.lan_patterns, "eth1", "a list of interface names or patterns, like ['eth1', 'br0']"),
        (values.label_text, "x" * 33, "at most 32 letters, digits, blanks, '.', '_' and '-'"),
        (
            values.gateways,
            ["10.0.0.1", "10.0.0.1"],
            "'auto', 'none' (point-to-point), an IP address, or a list of different addresses",
        ),
        *(
            (
                values.gateways,
                nonsense,
                "'auto', 'none' (point-to-point), an IP address, or a list of different addresses",
            )
            for nonsense in (
                *("ff02::1", "224.0.0.1", "::1", "127.0.0.1", "::", "0.0.0.0", "::ffff:10.0.0.1"),
                *("fe80::1%", "10.0.0.1%usb0", ["fe80::1", "fe80::1%usb0"]),
            )
        ),
        (values.weight, 257, "a whole number from 1 to 256, or 'auto'"),
        (
            values.destinations,
            [],
            "a list of prefixes, addresses and host names, like ['203.0.113.0/24', 'bank.example']",
        ),
        (
            values.destinations,
            ["10.0.0.1/8"],
            "prefixes without host bits, addresses and host names; '10.0.0.1/8' is none of them",
        ),
        (
            values.destinations,
            ["::/0"],
            "prefixes that are not everything; weights and `backup` say where everything goes",
        ),
        (values.names, ["a\nb"], "a list of names or patterns of uplinks, like ['usb0', 'usb*']"),
        (
            values.table_bases,
            [],
            "a table such as {usb = 100, eth = 110}: each takes 5 tables from 1 to 252",
        ),
        (
            values.table_bases,
            {"usb0": 100},
            "a table such as {usb = 100, eth = 110}: each takes 5 tables from 1 to 252",
        ),
        (
            values.table_bases,
            {"usb": 100, "eth": 104},
            "a table such as {usb = 100, eth = 110}: each takes 5 tables from 1 to 252",
        ),
        (
            values.table_range,
            [130],
            "two table numbers, lowest and highest, like [130, 219], between 1 and 252",
        ),
        (
            values.table_range,
            [219, 130],
            "two table numbers, lowest and highest, like [130, 219], between 1 and 252",
        ),
        (values.mark_mask, 0xFF00FF, "a mask of 8 or more bits in a row, like 0xff000000"),
        (values.byte_count, "50gb", "a number and one of MB, GB, TB, MiB, GiB, TiB, like '50GB'; 0 for none"),
        (
            values.resolver_address,
            "dns.example",
            "a list of addresses of DNS servers, like ['1.1.1.1', '2606:4700:4700::1111']",
        ),
        (values.query_name, "1.1.1.1", "a host name, like 'example.com'"),
        (values.query_name, "a b", "a host name, like 'example.com'"),
    ],
)
def test_what_is_refused(kind: Kind, written: Any, expected: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        kind(written)
    assert str(caught.value) == expected
