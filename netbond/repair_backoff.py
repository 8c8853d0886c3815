"""How often the same repair is made again: at once, but never in a fight. Pure.

What somebody else removes is put back at once. If it is removed again and again, another program holds a
different opinion, and two programs that undo each other at full speed take the box down with them: then the
repair waits, longer each time. Only repairs of what has been wanted all along count, and only what a rival
may have done: a modem that flaps changes what is wanted, or, when it is faster than anybody looks, makes the
kernel drop its routes; both are followed at full speed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from netbond.model import Rule
from netbond.plan import Object, Operation

FREE = 5  # repairs of one object that are made at once
FORGET = 30.0  # seconds without a repair after which an object counts as at peace again
FIRST_PAUSE = 0.2  # seconds; doubles with each further repair
LONGEST_PAUSE = 10.0


@dataclass(slots=True)
class _Struggle:
    repairs: int = 0
    last: float = 0.0


@dataclass(slots=True)
class Pace:
    """Remembers what was repaired when; `now` is seconds of a monotonic clock."""

    _struggles: dict[Object, _Struggle] = field(default_factory=dict)

    def admit(
        self, operations: Iterable[Operation], wanted: Collection[Object], now: float, *, moved: bool = False
    ) -> tuple[list[Operation], float | None]:
        """The operations to carry out now, and when (if at all) to come back for those that must wait.

        `moved`: links or addresses have changed since the last time, so that missing routes and nexthops are
        the kernel's doing. Rules it leaves alone.
        """
        self._struggles = {
            what: s for what, s in self._struggles.items() if what in wanted and now - s.last < FORGET
        }
        admitted = []
        due: float | None = None
        for operation in operations:
            if operation.what not in wanted or (moved and not isinstance(operation.what, Rule)):
                admitted.append(operation)
                continue
            struggle = self._struggles.setdefault(operation.what, _Struggle(last=now))
            ready = struggle.last + self._pause(struggle) if struggle.repairs else now
            if ready <= now:
                struggle.repairs += 1
                struggle.last = now
                admitted.append(operation)
            else:
                due = ready if due is None else min(due, ready)
        return admitted, due

    def fights(self) -> list[Object]:
        """What another program keeps undoing."""
        return [what for what, struggle in self._struggles.items() if struggle.repairs > FREE]

    @staticmethod
    def _pause(struggle: _Struggle) -> float:
        if struggle.repairs < FREE:
            return 0.0
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(struggle.repairs - FREE, 16)))
