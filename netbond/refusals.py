"""What the kernel refuses: when to report it, which uplink it takes out of use, when to retry. Pure."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from netbond.model import Health, Route, Uplink
from netbond.plan import Operation

RETRY_S = 1.0  # after something was refused again
RETRY_FIRST_S = 0.05  # after something was refused for the first time


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operation that the kernel refused."""

    operation: Operation
    error: int  # errno
    detail: str = ""  # the kernel's own words, if it had any

    def __str__(self) -> str:
        what = self.operation.command()
        if self.error == errno.EEXIST:
            thing = "route" if isinstance(self.operation.what, Route) else "nexthop"
            return f"{what}: a {thing} that is not netbond's has that place"
        word = errno.errorcode.get(self.error, str(self.error))
        return f"{what}: {word}{f' ({self.detail})' if self.detail else ''}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one pass's refusals mean."""

    lasting: tuple[Refusal, ...] = ()  # worth a word
    retry_s: float | None = None  # when to look again; None: nothing was refused

    @property
    def problems(self) -> list[str]:
        """One line for each that lasts."""
        return sorted({str(refusal) for refusal in self.lasting})


def judge(refusals: Collection[Refusal], before: Collection[str] | None, *, moved: bool) -> Judgement:
    """`before` are the refusals of the pass before, as text; None in the first pass.

    What is refused once may be a link that went down meanwhile; what is refused again while no link or
    address moves (`moved`) lasts. In the first pass nothing is under way, so everything lasts.
    """
    if before is None:
        lasting = tuple(refusals)
    else:
        lasting = () if moved else tuple(r for r in refusals if str(r) in before)
    if not refusals:
        return Judgement()
    return Judgement(lasting, RETRY_S if len(lasting) == len(refusals) else RETRY_FIRST_S)


def barred(uplinks: Iterable[Uplink], lasting: Iterable[Refusal]) -> frozenset[Health]:
    """The uplinks whose gateway the kernel does not take, as verdicts that they are down.

    A group with one of them would be refused as a whole, and the default of all others stay as it is,
    whatever becomes of them. A place that another program's route has (EEXIST) says nothing of the gateway.
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
