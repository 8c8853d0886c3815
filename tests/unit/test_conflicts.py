"""What other programs have where netbond works is named, and left alone."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from netbond.config.schema import Config
from netbond.conflicts import conflicts
from netbond.desired import desired
from netbond.model import (
    MAIN_TABLE,
    Nexthop,
    NexthopObject,
    Route,
)
from tests.unit.boxes import SIX, box, commands

FACTS = replace(box("usb0", "usb1"), nexthops=())


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
def test_what_captures_much_of_the_internet(destination: str, named: bool) -> None:
    network = ipaddress.ip_network(destination)
    route = Route(MAIN_TABLE, network, (Nexthop("usb1"),), protocol=2)
    base = SIX if network.version == 6 else FACTS
    facts = replace(base, routes=(*base.routes, route))
    found = conflicts(facts, desired(facts, Config()), Config())
    assert [problem.split(" does: ")[1] for problem in found] == (
        [f"{destination} dev usb1 table main proto 2"] if named else []
    )
    own = replace(facts, routes=(replace(route, protocol=78),))
    assert conflicts(own, desired(own, Config()), Config()) == []
    elsewhere = replace(facts, routes=(*base.routes, replace(route, table=77)))
    assert conflicts(elsewhere, desired(elsewhere, Config()), Config()) == []


def test_others_numbers_and_old_kernels() -> None:
    foreign = NexthopObject(7800101, 4, "usb0", protocol=3)
    for nexthops in (None, (foreign,)):
        found = commands(replace(FACTS, nexthops=nexthops))
        assert not any("nexthop add" in c or "nhid" in c for c in found)
        assert any("weight 1 nexthop via" in c for c in found)
    facts = replace(FACTS, nexthops=(foreign,))
    assert "nexthop id 7800101" in conflicts(facts, desired(facts, Config()), Config())[0]
