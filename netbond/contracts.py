"""Defines the agent's two contracts: a Source provides facts, an Output keeps a part of the box as decided.

A new source of facts is one file under netbond/sources/ and one line in netbond/sources/running.py. A new
output is one file under netbond/outputs/ and one line in netbond/reconciler.py. One object may be both:
health checks give verdicts, and must know which uplinks to check.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from netbond.config.schema import Config
from netbond.desired import Desired
from netbond.model import EngineState, Facts, Interface, Rate
from netbond.problems import Problem
from netbond.status.schema import Sections

Look = Callable[[], None]  # asks the agent for another pass; carries no information


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of the interfaces and the state of the engines, measured once a second."""

    interfaces: tuple[Interface, ...] = ()  # with their byte counters
    rates: Mapping[str, Rate] = field(default_factory=dict)  # by interface
    engines: tuple[EngineState, ...] = ()


class Source:
    """A source of facts besides the kernel.

    If what it follows is absent, hangs or fails, only its own facts are missing: its methods do not raise
    errors for outside events. `problems` has one line for each thing that is wrong now.
    """

    name = ""

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong now, one line each."""
        return ()

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Begin to follow changes; return when the first facts are there, or after about a second.

        Call `look` whenever the facts have changed. `links` are the interfaces with their byte counters, as
        read when the agent started.
        """

    async def once(self) -> None:
        """Find out what can be known now; called instead of start() by a command that runs once.

        It writes nothing, and leaves nothing running.
        """

    async def stop(self) -> None:
        """Stop following, and leave nothing running."""

    def configure(self, config: Config) -> None:
        """Use another configuration from now on."""

    def contribute(self, facts: Facts, now_s: float) -> Facts:
        """Return `facts` with this source's facts added; `now_s` is in seconds since boot. Never blocks."""
        raise NotImplementedError

    def complete(self) -> bool:
        """Whether it has reported at least once: then, what it does not name does not exist."""
        return True

    def tick(self, traffic: Traffic, now_s: float) -> None:
        """Take the traffic; called once a second. `now_s` is in seconds of the monotonic clock."""

    def status(self, sections: Sections, devices: Collection[str], now_s: float) -> Sections:
        """The sections of the snapshot, with what this source knows in its own.

        `devices` are those of the uplinks; `now_s` is monotonic.
        """
        return sections


class Output:
    """A part of the box that the agent keeps as the goal says."""

    name = ""

    async def start(self, look: Look, links: Sequence[Interface]) -> None:
        """Begin to watch, before the first apply(). Call `look` when another program changes what this keeps.

        `links` are as for a source.
        """

    async def stop(self) -> None:
        """Stop what start() or apply() has begun; what was written stays."""

    async def apply(self, facts: Facts, goal: Desired, config: Config) -> Sequence[str | Problem]:
        """Bring it to the goal, and write only what differs. Return what is wrong, one line each."""
        raise NotImplementedError

    async def leave(self) -> Sequence[str]:
        """Undo what apply() did. Return what is left behind, one line each."""
        return ()
