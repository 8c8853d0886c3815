"""Slows down repairs of what another program keeps undoing. Pure.

What somebody else removes is put back at once. If it is removed again and again, another program wants
something else, and two programs that undo each other at full speed would make the box unusable. So each
further repair of the same object waits longer. Two kinds of changes are not slowed down: those of what is
wanted, and those that no other program needs to have made. A flapping modem makes both: it changes what is
wanted, or, if it flaps faster than the agent looks, makes the kernel drop its routes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from netbond.model import Rule
from netbond.plan import Object, Operation

FREE_REPAIRS = 5  # repairs of one object that are made at once
FORGET_AFTER_S = 30.0  # without a repair, an object is no longer contested
FIRST_PAUSE_S = 0.2  # doubles with each further repair
LONGEST_PAUSE_S = 10.0


@dataclass(slots=True)
class _Repairs:
    """How often an object was repaired, and when last."""

    count: int = 0
    last: float = 0.0


@dataclass(slots=True)
class RepairBackoff:
    """Remembers what was repaired when. `now` is in seconds of a monotonic clock."""

    _repairs: dict[Object, _Repairs] = field(default_factory=dict)

    def admit(
        self, operations: Iterable[Operation], wanted: Collection[Object], now: float, *, moved: bool = False
    ) -> tuple[list[Operation], float | None]:
        """The operations to carry out now, and the time at which the next delayed one is due, if any.

        `moved`: links or addresses have changed since the last time. Then missing routes and nexthops are the
        kernel's doing; rules it leaves alone.
        """
        self._repairs = {
            what: repairs
            for what, repairs in self._repairs.items()
            if what in wanted and now - repairs.last < FORGET_AFTER_S
        }
        admitted = []
        due: float | None = None
        for operation in operations:
            if operation.what not in wanted or (moved and not isinstance(operation.what, Rule)):
                admitted.append(operation)
                continue
            repairs = self._repairs.setdefault(operation.what, _Repairs(last=now))
            ready = repairs.last + _pause_s(repairs.count) if repairs.count else now
            if ready <= now:
                repairs.count += 1
                repairs.last = now
                admitted.append(operation)
            else:
                due = ready if due is None else min(due, ready)
        return admitted, due

    def refused(self, operations: Iterable[Operation]) -> None:
        """Forget what the kernel has refused: nobody undid it. netbond.refusals says when to retry."""
        for operation in operations:
            self._repairs.pop(operation.what, None)

    def contested(self) -> list[Object]:
        """What another program keeps undoing."""
        return [what for what, repairs in self._repairs.items() if repairs.count > FREE_REPAIRS]


def _pause_s(count: int) -> float:
    """How long to wait after so many repairs."""
    if count < FREE_REPAIRS:
        return 0.0
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(count - FREE_REPAIRS, 16)))
