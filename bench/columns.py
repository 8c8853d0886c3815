"""The columns of bench/bonding.py: a mode with its parameters, and a receiver."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.bonds import Case
from bench.table import ORACLE, Run
from netbond.srtla.modes import make_carrier
from netbond.srtla.schedule import Carrier
from netbond.srtla.sender import Sender
from tests.bondsim import Simulation, least_loss

Changes = tuple[tuple[str, str], ...]  # (parameter, its new value), as on the command line


@dataclass(frozen=True, slots=True)
class Column:
    """What a row is measured with."""

    name: str
    mode: str
    receiver: str = "belabox"
    changes: Changes = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be simulated, or a row's ideal (no column)."""

    case: Case
    column: Column | None
    latency: float
    seconds: float
    seed: int


def measure(task: Task) -> Run:
    """Simulate one run, or compute the ideal."""
    case, column = task.case, task.column
    if column is None:
        loss = least_loss(
            list(case.links), case.mbps, latency=task.latency, seconds=task.seconds, shape=case.shape
        )
        if case.adapts:  # the ideal encoder sends what the links carry
            return Run(case.name, case.mbps, ORACLE, task.seed, 0.0, 1.0, case.mbps * (1 - loss / 100))
        return Run(case.name, case.mbps, ORACLE, task.seed, loss, 1.0)
    simulation = Simulation(
        list(case.links),
        lambda rnd, now: Sender(rnd, carrier(column), now),
        mbps=case.mbps,
        seconds=task.seconds,
        latency=task.latency,
        seed=task.seed,
        hiccup=0.002,
        shape=case.shape,
        fec=case.fec,
        arq=case.arq,
        adapts=case.adapts,
        receiver=case.receiver or column.receiver,
    )
    outcome = simulation.run()
    carried = outcome.mbps if case.adapts else 0.0
    return Run(case.name, case.mbps, column.name, task.seed, outcome.lost_pct, outcome.overhead, carried)


def carrier(column: Column) -> Carrier:
    """Make the mode's carrier; the changes apply to the adaptive mode only."""
    if column.mode != "adaptive" or not column.changes:
        return make_carrier(column.mode)
    bonding: Any = importlib.import_module("netbond.srtla.adaptive.bonding")
    made: Carrier = bonding.Bonding(None, parameters(column.changes))
    return made


def parameters(changes: Changes) -> Any:
    """Return the adaptive mode's parameters with changes; ValueError if one is unknown."""
    try:
        standard = importlib.import_module("netbond.srtla.adaptive.parameters").Parameters()
    except ModuleNotFoundError as error:
        raise ValueError("this version's adaptive mode has no parameters to be set") from error
    known = [field.name for field in fields(standard)]
    for name, _ in changes:
        if name not in known:
            raise ValueError(f"unknown parameter {name!r}; there are {', '.join(known)}")
    return replace(standard, **{name: ast.literal_eval(value) for name, value in changes})


def parse_change(text: str) -> tuple[str, str]:
    """Parse `name=value`; ValueError if it is something else."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{value!r} is no number, True or False") from error
    return name, value


def parse_sweep(text: str | None) -> list[tuple[str, str]]:
    """Parse `name=a,b,c` into a change for each value; ValueError if it is something else."""
    if not text:
        return []
    name, _, values = text.partition("=")
    return [parse_change(f"{name}={value}") for value in values.split(",")]
