"""Which of several gateways an uplink uses."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbond.config.load import parse
from netbond.config.schema import Config
from netbond.desired import desired
from netbond.gateways import MOST_GATEWAYS, choose, in_use, judged, why
from netbond.model import Facts, GatewayChoice, GatewayClaim, Health, IPAddress, UplinkState
from netbond.uplinks import find, remember
from tests.unit.boxes import SIX, address, box, default6, lease, main_default, six

ONE, TWO, THREE = map(ipaddress.ip_address, ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
HERE = ipaddress.ip_address("10.0.0.10")


def choice(gateway: IPAddress, state: str = "unknown", *, answers: bool = True) -> GatewayChoice:
    return GatewayChoice(gateway, "dhclient", None, state, answers=answers)


# Three gateways in order: U up, d degraded, ? unknown, ! unknown and silent so far, x down (silent),
# X down (it answers itself).
LETTERS = {"U": "up", "d": "degraded", "?": "unknown", "!": "unknown", "x": "down", "X": "down"}


def chosen(letters: str, used: int | None, *, checked: bool = True) -> int:
    """The number of the gateway that is used, counted from 1; `used` is the one so far."""
    gateways = (ONE, TWO, THREE)[: len(letters)]
    choices = [
        choice(ip, LETTERS[letter], answers=letter not in "x!")
        for ip, letter in zip(gateways, letters, strict=True)
    ]
    so_far = () if used is None else (gateways[used - 1],)
    return gateways.index(choose(choices, so_far, checked=checked).gateway) + 1


@pytest.mark.parametrize(
    ("letters", "used", "expected"),
    [
        ("???", None, 1),
        ("xU?", None, 2),
        ("UUU", 1, 1),
        ("dUU", 1, 1),
        ("?UU", 1, 1),
        # It goes down: those that are proved to work come before those of which nothing is known.
        ("xUU", 1, 2),
        ("x?U", 1, 3),
        ("x??", 1, 2),
        ("xxU", 1, 3),
        # A better one takes over once it is proved to work, and no sooner.
        ("?UU", 2, 2),
        ("xUU", 2, 2),
        ("UUU", 2, 1),
        ("dUU", 2, 1),
        ("xUU", 3, 2),
        ("??U", 3, 3),
        ("U?x", 3, 1),
        # It is silent from the start: no need to wait until it is down.
        ("!U?", 1, 2),
        ("!?U", 1, 3),
        ("!??", 1, 1),
        ("U!?", 2, 1),
        # All are down: one that answers itself, and the one in use before others.
        ("xxx", 2, 2),
        ("xxx", None, 1),
        ("xXX", 3, 3),
        ("xXX", 1, 2),
        ("XxX", 2, 1),
        ("xX", None, 2),
    ],
)
def test_which_one_is_used(letters: str, used: int | None, expected: int) -> None:
    assert chosen(letters, used) == expected


@given(st.text("Ud?!xX", min_size=1, max_size=3), st.data())
def test_whatever_happens(letters: str, data: st.DataObject) -> None:
    used = data.draw(st.none() | st.integers(1, len(letters)))
    found = chosen(letters, used)
    # What works is used if anything does, and the choice stays as long as nothing changes.
    if set(letters) & set("Ud?!"):
        assert letters[found - 1] in "Ud?!"
    assert chosen(letters, found) == found
    if used is not None and found > used:
        assert letters[used - 1] in "xX!"
    assert chosen(letters, used, checked=False) == 1


def test_another_interface_has_gone_since() -> None:
    assert (
        choose([choice(ONE), choice(TWO)], (ipaddress.ip_address("10.9.9.9"),), checked=True).gateway == ONE
    )


def test_what_checks_say_is_of_an_address_and_a_gateway() -> None:
    down = Health("usb0", 4, "down", "silent", 0.0, HERE, ONE, answers=False)
    up = Health("usb0", 4, "up", "", 0.0, HERE, TWO)
    others = (replace(down, device="usb1"), replace(down, address=ONE), replace(down, gateway=THREE))
    said = judged([choice(ONE), choice(TWO)], "usb0", HERE, (*others, down, up))
    assert [(each.state, each.reason, each.answers) for each in said] == [
        ("down", "silent", False),
        ("up", "", True),
    ]
    refused = Health("usb0", 4, "down", "the kernel refuses its gateway")  # whichever it is
    assert [each.state for each in judged([choice(ONE), choice(TWO)], "usb0", HERE, (up, refused))] == [
        "down",
        "down",
    ]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (choice(ONE, "down", answers=False), "does not answer"),
        (choice(ONE, "down"), "leads nowhere"),
        (replace(choice(ONE, "down"), reason="answers again, not yet often enough"), "answers again, and"),
        (choice(ONE), "is not proved to work yet"),
    ],
)
def test_what_status_says(first: GatewayChoice, words: str) -> None:
    both = (first, choice(TWO, "up"))
    assert why(both, TWO).startswith(f"gateway 2 of 2: 10.0.0.1 {words}")
    assert why(both, ONE) == ""
    assert why((first,), ONE) == ""


# --- as uplinks --------------------------------------------------------------------------------------------


def down(of: str, gateway: str, source: str = "10.0.0.10", device: str = "usb0") -> Health:
    ip = ipaddress.ip_address(source)
    return Health(device, ip.version, of, "gateway: silent", 0.0, ip, ipaddress.ip_address(gateway), False)


def used(facts: Facts, config: Config | None = None) -> list[tuple[str, str, str]]:
    """Name, gateway and reason of each uplink."""
    goal = desired(facts, config or Config())
    return [(each.name, str(each.gateway), each.reason) for each in goal.uplinks]


def after(facts: Facts, *health: Health, config: Config | None = None) -> Facts:
    """The same box when the agent has done what these facts ask for, and the checks say this."""
    goal = desired(facts, config or Config())
    foreign = tuple(route for route in facts.routes if route.protocol != 78)
    return replace(facts, routes=(*foreign, *goal.routes), rules=goal.rules, health=health)


LEASED = replace(box("usb0"), leases=(lease("usb0", "10.0.0.10/24", "10.0.0.1", "10.0.0.2"),))
TWO_DEFAULTS = replace(
    box("usb0"),
    leases=(),
    routes=(main_default("usb0", "10.0.0.2", 200), main_default("usb0", "10.0.0.1", 100)),
)
TWO_ROUTERS = replace(SIX, routes=(default6("usb0", "fe80::2"), default6("usb0", "fe80::1")))
MANAGED = replace(
    LEASED,
    leases=(),
    claims=(
        GatewayClaim("usb0", "NetworkManager", ipaddress.ip_interface("10.0.0.10/24"), ONE, others=(TWO,)),
    ),
)
MANAGED_SIX = replace(
    TWO_ROUTERS,
    claims=(
        GatewayClaim(
            "usb0",
            "NetworkManager",
            ipaddress.ip_interface("2001:db8::5/64"),
            ipaddress.ip_address("fe80::1"),
        ),
    ),
)


@pytest.mark.parametrize(
    ("facts", "source", "first", "second"),
    [
        (LEASED, "10.0.0.10", "10.0.0.1", "10.0.0.2"),
        (TWO_DEFAULTS, "10.0.0.10", "10.0.0.1", "10.0.0.2"),
        (MANAGED, "10.0.0.10", "10.0.0.1", "10.0.0.2"),
        (TWO_ROUTERS, "2001:db8::5", "fe80::1", "fe80::2"),
        (MANAGED_SIX, "2001:db8::5", "fe80::1", "fe80::2"),
    ],
)
def test_the_next_one_and_back(facts: Facts, source: str, first: str, second: str) -> None:
    silent, works = down("down", first, source), replace(down("up", second, source), reason="", answers=True)
    assert used(facts) == [("usb0", first, "")]
    facts = after(facts, silent, works)
    reason = f"gateway 2 of 2: {first} does not answer"
    assert used(facts) == [("usb0", second, reason)]
    (uplink,) = desired(facts, Config()).uplinks
    assert (uplink.state, [str(each.gateway) for each in uplink.gateways]) == (
        UplinkState.UP,
        [first, second],
    )
    hops = [str(hop.gateway) for r in desired(facts, Config()).routes for hop in r.nexthops if hop.gateway]
    assert set(hops) == {second}
    # An agent that starts now knows nothing yet, and stays with what the kernel has.
    restarted = replace(after(facts), health=())
    assert used(restarted) == [("usb0", second, f"gateway 2 of 2: {first} is not proved to work yet")]
    assert used(restarted, parse("[health]\nchecks = []"))[0][1] == first  # nothing will ever prove it
    facts = after(facts, replace(silent, state="up", answers=True), works)
    assert used(facts) == [("usb0", first, "")]
    # Both are silent: the uplink is dead.
    facts = after(facts, silent, down("down", second, source))
    assert [each.reason for each in desired(facts, Config()).uplinks] == [
        "used because all are dead: gateway: silent"
    ]
    other = replace(facts, interfaces=(*facts.interfaces, *box("usb1").interfaces[1:]))
    more = box("usb0", "usb1")
    other = replace(
        other,
        addresses=(*other.addresses, more.addresses[2], six("usb1", "2001:db8:1::5/64")),
        leases=(*other.leases, more.leases[1]),
        routes=(*other.routes, default6("usb1", "fe80::9")),
    )
    states = {(u.name, u.family): u.state for u in desired(other, Config()).uplinks}
    assert states["usb0", ipaddress.ip_address(source).version] == UplinkState.DEAD


def test_a_lease_and_main_disagree() -> None:
    """The lease counts; what main names comes after it, and status says that they disagree."""
    facts = replace(
        box("usb0"), routes=(main_default("usb0", "10.0.0.7"), main_default("usb0", "10.9.0.1", 5))
    )
    (uplink,) = desired(facts, Config()).uplinks
    assert [(str(each.gateway), each.source) for each in uplink.gateways] == [
        ("10.0.0.1", "dhclient"),
        ("10.0.0.7", "main default"),
    ]
    assert [str(ip) for _, ip in uplink.disputed] == ["10.0.0.7", "10.9.0.1"]
    facts = after(facts, down("down", "10.0.0.1"), down("unknown", "10.0.0.7"))
    (uplink,) = desired(facts, Config()).uplinks
    assert (str(uplink.gateway), uplink.gateway_source) == ("10.0.0.7", "main default")
    assert [str(ip) for _, ip in uplink.disputed] == ["10.9.0.1"]


def test_configured_gateways_are_uplinks_of_their_own() -> None:
    config = parse('[[uplink]]\nmatch = "usb0"\ngateway = ["10.0.0.1", "10.0.0.2"]')
    facts = after(LEASED, config=config)
    silent = replace(facts, health=(down("down", "10.0.0.1"), down("up", "10.0.0.2")))
    for each in (facts, silent):
        assert [name for name, *_ in used(each, config)] == ["usb0", "usb0+10.0.0.2"]
        assert all(not uplink.gateways for uplink in desired(each, config).uplinks)
    # The verdict on one is none on the other, although they share the address.
    assert [u.state for u in desired(silent, config).uplinks] == [UplinkState.DEAD, UplinkState.UP]


TWO_NETWORKS = replace(
    box("eth0"),
    addresses=(address("eth0", "10.0.0.10/24"), address("eth0", "10.1.0.10/24")),
    leases=(
        lease("eth0", "10.0.0.10/24", "10.0.0.1", "10.0.0.2"),
        lease("eth0", "10.1.0.10/24", "10.1.0.1", "10.1.0.2", source="dhcpcd"),
    ),
)


def test_a_further_uplink_keeps_its_name_and_table_with_another_gateway() -> None:
    config = Config()
    before = desired(TWO_NETWORKS, config).uplinks
    assert [each.name for each in before] == ["eth0", "eth0+10.1.0.1"]
    facts = after(TWO_NETWORKS, down("down", "10.1.0.1", "10.1.0.10", "eth0"))
    facts = after(facts, *facts.health)
    found = desired(facts, config).uplinks
    assert [str(each.gateway) for each in found] == ["10.0.0.1", "10.1.0.2"]
    assert [(u.name, u.table, u.address) for u in found] == [(u.name, u.table, u.address) for u in before]
    # Also if the hash of its name had given it another table: it keeps the one that the kernel has.
    moved = find(facts, config, {"eth0": 110, "eth0+10.1.0.2": 150}).uplinks
    assert [each.table for each in moved] == [110, 150]


def test_a_gateway_that_is_an_uplink_of_its_own_is_nobodys_next() -> None:
    facts = replace(
        LEASED,
        addresses=(*LEASED.addresses, address("usb0", "10.0.0.11/24")),
        leases=(*LEASED.leases, lease("usb0", "10.0.0.11/24", "10.0.0.2", source="dhcpcd")),
    )
    assert [name for name, *_ in used(facts)] == ["usb0", "usb0+10.0.0.2"]
    assert all(not each.gateways for each in desired(facts, Config()).uplinks)


def test_defaults_that_went_with_the_link_are_remembered_in_order() -> None:
    seen = remember(TWO_DEFAULTS, 5.0)
    assert [(claim.gateway, claim.others) for claim in seen] == [(ONE, (TWO,))]
    facts = replace(TWO_DEFAULTS, routes=(), remembered=seen)
    (uplink,) = desired(facts, Config()).uplinks
    assert [(each.gateway, each.source) for each in uplink.gateways] == [
        (ONE, "main default (gone)"),
        (TWO, "main default (gone)"),
    ]
    assert remember(replace(facts, routes=TWO_DEFAULTS.routes), 9.0) == seen


def test_a_server_may_name_too_many() -> None:
    many = [f"10.0.0.{n}" for n in range(20, 60)]
    facts = replace(LEASED, leases=(lease("usb0", "10.0.0.10/24", *many, *many),))
    (uplink,) = desired(facts, Config()).uplinks
    assert [str(each.gateway) for each in uplink.gateways] == many[:MOST_GATEWAYS]


def test_what_the_kernel_remembers() -> None:
    facts = after(LEASED)
    assert in_use(facts.routes, 78)[100, 4] == ONE
    assert in_use(facts.routes, 79) == {}
