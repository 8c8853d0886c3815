"""netbond beside the rules that VPNs and people add, on the real kernel: each way is asked of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for
from tests.netns.test_ipv6 import plug6

pytestmark = pytest.mark.root

GOOGLE6 = "2001:4860:4860::8888"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """Two modems with both families, and a tunnel with a table of its own."""
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number)
            plug6(box, f"usb{number}", number)
        box.ip("link", "add", "wg0", "type", "veth", "peer", "name", "wg9")
        box.ip("addr", "add", "10.66.0.2/32", "dev", "wg0")
        box.ip("link", "set", "wg0", "up")
        box.ip("link", "set", "wg9", "up")
        for family in ("-4", "-6"):
            box.ip(family, "route", "add", "default", "dev", "wg0", "table", "51820")
        box.configure('[[uplink]]\nmatch = "wg*"\nenabled = false')
        yield box


def wg_quick(box: Box, verb: str, family: str = "-4") -> None:
    """The rules of a tunnel that takes everything, as wg-quick adds and deletes them."""
    box.ip(family, "rule", verb, "not", "fwmark", "0xca6c", "table", "51820")
    box.ip(family, "rule", verb, "table", "main", "suppress_prefixlength", "0")


def way6(box: Box, *words: str) -> str:
    return box.ip("-6", "route", "get", *words).split(" dev ")[1].split()[0]


def problems(box: Box) -> list[str]:
    found = box.status()["agent"]["problems"]
    assert isinstance(found, list)
    return [problem for problem in found if "another program's rule" in problem]


def foreign_rules(box: Box) -> list[str]:
    return [line for line in box.rules().splitlines() if "proto 78" not in line]


def test_a_vpn_that_starts_later_gets_unbound_traffic_alone(box: Box) -> None:
    box.start()
    before = box.rules()
    for _ in range(2):  # each time its rules get ahead anew
        wg_quick(box, "add")
        theirs = foreign_rules(box)
        wait_for(lambda: box.way("1.1.1.1", "from", "10.0.1.10") == "usb1", 1.0, "the address's uplink")
        assert box.way("1.1.1.1", "oif", "usb1") == "usb1"
        assert box.way("1.1.1.1") == "wg0"
        assert box.way("1.1.1.1", "mark", "0xca6c").startswith("usb")
        assert foreign_rules(box) == theirs
        wait_for(lambda: "not from all fwmark 0xca6c" in str(problems(box)), 1.0, "status names it")
        wg_quick(box, "del")
        wait_for(lambda: box.rules() == before, 1.0, "no copies without need")
        wait_for(lambda: not problems(box), 1.0, "nothing to name")


def test_refusals_and_destinations_of_ipv6_and_an_uplink_that_comes_later(box: Box) -> None:
    box.start()
    box.ip("-6", "rule", "add", "to", "2001:4860::/32", "table", "51820")
    box.ip("-6", "rule", "add", "unreachable")
    box.plug("usb2", 2)
    plug6(box, "usb2", 2)
    for number in range(3):
        wait_for(
            lambda n=number: (  # type: ignore[misc] # mypy infers no lambda with a default
                f"dev usb{n}"
                in box.ip("-6", "route", "get", GOOGLE6, "from", f"2001:db8:0:{n}::10", check=False)
            ),
            1.0,
            f"the address of usb{number}",
        )
        assert way6(box, GOOGLE6, "oif", f"usb{number}") == f"usb{number}"
    assert "dev" not in box.ip("-6", "route", "get", GOOGLE6, check=False)
    wait_for(lambda: len(problems(box)) == 2, 1.0, "both are named")


def test_without_room_it_is_said_and_left(box: Box) -> None:
    """As nothing can be asked before priority 0."""
    box.start()
    box.ip("rule", "add", "priority", "0", "to", "1.1.1.1", "table", "51820")
    wait_for(lambda: "for want of a lower priority" in str(problems(box)), 1.0, "status says it")
    assert box.way("1.1.1.1", "from", "10.0.1.10") == "wg0"
    assert box.way("9.9.9.9", "from", "10.0.1.10") == "usb1"
    before = box.status()["agent"]["changes"]
    sh("ip", "-n", box.name, "rule", "del", "priority", "0", "to", "1.1.1.1", "table", "51820")
    wait_for(lambda: not problems(box), 1.0, "gone")
    assert box.way("1.1.1.1", "from", "10.0.1.10") == "usb1"
    assert box.status()["agent"]["changes"] == before
