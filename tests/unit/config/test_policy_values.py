"""The values of [[policy]]: what each kind takes, what it makes of it, and what it says is expected."""

from __future__ import annotations

import pytest

from netbond.config import policy_values as values
from netbond.config.values import InvalidValueError, Kind


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        (values.destinations, "Bank.Example", ("bank.example",)),
        (values.destinations, ["203.0.113.0/24", "2001:db8::1"], ("203.0.113.0/24", "2001:db8::1/128")),
        (values.destinations, [], ()),
        (values.sources, "192.168.1.20", ("192.168.1.20/32",)),
        (values.sources, ["192.168.2.0/24", "fd00::/8"], ("192.168.2.0/24", "fd00::/8")),
        (values.interfaces, ["br0", "wlan*"], ("br0", "wlan*")),
        (values.interfaces, "lo", ("lo",)),
        (values.protocols, ["tcp", 50, 89], ("tcp", "esp", "89")),
        (values.protocols, "udp", ("udp",)),
        (values.ports, 443, ((443, 443),)),
        (values.ports, ["443", "5000-5010"], ((443, 443), (5000, 5010))),
        (values.dscps, ["ef", "af41", "cs5", 1], (46, 34, 40, 1)),
        (values.marks, 16, ((16, 0xFFFFFFFF),)),
        (values.marks, ["0x10/0xff", "7"], ((16, 255), (7, 0xFFFFFFFF))),
        (values.users, ["backup", 1000, "2000-2999"], ("backup", "1000-1000", "2000-2999")),
        (values.tiers, ["dsl", "lte*"], ((("dsl", 0),), (("lte*", 0),))),
        (values.tiers, [["a", "b"], {"c": 2, "d d": 1}], ((("a", 0), ("b", 0)), (("c", 2), ("d d", 1)))),
        (values.duration, "10min", 600),
        (values.duration, "30 s", 30),
        (values.duration, "7d", 604_800),
        (values.duration, "", 0),
        (values.line_rate, "8Mbit/s", 8_000_000),
        (values.line_rate, "1.5 Gbit/s", 1_500_000_000),
        (values.line_rate, "800kbit/s", 800_000),
        (values.line_rate, "", 0),
    ],
)
def test_takes(kind: Kind, written: object, meant: object) -> None:
    assert kind(written) == meant


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        (values.destinations, ["0.0.0.0/0"], "prefixes that are not everything"),
        (values.destinations, ["a.example", "A.example"], "without repetition"),
        (values.sources, "192.168.1.20/24", "without host bits"),
        (values.sources, "bank.example", "addresses and prefixes"),
        (values.sources, "::/0", "leave the key out"),
        (values.sources, 5, "addresses and prefixes"),
        (values.sources, [f"10.0.0.{i}" for i in range(65)], "at most 64 addresses and prefixes"),
        (values.interfaces, "eth 0", "interface names or patterns"),
        (values.protocols, "tpc", "one of 'tcp', 'udp'"),
        (values.protocols, 0, "a number from 1 to 255"),
        (values.protocols, True, "a number from 1 to 255"),
        (values.ports, 0, "ports from 1 to 65535"),
        (values.ports, "10-5", "ports from 1 to 65535"),
        (values.ports, "https", "ports from 1 to 65535"),
        (values.ports, False, "ports from 1 to 65535"),
        (values.dscps, "be", "code points by name"),
        (values.dscps, 64, "code points by name"),
        (values.marks, 0, "marks other than 0"),
        (values.marks, "0x100/0xff", "marks other than 0"),
        (values.marks, "0x1g", "marks other than 0"),
        (values.marks, True, "marks other than 0"),
        (values.users, "a b", "users by name or number"),
        (values.users, "10-5", "users by name or number"),
        (values.users, -1, "users by name or number"),
        (values.tiers, "dsl", "a list of 1 to 8 tiers"),
        (values.tiers, [], "a list of 1 to 8 tiers"),
        (values.tiers, [[]], "at least one uplink in each tier"),
        (values.tiers, ["dsl", {}], "at least one uplink in each tier"),
        (values.tiers, [5], "tiers, each a name, a list of names, or a table of weights"),
        (values.tiers, [""], "names or patterns of uplinks"),
        (values.tiers, [{"dsl": 0}], "a weight from 1 to 256 for 'dsl'"),
        (values.tiers, [{"dsl": "2"}], "a weight from 1 to 256 for 'dsl'"),
        (values.tiers, ["dsl", ["lte", "dsl"]], "'dsl' is there twice"),
        (values.tiers, [[f"u{i}" for i in range(65)]], "at most 64 uplinks"),
        (values.duration, 600, "a time up to 7 days with its unit"),
        (values.duration, "8d", "a time up to 7 days"),
        (values.duration, "0s", "a time up to 7 days"),
        (values.duration, "10m", "a time up to 7 days"),
        (values.line_rate, "8MB/s", "a rate from 10 kbit/s on"),
        (values.line_rate, "8M", "a rate from 10 kbit/s on"),
        (values.line_rate, "1kbit/s", "a rate from 10 kbit/s on"),
        (values.line_rate, 8_000_000, "a rate from 10 kbit/s on"),
    ],
)
def test_refuses(kind: Kind, written: object, expected: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        kind(written)
    assert expected in str(caught.value)
