"""The two contracts of the agent: a Source gives facts, an Output makes a part of the box as it should be.

A new source of facts is one file under netbond/sources/ and one line in netbond/sources/running.py. A new
output is one file under netbond/outputs/ and one line in netbond/reconciler.py. One object may be both:
health checks give verdicts, and must know which uplinks to check.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from netbond.config.schema import Config
from netbond.desired import Desired
from netbond.model import EngineState, Facts, Link, Rate
from netbond.status.schema import Sections

Look = Callable[[], None]  # called when there is news: a reason to look, nothing more


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the interfaces carry and the engines say, once a second."""

    links: tuple[Link, ...] = ()  # with their byte counters
    rates: Mapping[str, Rate] = field(default_factory=dict)  # by interface
    engines: tuple[EngineState, ...] = ()


class Source:
    """Something that is known besides what the kernel says.

    One that is absent, hangs or fails costs its own facts and nothing else: its methods raise nothing for
    what happens outside, and `problems` has a line for each thing that is wrong now.
    """

    name = ""
    problems: Sequence[str] = ()

    async def start(self, look: Look, links: Sequence[Link]) -> None:
        """Begin to follow; return once it has spoken, or has had about a second to.

        `links` are the interfaces with their byte counters, as read when the agent started.
        """

    async def once(self) -> None:
        """In the place of start(), for a command that runs once: find out what can be known now.

        Nothing is written, and nothing goes on afterwards.
        """

    async def stop(self) -> None:
        """Follow no more, and leave nothing running."""

    def configure(self, config: Config) -> None:
        """Take another configuration while running."""

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """The facts with what this source knows; `now_s` is seconds since boot."""
        raise NotImplementedError

    def complete(self) -> bool:
        """Whether it has spoken at least once, so that what it does not name is not there."""
        return True

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Once a second; `now_s` by the monotonic clock."""

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """The sections of the snapshot, with what this source knows in its own.

        `devices` are those of the uplinks; `now_s` is monotonic.
        """
        return sections


class Output:
    """Something that is kept as the goal says."""

    name = ""

    async def start(self, look: Look, links: Sequence[Link]) -> None:
        """As for a source; before the first apply(). `look`: somebody else has changed what this keeps."""

    async def stop(self) -> None:
        """End what start() or apply() has begun; what was written stays."""

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str]:
        """Make it so; does nothing where it is so already. What is wrong, one line each."""
        raise NotImplementedError

    async def leave(self) -> Sequence[str]:
        """Take away or put back what apply() did. What is left behind, one line each."""
        return ()
