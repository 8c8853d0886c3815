"""Decides what follows when the kernel refuses an operation: a report, an unused uplink, a retry. Pure."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from netbond.model import Health, Route, Uplink
from netbond.plan import Operation

RETRY_S = 1.0  # after an operation was refused again
RETRY_FIRST_S = 0.05  # after an operation was refused for the first time


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operation that the kernel refused."""

    operation: Operation
    error: int  # errno
    detail: str = ""  # the kernel's own message, if there was one

    def __str__(self) -> str:
        what = self.operation.command()
        if self.error == errno.EEXIST:
            thing = "route" if isinstance(self.operation.what, Route) else "nexthop"
            return f"{what}: another program's {thing} is in that place"
        return f"{what}: {self.reason}"

    @property
    def reason(self) -> str:
        """The error's name, and what the kernel says of it, if anything."""
        word = errno.errorcode.get(self.error, str(self.error))
        return f"{word}{f' ({self.detail})' if self.detail else ''}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from one pass's refusals."""

    lasting: tuple[Refusal, ...] = ()  # those to report
    retry_s: float | None = None  # until the next pass; None: nothing was refused


def lines(lasting: Iterable[Refusal]) -> list[str]:
    """One line for each lasting refusal."""
    return sorted(
        {f"{'' if refusal.error == errno.EEXIST else 'the kernel refuses: '}{refusal}" for refusal in lasting}
    )


def judge(refusals: Collection[Refusal], before: Collection[str] | None, *, moved: bool) -> Judgement:
    """Decide which refusals are lasting, and when to retry.

    `before` are the refusals of the pass before, as text; None in the first pass. An operation that is
    refused once may be due to a link that has just gone down. A refusal is lasting if it repeats while no
    link and no address changes (`moved`). In the first pass no change is under way, so all are lasting.
    """
    if before is None:
        lasting = tuple(refusals)
    else:
        lasting = () if moved else tuple(r for r in refusals if str(r) in before)
    if not refusals:
        return Judgement()
    return Judgement(lasting, RETRY_S if len(lasting) == len(refusals) else RETRY_FIRST_S)


def barred(uplinks: Iterable[Uplink], lasting: Iterable[Refusal]) -> frozenset[Health]:
    """Return a verdict "down" for each uplink whose gateway the kernel refuses.

    The kernel would refuse a whole nexthop group that has one of them, and the shared default would no longer
    follow the other uplinks. EEXIST is different: another program's route is in that place, which says
    nothing about the gateway.
    """
    refused = {
        (refusal.operation.what.table, refusal.operation.what.family)
        for refusal in lasting
        if isinstance(refusal.operation.what, Route)
        and refusal.operation.what.destination.prefixlen == 0
        and refusal.error != errno.EEXIST
    }
    return frozenset(
        Health(uplink.device, uplink.family, "down", "the kernel refuses its gateway", 0.0, uplink.address.ip)
        for uplink in uplinks
        if (uplink.table, uplink.family) in refused
    )
