"""A kernel without policy routing cannot be had here: what it would answer is played to the check."""

from __future__ import annotations

import asyncio
import errno

import pytest

from netbond import rtnetlink
from netbond.errors import KernelLacksError, NotPermittedError
from netbond.kernel import Kernel
from netbond.model import Rule

LOCAL, MAIN = Rule(0, 4, table=255), Rule(32766, 4, table=254)


class Played(Kernel):
    """Answers the request for rules as told, and has no socket to write by."""

    def __init__(self, rules: list[Rule] | None, error: int = 0) -> None:
        super().__init__()
        self._rules, self._error = rules, error

    def _dump_if_known(self, kind: int, family: int) -> list[bytes] | None:
        assert kind == rtnetlink.GETRULE
        if self._error:
            raise OSError(self._error, "played")
        return None if self._rules is None else [rtnetlink.pack_rule(rule) for rule in self._rules]


def check(kernel: Kernel) -> None:
    """The check, against a kernel that answers so."""
    asyncio.run(kernel.check_policy_routing())


def test_a_kernel_with_policy_routing_passes() -> None:
    check(Played([LOCAL, MAIN]))


@pytest.mark.parametrize(
    "kernel",
    [Played([]), Played([MAIN]), Played(None)],
    ids=["no rules", "no local rule", "it knows no rules"],
)
def test_a_kernel_without_is_refused_before_anything_is_written(kernel: Kernel) -> None:
    """It would write `ip route add ... table N` to main, and take the box off the net."""
    with pytest.raises(KernelLacksError) as caught:
        check(kernel)
    assert str(caught.value) == (
        "this kernel has no policy routing (`ip rule` lists nothing);"
        " use a kernel with CONFIG_IP_MULTIPLE_TABLES=y; nothing was changed"
    )
    assert caught.value.exit_status == 71


def test_not_being_allowed_is_something_else() -> None:
    with pytest.raises(NotPermittedError):
        check(Played([], errno.EPERM))
