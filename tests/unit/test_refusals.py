"""What the kernel refuses: when it lasts, whom it takes out of use, when to try again."""

from __future__ import annotations

import errno
import ipaddress

from netbond.model import Nexthop, Route, Rule, Uplink
from netbond.plan import Operation
from netbond.refusals import RETRY_FIRST_S, RETRY_S, Judgement, Refusal, barred, judge, lines
from netbond.tables import DEFAULT
from tests.unit.boxes import main_default

UPLINK = Uplink("usb0", ipaddress.ip_interface("10.0.0.10/24"), ipaddress.ip_address("10.0.0.1"), "test", 100)


def refusal(what: Route | Rule, error: int = errno.EINVAL, detail: str = "") -> Refusal:
    return Refusal(Operation("add", what, "missing"), error, detail)


def default(table: int) -> Route:
    return Route(table, DEFAULT[4], (Nexthop("usb0", ipaddress.ip_address("10.0.0.1")),))


ONE, OTHER = refusal(default(100)), refusal(Rule(100, 4, table=100))


def test_nothing_refused_is_nothing_to_do() -> None:
    assert judge([], None, moved=False) == judge([], {"x"}, moved=True) == Judgement()


def test_what_is_refused_once_may_be_a_link_that_goes_down() -> None:
    assert judge([ONE], frozenset(), moved=False) == Judgement((), RETRY_FIRST_S)
    assert judge([ONE], {str(ONE)}, moved=True) == Judgement((), RETRY_FIRST_S)


def test_what_is_refused_again_lasts() -> None:
    assert judge([ONE], {str(ONE)}, moved=False) == Judgement((ONE,), RETRY_S)
    # One of two is new: it is tried again soon.
    assert judge([ONE, OTHER], {str(ONE)}, moved=False) == Judgement((ONE,), RETRY_FIRST_S)


def test_in_the_first_pass_all_lasts() -> None:
    found = judge([ONE, OTHER, ONE], None, moved=True)
    assert found.retry_s == RETRY_S
    assert lines(found.lasting) == sorted({f"the kernel refuses: {ONE}", f"the kernel refuses: {OTHER}"})
    # What another program has taken is not the kernel's doing.
    taken = refusal(default(100), errno.EEXIST)
    assert lines([taken]) == [str(taken)]


def test_it_is_named_as_people_know_it() -> None:
    assert str(refusal(Rule(100, 4, table=100), errno.ENOMEM)) == (
        "ip rule add priority 100 from all lookup 100 protocol 0: ENOMEM"
    )
    assert str(refusal(default(100), errno.EINVAL, "Nexthop has invalid gateway")).endswith(
        ": EINVAL (Nexthop has invalid gateway)"
    )
    assert str(refusal(default(100), 4711)).endswith(": 4711")
    assert str(refusal(default(100), errno.EEXIST)).endswith(": another program's route is in that place")


def test_an_uplink_whose_default_is_refused_counts_as_down() -> None:
    (found,) = barred([UPLINK], [ONE])
    assert (found.device, found.family, found.state, found.address) == (
        "usb0",
        4,
        "down",
        UPLINK.address.ip,
    )
    assert found.reason == "the kernel refuses its gateway"


def test_other_refusals_say_nothing_of_a_gateway() -> None:
    network = Route(100, ipaddress.ip_network("10.0.0.0/24"), (Nexthop("usb0"),))
    others = [
        OTHER,
        refusal(network),
        refusal(default(100), errno.EEXIST),  # a place that another program has
        refusal(default(101)),
        refusal(main_default("usb0", "10.0.0.1")),
    ]
    assert barred([UPLINK], others) == frozenset()
