"""What cannot be had from the kernel here is played to the one place that talks to it."""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Callable
from typing import Any, cast

import pytest

from netbond.errors import KernelLacksError, NotPermittedError
from netbond.kernel import client
from netbond.kernel import rtnetlink as wire
from netbond.kernel.client import Kernel
from netbond.model import Interface, Nexthop, Route, Rule
from netbond.plan import Operation

LOCAL = wire.pack_rule(Rule(0, 4, table=255))
MAIN = wire.pack_rule(Rule(32766, 4, table=254))

Answer = list[tuple[int, int, bytes]]  # type, flags and payload of messages


class Netlink:
    """A socket that answers each request; `reply` makes the messages from its type and payload."""

    def __init__(self, reply: Callable[[int, bytes], Answer]) -> None:
        self.asked: list[int] = []
        self._reply = reply
        self._waiting: list[bytes] = []

    def setsockopt(self, _level: int, _option: int, _value: int) -> None:
        raise OSError(errno.ENOPROTOOPT, "as a kernel before 4.20 has it")

    def send(self, data: bytes) -> None:
        for kind, _, sequence, payload in wire.messages(data):
            self.asked.append(kind)
            # Another program's answer must not be taken for ours.
            self._waiting.append(wire.message(wire.NLMSG_ERROR, 0, sequence + 1000, error(0)))
            for got, flags, body in self._reply(kind, payload):
                self._waiting.append(wire.message(got, flags, sequence, body))

    def recv(self, _size: int, flags: int = 0) -> bytes:
        if not self._waiting:
            assert flags, "it would wait for ever"
            raise BlockingIOError
        return self._waiting.pop(0)


def error(number: int) -> bytes:
    return struct.pack("=i", -number) + bytes(wire.HEADER.size)


def dump(*payloads: bytes, flags: int = 0) -> Answer:
    return [*((wire.NEWRULE, flags, p) for p in payloads), (wire.NLMSG_DONE, flags, bytes(4))]


def refusal(number: int) -> Answer:
    return [(wire.NLMSG_ERROR, 0, error(number))]


def kernel(netlink: Netlink) -> Kernel:
    found = Kernel()
    found._socket = cast("Any", netlink)
    return found


async def check(answer: Answer) -> None:
    """The check, against a kernel that answers so."""
    netlink = Netlink(lambda _kind, _payload: answer)
    await kernel(netlink).check_policy_routing()
    assert netlink.asked == [wire.GETRULE]


async def test_a_kernel_with_policy_routing_passes() -> None:
    await check(dump(LOCAL, MAIN))


@pytest.mark.parametrize(
    "answer",
    [dump(), dump(MAIN), refusal(errno.EOPNOTSUPP), refusal(errno.EAFNOSUPPORT)],
    ids=["no rules", "no local rule", "EOPNOTSUPP", "EAFNOSUPPORT"],
)
async def test_a_kernel_without_is_refused_before_anything_is_written(answer: Answer) -> None:
    """It would write `ip route add ... table N` to main, and take the box off the net."""
    with pytest.raises(KernelLacksError) as caught:
        await check(answer)
    assert str(caught.value) == (
        "this kernel has no policy routing (`ip rule` lists nothing);"
        " use a kernel with CONFIG_IP_MULTIPLE_TABLES=y; nothing was changed"
    )
    assert caught.value.exit_status == 71


async def test_not_being_allowed_is_something_else() -> None:
    with pytest.raises(NotPermittedError):
        await check(refusal(errno.EPERM))


async def test_a_kernel_without_ipv6_and_nexthops_is_read_all_the_same() -> None:
    def reply(kind: int, payload: bytes) -> Answer:
        if kind == wire.GETNEXTHOP:
            return refusal(errno.EOPNOTSUPP)
        if kind == wire.GETRULE and payload[0] == wire.AF[6]:
            return refusal(errno.EAFNOSUPPORT)
        # Without IPv6 in the kernel, a question about it is answered with everything there is.
        return dump(LOCAL) if kind == wire.GETRULE else dump()

    facts = await kernel(Netlink(reply)).read()
    assert facts.nexthops is None
    assert [rule.priority for rule in facts.rules] == [0]


async def test_a_dump_that_was_overtaken_is_asked_for_again() -> None:
    times = []

    def reply(kind: int, _payload: bytes) -> Answer:
        times.append(kind)
        return dump(flags=wire.DUMP_INTERRUPTED if len(times) == 1 else 0)

    assert await kernel(Netlink(reply)).read_links() == ()
    assert times == [wire.GETLINK] * 2


def rules_of(*numbers: int) -> Answer:
    return dump(*(wire.pack_rule(Rule(number, 4, table=100)) for number in numbers))


async def test_each_answer_counts_and_what_did_not_change_is_the_same_object() -> None:
    """Datagrams that were read before are not read again, wherever the answer is longer or shorter."""
    answers = [
        *((1, 2, 3), (1, 2, 3), (1, 3), (1,), (1, 2, 3, 4), (2, 3, 4), (), (1, 2), (1, 2, 2)),
        *((1, 2, 3), (1, 2, 3)),
    ]
    rest = list(answers)

    def reply(kind: int, payload: bytes) -> Answer:
        return rules_of(*rest.pop(0)) if kind == wire.GETRULE and payload[0] == wire.AF[4] else dump()

    asking = kernel(Netlink(reply))
    read = [(await asking.read()).rules for _ in answers]
    assert [tuple(rule.priority for rule in rules) for rules in read] == answers
    assert read[1] is read[0]
    assert read[2][0] is read[0][0]
    assert read[-1] is read[-2]


async def test_an_answer_that_breaks_off_is_not_taken_for_the_one_before() -> None:
    answers = [
        rules_of(1, 2),
        [*rules_of(1)[:1], *dump(flags=wire.DUMP_INTERRUPTED)],
        [*rules_of(1)[:1], *refusal(errno.ENOBUFS)],
        rules_of(1, 2, 3),
    ]

    def reply(kind: int, payload: bytes) -> Answer:
        return answers.pop(0) if kind == wire.GETRULE and payload[0] == wire.AF[4] else dump()

    asking = kernel(Netlink(reply))
    assert len((await asking.read()).rules) == 2
    with pytest.raises(OSError, match="No buffer space"):
        await asking.read()  # asked again after the interruption
    assert [rule.priority for rule in (await asking.read()).rules] == [1, 2, 3]


async def test_tables_that_never_hold_still_are_an_error_and_no_loop() -> None:
    netlink = Netlink(lambda _kind, _payload: dump(flags=wire.DUMP_INTERRUPTED))
    with pytest.raises(OSError, match="change faster"):
        await kernel(netlink).read()
    assert len(netlink.asked) == 5


DEFAULT = Route(
    100, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("usb0", ipaddress.ip_address("10.0.0.1")),), protocol=78
)
RULE = Rule(100, 4, table=100, protocol=78)
LINKS = [Interface("usb0", 7)]


async def apply(verb: str, what: Route | Rule, number: int) -> list[str]:
    """What is reported of an operation that the kernel answers with this errno."""
    netlink = Netlink(lambda _kind, _payload: refusal(number))
    return [str(f) for f in await kernel(netlink).apply([Operation(verb, what, "")], LINKS)]


async def test_what_is_reached_already_has_succeeded_and_what_was_overtaken_is_no_failure() -> None:
    assert await apply("add", DEFAULT, 0) == []
    assert await apply("delete", DEFAULT, errno.ESRCH) == []
    assert await apply("delete", RULE, errno.ENOENT) == []
    assert await apply("add", RULE, errno.EEXIST) == []
    assert await apply("add", DEFAULT, errno.ENETDOWN) == []


async def test_failures_say_what_and_why() -> None:
    command = "ip route add default via 10.0.0.1 dev usb0 table 100 proto 78"
    assert await apply("add", DEFAULT, errno.ENETUNREACH) == [f"{command}: ENETUNREACH"]
    assert await apply("add", DEFAULT, errno.EEXIST) == [
        f"{command}: another program's route is in that place"
    ]
    assert await apply("add", DEFAULT, errno.EPERM) == [f"{command}: EPERM"]


async def test_a_refusal_for_one_interface_ends_nothing() -> None:
    """EACCES is what the kernel says of IPv6 that was switched off on an interface (fib6_nh_init)."""
    answers = iter([errno.EACCES, 0])
    netlink = Netlink(lambda _kind, _payload: refusal(next(answers)))
    operations = [Operation("add", DEFAULT, ""), Operation("add", RULE, "")]
    failures = await kernel(netlink).apply(operations, LINKS)
    assert [failure.operation for failure in failures] == operations[:1]
    assert len(netlink.asked) == 2


async def test_a_dump_that_failed_half_way_is_no_short_table() -> None:
    """The kernel puts what went wrong into the last message (netlink_dump_done)."""

    def reply(_kind: int, _payload: bytes) -> Answer:
        return [(wire.NEWRULE, 0, LOCAL), (wire.NLMSG_DONE, 0, struct.pack("=i", -errno.ENOMEM))]

    with pytest.raises(OSError, match="Cannot allocate memory") as caught:
        await kernel(Netlink(reply)).read()
    assert caught.value.errno == errno.ENOMEM


async def test_one_refusal_does_not_stop_the_rest_and_many_requests_go_in_pieces() -> None:
    refused = [wire.pack_rule(Rule(n, 4, table=100, protocol=78)) for n in (3, 150)]

    def reply(_kind: int, payload: bytes) -> Answer:
        return refusal(errno.EINVAL if payload in refused else 0)

    netlink = Netlink(reply)
    operations = [Operation("add", Rule(n, 4, table=100, protocol=78), "") for n in range(1, 200)]
    failures = await kernel(netlink).apply(operations, LINKS)
    assert len(netlink.asked) == 199
    assert [f.operation.what for f in failures] == [operations[2].what, operations[149].what]


async def test_a_device_that_is_gone_is_passed_over() -> None:
    netlink = Netlink(lambda _kind, _payload: refusal(0))
    assert await kernel(netlink).apply([Operation("add", DEFAULT, "")], []) == []
    assert netlink.asked == []


# --- the kernel of this machine, which anybody may ask -----------------------------------------------------


async def test_loopback_is_read_as_it_is() -> None:
    async with Kernel() as real:
        facts = await real.read()
        (lo,) = [link for link in facts.interfaces if link.loopback]
        assert (lo.name, lo.index) == ("lo", 1)
        assert all(route.table != 255 for route in facts.routes)
        assert {rule.table for rule in facts.rules if rule.family == 4} >= {254, 255}
        counted = await real.read_links()
        assert [link.name for link in counted] == [link.name for link in facts.interfaces]
        await real.check_policy_routing()


async def test_the_way_to_loopback() -> None:
    async with Kernel() as real:
        found = await real.lookup(ipaddress.ip_address("127.0.0.1"), None, "")
        assert (found.kind, [hop.device for hop in found.nexthops]) == ("local", ["lo"])
        assert found.table in (254, 255)  # one trie holds both until somebody adds a rule
        with pytest.raises(OSError, match="No such device"):
            await real.lookup(ipaddress.ip_address("127.0.0.1"), None, "no-such-device")
        with pytest.raises(OSError, match=r"Network is unreachable|Invalid argument"):
            await real.lookup(ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("192.0.2.99"), "")


async def test_it_is_used_inside_async_with_only() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Kernel().read()


# --- lifetimes of routers ----------------------------------------------------------------------------------


def advertised(table: int, ticks: int, family: int = 10) -> tuple[int, int, bytes]:
    payload = struct.pack("=BBBBBBBBI", family, 0, 0, 0, table, 9, 0, 1, 0)
    cached = struct.pack("=HHIIiIIII", 32, 12, 0, 0, ticks, 0, 0, 0, 0)  # RTA_CACHEINFO
    return wire.NEWROUTE, 0, payload + cached


async def test_lifetimes_of_mains_routes_whether_the_kernel_filters_or_not() -> None:
    routes = [advertised(254, 3000), advertised(100, 200), advertised(254, 0), advertised(254, -5)]
    netlink = Netlink(lambda _kind, _payload: [*routes, advertised(254, 9, family=2), *dump()])
    assert await kernel(netlink).read_lifetimes() == [30.0]
    assert netlink.asked == [wire.GETROUTE]


async def test_lifetimes_that_cannot_be_read_are_no_trouble() -> None:
    assert await kernel(Netlink(lambda _kind, _payload: refusal(errno.ENOENT))).read_lifetimes() == []


@pytest.mark.parametrize(
    ("release", "takes"),
    [
        ("6.13.0-rc1", True),
        ("6.18.5-fc", True),
        ("7.0", True),
        ("6.12.57+deb13-amd64", False),
        ("5.10.0", False),
        ("odd", False),
    ],
)
def test_kernels_whose_rules_can_ask_for_a_dscp(release: str, takes: bool) -> None:
    assert client._takes_dscp(release) is takes


# --- byte counters -----------------------------------------------------------------------------------------


def link(index: int, name: bytes, master: int = 0) -> tuple[int, int, bytes]:
    body = struct.pack("=BxHiII", 0, 1, index, 1, 0)
    for kind, value in ((3, name + b"\0"), (10, struct.pack("=I", master))):
        length = 4 + len(value)
        body += struct.pack("=HH", length, kind) + value + bytes(-length % 4)
    return wire.NEWLINK, 0, body


async def test_a_bridge_that_is_renamed_has_its_new_name_at_its_ports() -> None:
    """Links are parsed once more then, although a port's own message has not changed."""
    names = [b"br0", b"br0", b"br1"]
    found = kernel(Netlink(lambda _k, _p: [link(2, b"eth0", 3), link(3, names.pop(0)), *dump()]))
    seen = []
    while names:
        seen.append([(each.name, each.master) for each in await found.read_links()])
    assert seen == [[("eth0", "br0"), ("br0", "")]] * 2 + [[("eth0", "br1"), ("br1", "")]]
