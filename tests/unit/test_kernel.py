"""A kernel without policy routing cannot be had here: what it would answer is played to the check."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from netbond.errors import KernelLacksError, NotPermittedError
from netbond.kernel import Kernel

LOCAL = {"table": 255}
MAIN = {"table": 254}


class Netlink:
    """Answers the request for rules, and has no way to write."""

    def __init__(self, rules: list[dict[str, int]], error: int = 0) -> None:
        self._rules, self._error = rules, error

    async def get_rules(self, family: int) -> AsyncIterator[dict[str, int]]:
        assert family == 2

        async def answer() -> AsyncIterator[dict[str, int]]:
            if self._error:
                raise NetlinkError(self._error)
            for rule in self._rules:
                yield rule

        return answer()


def check(netlink: Any) -> None:
    """The check, against a kernel that answers so."""
    kernel = Kernel()
    kernel._netlink = netlink
    asyncio.run(kernel.check_policy_routing())


def test_a_kernel_with_policy_routing_passes() -> None:
    check(Netlink([LOCAL, MAIN]))


@pytest.mark.parametrize(
    "netlink",
    [Netlink([]), Netlink([MAIN]), Netlink([], errno.EOPNOTSUPP), Netlink([], errno.EAFNOSUPPORT)],
    ids=["no rules", "no local rule", "EOPNOTSUPP", "EAFNOSUPPORT"],
)
def test_a_kernel_without_is_refused_before_anything_is_written(netlink: Netlink) -> None:
    """It would write `ip route add ... table N` to main, and take the box off the net."""
    with pytest.raises(KernelLacksError) as caught:
        check(netlink)
    assert str(caught.value) == (
        "this kernel has no policy routing (`ip rule` lists nothing);"
        " use a kernel with CONFIG_IP_MULTIPLE_TABLES=y; nothing was changed"
    )
    assert caught.value.exit_status == 71


def test_not_being_allowed_is_something_else() -> None:
    with pytest.raises(NotPermittedError):
        check(Netlink([], errno.EPERM))
